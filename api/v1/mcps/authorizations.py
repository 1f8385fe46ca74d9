"""`/api/v1/mcps/{mcp_id}/authorizations`: letting the platform into remote servers by OAuth."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, status
from temporalio.client import WorkflowHandle, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from api.dependencies import PartsDep, Requires
from api.oauth.flows import LASTS, Flow, Flows
from api.parts import Parts
from api.v1.answers import Deleted
from api.v1.mcps.lookup import McpId, find_mcp, find_own_mcp
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.mcps import Mcp, McpConfig
from mcp_platform.contracts.oauth import (
    AuthorizationOrder,
    AuthorizationState,
    AuthorizationStep,
    AuthorizeUpstream,
    Registration,
    SealedAuthorization,
    StartedAuthorization,
    UpstreamAuthorization,
    UpstreamAuthorizationList,
    upstream_purpose,
)
from mcp_platform.errors import Conflict, Forbidden, NotFound, Unavailable, UpstreamFailed, ValidationFailed
from mcp_platform.names import Channel, TaskQueue, authorization_workflow_id
from storage.registration import read_config
from workflows.authorizations import AuthorizationWorkflow

router = APIRouter(prefix="/mcps", tags=["MCPs"])

Caller = Annotated[Principal, Depends(Requires(Permission.TOOLS_CALL))]

_PATIENCE: Final = timedelta(seconds=45)
"""How long the remote server may take to say who authorizes for it."""
_MOST_OPEN: Final = 20
_OPEN: Final = frozenset({AuthorizationState.PREPARING, AuthorizationState.PENDING})


@router.post("/{mcp_id}/authorizations", status_code=status.HTTP_201_CREATED)
async def authorize_upstream(
    mcp_id: McpId, order: AuthorizeUpstream, caller: Caller, parts: PartsDep
) -> StartedAuthorization:
    """Begin to authorize the platform at an MCP's remote server, by OAuth: for the caller, or for all.

    The answer's address is to be opened in a browser; the platform asks there who it is, then the remote
    server whether it agrees. For all callers only the MCP's author or an administrator can. 502 when the
    remote server cannot be authorized for, and why.
    """
    mcp = await (_for_all(parts, mcp_id, caller) if order.for_all else find_mcp(parts, mcp_id, caller))
    server = await _server(parts, mcp, order.server)
    now = datetime.now(UTC)
    new = UpstreamAuthorization(
        id=uuid4(),
        mcp_id=mcp.id,
        server=server,
        user_id=None if order.for_all else caller.user_id,
        state=AuthorizationState.PREPARING,
        created_by=caller.user_id,
        created_at=now,
        updated_at=now,
    )
    async with parts.stores.write() as rows:
        known = await rows.upstream_authorizations.list(mcp.id, caller.user_id)
        if sum(each.state in _OPEN and each.created_by == caller.user_id for each in known) >= _MOST_OPEN:
            raise Conflict(
                "Too many authorizations wait for an answer; end some, or wait until they are over",
                resource_type="authorization",
            )
        await rows.upstream_authorizations.add(new, order.scope)
    kept = await _prepared(parts, new.id)
    number = await Flows(parts.stores.cache).begin(_flow(parts, kept, mcp, caller))
    return StartedAuthorization(
        id=new.id,
        authorization_url=f"{parts.settings.issuer}/oauth/connect?flow={number}",
        expires_in=LASTS,
        issuer=kept.authorization.issuer,
    )


@router.get("/{mcp_id}/authorizations")
async def list_upstream_authorizations(
    mcp_id: McpId, caller: Caller, parts: PartsDep
) -> UpstreamAuthorizationList:
    """List the caller's own authorizations at an MCP's remote servers, and those for all; never a token."""
    mcp = await find_mcp(parts, mcp_id, caller)
    async with parts.stores.read() as rows:
        found = await rows.upstream_authorizations.list(mcp.id, caller.user_id)
    return UpstreamAuthorizationList(authorizations=found, total=len(found))


@router.delete("/{mcp_id}/authorizations/{authorization_id}")
async def end_upstream_authorization(
    mcp_id: McpId, authorization_id: UUID, caller: Caller, parts: PartsDep
) -> Deleted:
    """End an authorization: no call uses it from now on, and its tokens are given back."""
    mcp = await find_mcp(parts, mcp_id, caller)
    async with parts.stores.read() as rows:
        kept = await rows.upstream_authorizations.get(authorization_id)
    own = kept.authorization if kept is not None and kept.authorization.mcp_id == mcp.id else None
    if own is None or own.user_id not in {None, caller.user_id} or own.state is AuthorizationState.ENDED:
        raise NotFound("authorization", authorization_id)
    if own.user_id is None:
        await _for_all(parts, mcp_id, caller)
    async with parts.stores.write() as rows:
        await rows.upstream_authorizations.change(
            own.id, [own.state], datetime.now(UTC), state=AuthorizationState.ENDED
        )
    await parts.stores.publish(Channel.AUTHORIZATIONS, {"mcp_id": str(mcp.id)})
    await _end(parts, own.id)
    return Deleted(message="Authorization ended successfully", id=own.id)


async def _for_all(parts: Parts, mcp_id: UUID, caller: Principal) -> Mcp:
    """Find an MCP that the caller may decide about for everybody."""
    mcp = await find_own_mcp(parts, mcp_id, caller)
    if Permission.MCPS_WRITE not in caller.permissions:
        raise Forbidden(Permission.MCPS_WRITE)
    return mcp


async def _server(parts: Parts, mcp: Mcp, name: str | None) -> str:
    try:
        server = McpConfig.model_validate(await read_config(parts.stores, mcp.config_key)).server(name)
    except ValueError as error:
        raise ValidationFailed.at(("body", "server"), str(error)) from None
    if server.kind != "url":
        raise ValidationFailed.at(("body", "server"), f"{server.name!r} is no remote server: it has no url")
    return server.name


async def _prepared(parts: Parts, authorization_id: UUID) -> SealedAuthorization:
    """Have the workflow find out who authorizes for the server.

    Raises:
        UpstreamFailed: Nobody does, or nobody whom we can ask.
    """
    handle = await parts.temporal.start_workflow(
        AuthorizationWorkflow.run,
        AuthorizationOrder(authorization_id=authorization_id),
        id=authorization_workflow_id(authorization_id),
        task_queue=TaskQueue.ORCHESTRATION,
    )
    try:
        step = await handle.execute_update(AuthorizationWorkflow.prepared, rpc_timeout=_PATIENCE)
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise Unavailable("The remote server does not say who authorizes for it", part="worker") from None
    async with parts.stores.read() as rows:
        kept = await rows.upstream_authorizations.get(authorization_id)
    if kept is None or step.state is not AuthorizationState.PENDING:
        raise UpstreamFailed(f"The remote server cannot be authorized for: {step.detail}")
    return kept


def _flow(parts: Parts, kept: SealedAuthorization, mcp: Mcp, caller: Principal) -> Flow:
    own = kept.authorization
    assert kept.sealed_registration is not None
    text = parts.sealer.unseal(kept.sealed_registration, upstream_purpose(own.id, "registration"))
    known = Registration.model_validate_json(text)
    whom = "for all its callers" if own.user_id is None else "for your own calls"
    return Flow(
        purpose=f"Then {own.issuer} asks whether the platform may use {mcp.name} {whom}.",
        redirect_uri=known.authorization_endpoint,
        username=caller.username,
        expected=caller.user_id,
        authorization_id=own.id,
    )


async def _end(parts: Parts, authorization_id: UUID) -> None:
    """Have the tokens given back; without a workflow that would, they are forgotten."""
    handle: WorkflowHandle[AuthorizationWorkflow, AuthorizationStep] = parts.temporal.get_workflow_handle_for(
        AuthorizationWorkflow.run, authorization_workflow_id(authorization_id)
    )
    try:
        await handle.signal(AuthorizationWorkflow.end)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        async with parts.stores.write() as rows:
            await rows.upstream_authorizations.delete(authorization_id)
