"""`POST /api/v1/github/sync/{connection_id}`: bringing MCPs in step with a repository."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path, status
from pydantic import StrictBool

from activities.github_sync.starting import begin_sync
from api.dependencies import PartsDep, Requires
from api.parts import Parts
from api.v1.github.lookup import check_registering
from api.v1.tasks import TaskAccepted
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Order
from mcp_platform.contracts.github import Connection, ConnectionState, SyncCause
from mcp_platform.contracts.syncing import SyncRequest
from mcp_platform.contracts.tasks import TaskState
from mcp_platform.errors import Conflict, NotFound

router = APIRouter(prefix="/github", tags=["GitHub"])

Syncer = Annotated[Principal, Depends(Requires(Permission.GITHUB_WRITE))]


class SyncRepository(Order):
    """Body of `POST /github/sync/{connection_id}`, which may be left out."""

    force: StrictBool = False
    """Take the repository's definition also where the MCP was changed on the platform meanwhile."""


@router.post("/sync/{connection_id:uuid}", status_code=status.HTTP_202_ACCEPTED)
async def sync_repository(
    connection_id: Annotated[UUID, Path(description="The connection's id")],
    caller: Syncer,
    parts: PartsDep,
    order: Annotated[SyncRepository | None, Body()] = None,
) -> TaskAccepted:
    """Bring the connection's MCPs in step with the newest commit of its branch.

    While a sync of the connection runs, another one follows it.
    """
    connection = await _find(parts, connection_id, caller)
    check_registering(caller)
    request = SyncRequest(cause=SyncCause.REQUEST, force=order is not None and order.force)
    task_id = await begin_sync(parts.stores, parts.temporal, connection, request)
    return TaskAccepted(
        task_id=task_id, status=TaskState.PENDING, message="Repository sync queued for processing"
    )


async def _find(parts: Parts, connection_id: UUID, caller: Principal) -> Connection:
    async with parts.stores.read() as rows:
        connection = await rows.connections.get(connection_id)
    mine = connection is not None and (
        connection.owner_id == caller.user_id or Permission.GITHUB_ALL in caller.permissions
    )
    if connection is None or not mine or connection.state is ConnectionState.CONNECTING:
        raise NotFound("connection", connection_id)
    if connection.state is ConnectionState.DISCONNECTING:
        raise Conflict(
            "The repository is being disconnected",
            resource_type="connection",
            resource_id=str(connection_id),
        )
    return connection
