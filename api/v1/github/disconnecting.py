"""`DELETE /api/v1/github/disconnect/{connection_id}`: ending a connection."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Response, status
from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.github.lookup import ConnectionId, Writer, find_connection
from mcp_platform.contracts.connecting import DisconnectOrder, RepositoryDisconnected
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.github import Connection, ConnectionState
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState, TaskStatus
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel, TaskQueue, disconnect_workflow_id
from workflows.github_sync.disconnecting import DisconnectWorkflow

router = APIRouter(prefix="/github", tags=["GitHub"])

_PATIENCE: Final = 20.0
"""Seconds after which the answer is the task that goes on."""


@router.delete(
    "/disconnect/{connection_id:uuid}",
    response_model_exclude_none=True,
    responses={202: {"model": RepositoryDisconnected, "description": "It goes on as a task"}},
)
async def disconnect_repository(
    connection_id: ConnectionId, caller: Writer, parts: PartsDep, response: Response
) -> RepositoryDisconnected:
    """End a connection: what runs for it, its webhook, its token and its definitions; the MCPs stay.

    A GitHub that refuses, or is away, holds up nothing: `left` says then what to remove there by hand.
    """
    connection = await find_connection(parts, connection_id, caller)
    task_id = disconnect_workflow_id(connection_id)
    result = await _ended(parts, connection, task_id)
    if result is None:
        response.status_code = status.HTTP_202_ACCEPTED
        return RepositoryDisconnected(
            message="The repository is being disconnected", connection_id=connection_id, task_id=task_id
        )
    return RepositoryDisconnected(
        message="Repository disconnected successfully", connection_id=connection_id, left=result.get("left")
    )


async def _ended(parts: Parts, connection: Connection, task_id: str) -> dict[str, Any] | None:
    """Have the workflow end the connection; None if that takes longer than anybody should wait."""
    now = datetime.now(UTC)
    task = TaskRecord(
        task_id=task_id,
        kind=TaskKind.GITHUB_DISCONNECT,
        owner_id=connection.owner_id,
        status=TaskState.PENDING,
        message="Queued",
        created_at=now,
    )
    async with parts.stores.write() as rows:
        # From here on no sync of it begins.
        await rows.connections.update(connection.id, now, state=ConnectionState.DISCONNECTING)
        await rows.tasks.reopen(task)
    handle = await parts.temporal.start_workflow(
        DisconnectWorkflow.run,
        DisconnectOrder(connection_id=connection.id),
        id=task_id,
        task_queue=TaskQueue.ORCHESTRATION,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    started = Event(type=EventType.TASK_STARTED, owner_id=connection.owner_id, data={"task_id": task_id})
    await parts.stores.publish(Channel.EVENTS, started)
    try:
        async with asyncio.timeout(_PATIENCE):
            ended: TaskStatus = await handle.result()
    except TimeoutError:
        return None
    except WorkflowFailureError:
        raise Unavailable("The connection could not be ended; ask again", part="worker") from None
    return ended.result or {}
