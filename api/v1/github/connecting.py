"""`POST /api/v1/github/connect`, and changing a connection: GitHub is asked before anything is kept."""

import secrets
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, status
from pydantic import SecretStr
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.github.lookup import ConnectionId, Writer, check_registering, check_stays, find_connection
from api.v1.mcps.lookup import find_own_mcp
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.connecting import (
    ChangeConnection,
    ConnectionMade,
    ConnectOrder,
    ConnectOutcome,
    ConnectRepository,
    ShownConnection,
    webhook_url,
)
from mcp_platform.contracts.github import (
    Connection,
    ConnectionState,
    CredentialKind,
    SealedConnection,
    WebhookState,
    connection_purpose,
)
from mcp_platform.contracts.repositories import FaultKind
from mcp_platform.errors import (
    Conflict,
    Forbidden,
    GitHubRateLimited,
    GitHubUnavailable,
    PlatformError,
    RepositoryForbidden,
    RepositoryNotFound,
    TokenRefused,
    Unavailable,
    ValidationFailed,
)
from mcp_platform.names import TaskQueue, connect_workflow_id
from mcp_platform.repository_address import RepositoryAddress, read_address
from workflows.github_sync.connecting import ConnectWorkflow

router = APIRouter(prefix="/github", tags=["GitHub"])

_PATIENCE: Final = timedelta(seconds=60)
"""How long GitHub may take for all that it is asked."""


@router.post("/connect", status_code=status.HTTP_201_CREATED)
async def connect_repository(order: ConnectRepository, caller: Writer, parts: PartsDep) -> ConnectionMade:
    """Connect a repository of GitHub's: its definitions become MCPs, or versions of the one that is named.

    GitHub is asked with the token whether there is the repository and the branch; the token is kept
    sealed, and never shown. The webhook that tells of pushes is installed if the token allows it, else
    `webhook_reason` says what to do; `warnings` tell what else the token does not allow. What GitHub says
    is told apart by `error_code`: GITHUB_REPOSITORY_NOT_FOUND (404), GITHUB_ACCESS_DENIED (403),
    GITHUB_TOKEN_REFUSED (422), GITHUB_RATE_LIMITED (429, with `reset_at`), GITHUB_UNAVAILABLE (503).
    """
    address = _address(parts, order)
    _check_rights(parts, order, address, caller)
    if order.tool_id is not None:
        await find_own_mcp(parts, order.tool_id, caller)
    new = _new(order, address, caller)
    async with parts.stores.write() as rows:
        _check_quota(parts, caller, await rows.connections.count_of(caller.user_id))
        await rows.connections.add(_sealed(parts, new, order.access_token, with_secret=True))
    warnings = await _carried_out(parts, ConnectOrder(connection_id=new.id))
    return await _made(parts, await find_connection(parts, new.id, caller), warnings)


@router.patch("/connections/{connection_id:uuid}")
async def change_connection(
    connection_id: ConnectionId, order: ChangeConnection, caller: Writer, parts: PartsDep
) -> ConnectionMade:
    """Change branch, path or roll-out of a connection, or give it a new token; GitHub is asked as at first.

    That is for a branch, a token, and `deploy` that is switched on: `warnings` tell what the token does not
    allow. `webhook_secret` is that of a webhook which somebody made by hand.
    """
    connection = await find_connection(parts, connection_id, caller)
    check_stays(connection)
    _check_change(connection, order, caller)
    changed = connection.model_copy(
        update=order.model_dump(include={"branch", "path", "deploy"}, exclude_none=True)
    )
    warnings: list[str] = []
    deploys = changed.deploy and not connection.deploy
    if order.access_token is not None or changed.branch != connection.branch or deploys:
        warnings = await _ask_again(parts, changed, order.access_token)
    elif changed != connection:
        await _change(parts, connection, changed)
    if order.webhook_secret is not None:
        await _take_secret(parts, connection_id, order.webhook_secret)
    return await _made(parts, await find_connection(parts, connection_id, caller), warnings)


async def _made(parts: Parts, connection: Connection, warnings: list[str]) -> ConnectionMade:
    made = ConnectionMade.of(connection, webhook_url(parts.settings.issuer, connection.id))
    return made.model_copy(update={"warnings": warnings})


async def shown(parts: Parts, connection: Connection) -> ShownConnection:
    """Show a connection."""
    return ShownConnection.of(connection, webhook_url(parts.settings.issuer, connection.id))


def _address(parts: Parts, order: ConnectRepository) -> RepositoryAddress:
    plain = parts.settings.private_addresses
    try:
        address = read_address(order.repository_url, order.base_url, plain=plain)
    except ValueError as error:
        raise ValidationFailed.at(("body", "repository_url"), str(error)) from None
    if not parts.settings.github.allows(address.api_url):
        hosts = ", ".join(sorted(parts.settings.github.hosts))
        raise ValidationFailed.at(
            ("body", "repository_url" if order.base_url is None else "base_url"),
            f"is at a host that no token is sent to; repositories can be connected at {hosts or 'none'}, and"
            " an administrator may add others (MCP_PLATFORM_GITHUB__HOSTS)",
        )
    return address


def _check_rights(
    parts: Parts, order: ConnectRepository, address: RepositoryAddress, caller: Principal
) -> None:
    check_registering(caller)
    _check_deploying(order.deploy, caller)
    if order.installation_id is None:
        return
    # A number that anybody may guess proves nothing about who names it.
    if Permission.GITHUB_ALL not in caller.permissions:
        raise Forbidden(
            Permission.GITHUB_ALL,
            "Only administrators connect by an installation of the platform's GitHub App; use access_token",
        )
    own = parts.settings.github
    if own.app_id is None or own.app_api_url != address.api_url:
        raise ValidationFailed.at(
            ("body", "installation_id"), "the platform has no GitHub App there; use access_token"
        )


def _check_quota(parts: Parts, caller: Principal, present: int) -> None:
    """See that an account has no more connections than it may; who may change all is not bound."""
    most = parts.settings.github.most_connections
    if present >= most and Permission.GITHUB_ALL not in caller.permissions:
        raise Conflict(f"One account may have {most} connections; end one of them first", limit=most)


def _check_deploying(deploy: bool, caller: Principal) -> None:
    if deploy and Permission.DEPLOYMENTS_WRITE not in caller.permissions:
        raise Forbidden(Permission.DEPLOYMENTS_WRITE, "With deploy, pushes are rolled out in your name")


def _check_change(connection: Connection, order: ChangeConnection, caller: Principal) -> None:
    check_registering(caller)
    deploy = connection.deploy if order.deploy is None else order.deploy
    if order.branch is not None or order.path is not None or order.deploy is not None:
        _check_deploying(deploy, caller)
    if order.access_token is not None and connection.credential is CredentialKind.APP:
        raise ValidationFailed.at(
            ("body", "access_token"), "the platform's GitHub App is its credential; connect it anew instead"
        )
    if order.webhook_secret is not None and connection.webhook not in {
        WebhookState.REFUSED,
        WebhookState.BY_HAND,
    }:
        raise ValidationFailed.at(
            ("body", "webhook_secret"), "is of no use here: the platform's own webhook is installed"
        )


def _new(order: ConnectRepository, address: RepositoryAddress, caller: Principal) -> Connection:
    now = datetime.now(UTC)
    return Connection(
        id=uuid4(),
        owner_id=caller.user_id,
        repository_url=order.repository_url,
        api_url=address.api_url,
        full_name=address.full_name,
        tool_id=order.tool_id,
        branch=order.branch or "",
        path=order.path,
        deploy=order.deploy,
        state=ConnectionState.CONNECTING,
        credential=CredentialKind.TOKEN if order.access_token else CredentialKind.APP,
        installation_id=order.installation_id,
        webhook=WebhookState.REFUSED,
        created_at=now,
        updated_at=now,
    )


def _sealed(
    parts: Parts, connection: Connection, token: SecretStr | None, *, with_secret: bool
) -> SealedConnection:
    def seal(value: str, what: str) -> str:
        return parts.sealer.seal(value.encode(), connection_purpose(connection.id, what))

    return SealedConnection(
        connection=connection,
        sealed_token=seal(token.get_secret_value(), "token") if token else None,
        sealed_webhook_secret=seal(secrets.token_hex(32), "webhook") if with_secret else None,
    )


async def _ask_again(parts: Parts, changed: Connection, token: SecretStr | None) -> list[str]:
    """Have GitHub asked for what the connection is to become, in a row that nobody sees; its warnings."""
    now = datetime.now(UTC)
    new = changed.model_copy(
        update={"id": uuid4(), "state": ConnectionState.CONNECTING, "created_at": now, "updated_at": now}
    )
    async with parts.stores.write() as rows:
        if token is None and new.credential is CredentialKind.TOKEN:
            old = await rows.connections.sealed(changed.id)
            if old is not None and old.sealed_token is not None:
                purpose = connection_purpose(changed.id, "token")
                token = SecretStr(parts.sealer.unseal(old.sealed_token, purpose).decode())
        await rows.connections.add(_sealed(parts, new, token, with_secret=False))
    return await _carried_out(parts, ConnectOrder(connection_id=new.id, replaces=changed.id))


async def _change(parts: Parts, connection: Connection, changed: Connection) -> None:
    """Change what GitHub need not be asked about."""
    now = datetime.now(UTC)
    values: dict[str, Any] = {"deploy": changed.deploy}
    if changed.path != connection.path:
        # What was synced was something else.
        values |= {"synced_commit": None, "synced_at": None}
    async with parts.stores.write() as rows:
        holder = await rows.connections.settle(changed, now)
        if holder is not None:
            raise _already(holder)
        await rows.connections.update(connection.id, now, **values)


async def _take_secret(parts: Parts, connection_id: UUID, secret: SecretStr) -> None:
    sealed = parts.sealer.seal(
        secret.get_secret_value().encode(), connection_purpose(connection_id, "webhook")
    )
    async with parts.stores.write() as rows:
        await rows.connections.update(
            connection_id,
            datetime.now(UTC),
            sealed_webhook_secret=sealed,
            webhook=WebhookState.BY_HAND,
            webhook_reason=None,
        )


async def _carried_out(parts: Parts, order: ConnectOrder) -> list[str]:
    """Have the workflow make or change the connection; what the credential does not allow.

    Raises:
        PlatformError: GitHub does not let it; the class says why.
    """
    handle = await parts.temporal.start_workflow(
        ConnectWorkflow.run,
        order,
        id=connect_workflow_id(order.connection_id),
        task_queue=TaskQueue.ORCHESTRATION,
    )
    try:
        outcome = await handle.execute_update(ConnectWorkflow.answered, rpc_timeout=_PATIENCE)
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        await handle.cancel()
        late = "GitHub was not asked in time; what was begun is taken back"
        raise Unavailable(late, part="worker") from None
    if not outcome.good:
        raise _error_of(outcome)
    return outcome.warnings


def _error_of(outcome: ConnectOutcome) -> PlatformError:
    if outcome.holder is not None:
        return _already(outcome.holder)
    if outcome.branch_missing:
        return ValidationFailed.at(("body", "branch"), outcome.message)
    match outcome.fault:
        case FaultKind.NO_SUCH_REPOSITORY:
            return RepositoryNotFound(outcome.message)
        case FaultKind.NO_ACCESS | FaultKind.REFUSED:
            return RepositoryForbidden(outcome.message)
        case FaultKind.TOKEN_EXPIRED:
            return TokenRefused(outcome.message)
        case FaultKind.RATE_LIMITED:
            reset = outcome.reset_at or datetime.now(UTC) + timedelta(minutes=1)
            left = max(ceil((reset - datetime.now(UTC)).total_seconds()), 1)
            return GitHubRateLimited(left, outcome.message, reset.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return GitHubUnavailable(outcome.message)


def _already(holder: UUID) -> Conflict:
    return Conflict(
        "This repository, branch and path are connected already; change that connection, or end it first",
        resource_type="connection",
        resource_id=str(holder),
        connection_id=str(holder),
    )
