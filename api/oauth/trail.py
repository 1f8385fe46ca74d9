"""What the authorization server writes into the audit log, whose middleware sees `/api/v1` alone."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request

from api.parts import Parts
from mcp_platform.client_address import client_address
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.request_context import current_request_id


async def note(
    parts: Parts,
    request: Request,
    action: str,
    outcome: AuditOutcome,
    *,
    actor_id: UUID | None = None,
    actor_name: str = "",
    resource: tuple[str, str] = ("", ""),
    status: int = 200,
    **details: Any,
) -> None:
    """Write an entry, before the answer is sent."""
    event = AuditEvent(
        at=datetime.now(UTC),
        actor_id=actor_id,
        actor_name=actor_name[:255],
        action=f"oauth.{action}",
        resource_type=resource[0],
        resource_id=resource[1],
        address=client_address(request.scope, parts.settings.api.trusted_proxies),
        outcome=outcome,
        status=status,
        request_id=current_request_id(),
        details=details,
    )
    await parts.audit.record(event)
