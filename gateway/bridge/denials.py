"""What callers were denied at the bridge, as the audit log keeps it."""

from datetime import UTC, datetime
from typing import Any, Final

import structlog

from gateway.bridge.envelope import Refusal
from gateway.bridge.routing import BridgeRoute
from mcp_platform.audit_refusals import Refusals
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.errors import Unavailable
from mcp_platform.security.sealing import CannotUnseal
from storage.sql.audit import AuditLog

log = structlog.get_logger(__name__)

_DENIED: Final = frozenset({401, 403, 429})
_TOO_MANY: Final = 429
_LONGEST: Final = 255


class Denials:
    """Records who tried what only administrators may do.

    Of those who hold no credential, or come too often, the first of each minute is recorded, and the
    next entry says how many were left out.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._refusals = Refusals()

    async def record(
        self,
        route: BridgeRoute,
        names: dict[str, str],
        refusal: Refusal,
        caller: Principal | None,
        address: str,
        request_id: str,
    ) -> None:
        """Record a refusal, if it is a denial of a change; the caller is refused even if that fails."""
        if not route.action or refusal.status not in _DENIED:
            return
        details: dict[str, Any] = {"error_code": refusal.code}
        if "serviceName" in names:
            details["service"] = names["serviceName"][:_LONGEST]
        if "requiredPermission" in refusal.details:
            details["required_permission"] = refusal.details["requiredPermission"]
        if caller is None or refusal.status == _TOO_MANY:
            left_out = self._refusals.count(caller.credential if caller else "", address, route.action)
            if left_out is None:
                return
            details["left_out"] = left_out
        event = AuditEvent(
            at=datetime.now(UTC),
            actor_id=caller.user_id if caller else None,
            actor_name=caller.username if caller else "",
            credential=caller.credential if caller else "",
            action=route.action,
            resource_type=route.resource,
            resource_id=names.get("instanceId", ""),
            address=address,
            outcome=AuditOutcome.DENIED,
            status=refusal.status,
            request_id=request_id,
            details=details,
        )
        try:
            await self._audit.append([event])
        except (Unavailable, CannotUnseal) as error:
            log.error("audit_entry_lost", **event.model_dump(mode="json"), error=str(error))
