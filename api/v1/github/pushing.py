"""`POST /api/v1/github/push/{connection_id}`: taking the platform's versions to a repository."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Body, status

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.github.lookup import ConnectionId, Writer, check_stays, find_connection
from api.v1.tasks import TaskAccepted
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.github import Connection
from mcp_platform.contracts.pushing import PushOrder, PushRequest
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.errors import NotFound
from mcp_platform.names import Channel, Collection, TaskQueue
from workflows.github_sync.pushing import PushWorkflow

router = APIRouter(prefix="/github", tags=["GitHub"])


@router.post("/push/{connection_id:uuid}", status_code=status.HTTP_202_ACCEPTED)
async def push_repository(
    connection_id: ConnectionId,
    caller: Writer,
    parts: PartsDep,
    order: Annotated[PushRequest | None, Body()] = None,
) -> TaskAccepted:
    """Write what is newer here to branches of the repository, with a pull request for each MCP."""
    request = order or PushRequest()
    connection = await find_connection(parts, connection_id, caller)
    check_stays(connection)
    if request.tool_id is not None:
        await _check_tool(parts, connection, request.tool_id, caller)
    task_id = str(uuid4())
    # The document, the row, the workflow: a crash between any two leaves nothing that misleads.
    await parts.stores.documents.put(Collection.IDEAS, task_id, request.model_dump(mode="json"))
    record = TaskRecord(
        task_id=task_id,
        kind=TaskKind.GITHUB_PUSH,
        owner_id=caller.user_id,
        status=TaskState.PENDING,
        message="Queued",
        created_at=datetime.now(UTC),
    )
    async with parts.stores.write() as rows:
        await rows.tasks.add(record)
    await parts.temporal.start_workflow(
        PushWorkflow.run,
        PushOrder(task_id=task_id, connection_id=connection_id, owner_id=caller.user_id),
        id=task_id,
        task_queue=TaskQueue.ORCHESTRATION,
    )
    started = Event(type=EventType.TASK_STARTED, owner_id=caller.user_id, data={"task_id": task_id})
    await parts.stores.publish(Channel.EVENTS, started)
    return TaskAccepted(
        task_id=task_id, status=TaskState.PENDING, message="Repository push queued for processing"
    )


async def _check_tool(parts: Parts, connection: Connection, tool_id: UUID, caller: Principal) -> None:
    """Let only those MCPs be written whose author the caller is: what they say leaves the platform."""
    async with parts.stores.read() as rows:
        mcp = await rows.mcps.get(tool_id)
        definitions = await rows.connections.definitions(connection.id)
    bound = any(each.mcp_id == tool_id for each in definitions) or connection.tool_id == tool_id
    own = mcp is not None and (mcp.author_id == caller.user_id or Permission.MCPS_ALL in caller.permissions)
    if mcp is None or not caller.may_use(tool_id) or not (bound or own):
        raise NotFound("mcp_tool", tool_id)
