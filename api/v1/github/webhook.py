"""`POST /api/v1/github/webhook`: what GitHub tells of repositories.

Nothing in a delivery is believed before its signature fits: not what it is about, nor that it is JSON. Only
where neither its address nor the App's secret says whose it is, the repository's name is read first, of
small ones.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qs
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request, Response, status
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from api.audit import reads_only
from api.dependencies import PartsDep, Public
from api.parts import Parts
from api.v1.github.events import Heard, Ignored, installation_of, repository_of, understood
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.github import (
    Connection,
    ConnectionState,
    CredentialKind,
    Delivery,
    SealedConnection,
    connection_purpose,
)
from mcp_platform.errors import InvalidRequest, PayloadTooLarge, Unauthorized
from mcp_platform.names import RouteClass, TaskQueue, delivery_workflow_id
from mcp_platform.security.sealing import CannotUnseal
from workflows.github_sync.deliveries import DeliveryWorkflow

logger = structlog.get_logger(__name__)

router = APIRouter(prefix="/github", tags=["GitHub"])

WEBHOOK_PATH: Final = "/api/v1/github/webhook"
LONGEST_DELIVERY: Final = 8_388_608
"""Bytes of a delivery. GitHub sends up to 25 MB; of pushes that are larger a sync by hand tells."""
LONGEST_UNSIGNED: Final = 262_144
"""Bytes of a body that is read as JSON before a signature fits, and that the event loop may read itself."""
_MOST_CANDIDATES: Final = 100
"""Connections of one repository whose secrets are tried; the address of a webhook names its own."""
_FORM: Final = "application/x-www-form-urlencoded"
_PREFIX: Final = "sha256="
_OF_APP: Final = "app"
_BODY: Final = {
    "requestBody": {
        "description": "The event, as GitHub sends it",
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"ref": "refs/heads/main", "repository": {"full_name": "username/mcp-tools"}},
            }
        },
    }
}

Text = Annotated[str | None, Header(max_length=200)]


class WebhookReceived(Contract):
    """What the platform does about a delivery."""

    message: str
    event_type: str


# Not recorded in the audit log: GitHub is nobody who has an account, and what comes of it is recorded.
@router.post(
    "/webhook",
    status_code=status.HTTP_202_ACCEPTED,
    responses={200: {"model": WebhookReceived, "description": "There is nothing (more) to do about it"}},
    openapi_extra=_BODY,
    dependencies=[Depends(Public(RouteClass.WEBHOOK)), Depends(reads_only)],
)
async def receive_webhook(
    request: Request,
    parts: PartsDep,
    response: Response,
    x_github_event: Text = None,
    x_github_delivery: Text = None,
    x_hub_signature_256: Text = None,
    connection: Annotated[UUID | None, Query(description="Whose webhook it is; none of the App's")] = None,
) -> WebhookReceived:
    """Take a delivery of GitHub's; whoever sends it proves by its signature that it knows the secret."""
    kind = request.headers.get("content-type", "")
    sent = _Sent(await request.body(), kind, x_hub_signature_256 or "")
    signer = await _signer(parts, sent, connection)
    payload = await sent.payload() if signer else None
    if signer is None or payload is None:
        logger.info("webhook_refused", event_type=x_github_event, bytes=len(sent.body))
        raise Unauthorized("The delivery is not signed with the secret of a connection")
    delivery_id = _delivery_id(x_github_delivery, sent.body)
    event = x_github_event or ""
    response.status_code = status.HTTP_200_OK
    if event == "ping":
        return WebhookReceived(message="The webhook works", event_type=event)
    try:
        heard = understood(event, payload)
        concerned = _concerned(heard, signer.connections)
    except Ignored as reason:
        return WebhookReceived(message=f"Ignored: {reason}", event_type=event)
    if not await _begin(parts, heard, delivery_id, signer, concerned):
        return WebhookReceived(message="The delivery was already processed", event_type=event)
    response.status_code = status.HTTP_202_ACCEPTED
    return WebhookReceived(message="Webhook received and queued for processing", event_type=event)


@dataclass(frozen=True)
class _Sent:
    """What was sent, and what it is said to be signed with."""

    body: bytes
    content_type: str
    signature: str

    async def payload(self) -> dict[str, Any] | None:
        """Read the event; None where the body is no object of JSON."""
        if len(self.body) > LONGEST_UNSIGNED:
            return await asyncio.to_thread(self._read)
        return self._read()

    def _read(self) -> dict[str, Any] | None:
        text: bytes | str = self.body
        try:
            if self.content_type.partition(";")[0].strip().lower() == _FORM:
                text = parse_qs(self.body.decode(), max_num_fields=10).get("payload", [""])[0]
            payload = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return payload if isinstance(payload, dict) else None

    def fits(self, secret: bytes | None) -> bool:
        """Hold the signature against the body, in the same time whatever it is."""
        known = self.signature.startswith(_PREFIX) and secret is not None
        digest = hmac.new(secret or secrets.token_bytes(32), self.body, hashlib.sha256).hexdigest()
        given = self.signature.removeprefix(_PREFIX)
        return hmac.compare_digest(digest.encode(), given.encode()) and known


@dataclass(frozen=True)
class _Signer:
    """Whose secret a delivery is signed with, and the connections that it may speak for."""

    name: str
    connections: list[Connection]


async def _signer(parts: Parts, sent: _Sent, connection_id: UUID | None) -> _Signer | None:
    """Find whose secret fits: of the connection that the address names, or of the App, or of the repository.

    A delivery to nobody that is known takes as long as one with a wrong signature.

    Raises:
        PayloadTooLarge: It would have to be read to know whose it is.
    """
    if connection_id is not None:
        async with parts.stores.read() as rows:
            one = await rows.connections.sealed(connection_id)
        return _of_one(parts, sent, [one] if one else [])
    app_secret = parts.settings.github.app_webhook_secret
    if sent.fits(app_secret.get_secret_value().encode() if app_secret else None):
        return _Signer(_OF_APP, await _of_app(parts, await sent.payload() or {}))
    if len(sent.body) > LONGEST_UNSIGNED:
        raise PayloadTooLarge(LONGEST_UNSIGNED)
    return _of_one(parts, sent, await _of_repository(parts, await sent.payload() or {}, _MOST_CANDIDATES))


def _of_one(parts: Parts, sent: _Sent, candidates: list[SealedConnection]) -> _Signer | None:
    found = [each.connection for each in candidates if sent.fits(_webhook_secret(parts, each))]
    if not candidates:
        sent.fits(None)
    return _Signer(str(found[0].id), found[:1]) if found else None


async def _of_repository(
    parts: Parts, payload: dict[str, Any], most: int | None = None
) -> list[SealedConnection]:
    name = repository_of(payload)
    if name is None:
        return []
    async with parts.stores.read() as rows:
        return await rows.connections.of_repository(name, most)


def _webhook_secret(parts: Parts, candidate: SealedConnection) -> bytes | None:
    if candidate.sealed_webhook_secret is None:
        return None
    purpose = connection_purpose(candidate.connection.id, "webhook")
    try:
        return parts.sealer.unseal(candidate.sealed_webhook_secret, purpose)
    except CannotUnseal:
        logger.warning("webhook_secret_cannot_be_opened", connection_id=str(candidate.connection.id))
        return None


async def _of_app(parts: Parts, payload: dict[str, Any]) -> list[Connection]:
    """Find the connections that the App speaks for: those whose credential it is."""
    installation_id = installation_of(payload)
    candidates = await _of_repository(parts, payload)
    if repository_of(payload) is None and installation_id is not None:
        async with parts.stores.read() as rows:
            candidates = await rows.connections.of_installation(installation_id)
    return [
        each.connection
        for each in candidates
        if each.connection.credential is CredentialKind.APP
        and each.connection.api_url == parts.settings.github.app_api_url
        and (installation_id is None or each.connection.installation_id == installation_id)
    ]


def _delivery_id(given: str | None, body: bytes) -> UUID:
    if given is None:
        # Somebody else's program, as the contract shows it: the same words are the same delivery.
        return UUID(bytes=hashlib.sha256(body).digest()[:16])
    try:
        return UUID(given)
    except ValueError:
        raise InvalidRequest("X-GitHub-Delivery is not the id of a delivery, as GitHub gives it") from None


def _concerned(heard: Heard, connections: list[Connection]) -> dict[UUID, UUID]:
    reasons: list[str] = []
    concerned: dict[UUID, UUID] = {}
    for connection in connections:
        reason = heard.concerns(connection)
        if connection.state is ConnectionState.DISCONNECTING:
            reason = "the repository is being disconnected"
        if reason is None:
            concerned[connection.id] = connection.owner_id
        else:
            reasons.append(reason)
    if not concerned:
        raise Ignored(reasons[0] if reasons else "no connection has to do with it")
    return concerned


async def _begin(
    parts: Parts, heard: Heard, delivery_id: UUID, signer: _Signer, concerned: dict[UUID, UUID]
) -> bool:
    """Start the delivery's workflow; false where it was started before."""
    delivery = Delivery(
        delivery_id=str(delivery_id),
        event=heard.event,
        connections=concerned,
        action=heard.action,
        ref=heard.branch,
        commit=heard.commit,
        pull_request=heard.pull_request,
        details=heard.details,
    )
    try:
        await parts.temporal.start_workflow(
            DeliveryWorkflow.run,
            delivery,
            id=delivery_workflow_id(delivery_id, signer.name),
            task_queue=TaskQueue.ORCHESTRATION,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True
