"""Asking for a sync: of whoever asks, and of pushes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from temporalio.common import WorkflowIDConflictPolicy

from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.github import Connection, SyncOrder, sync_task
from mcp_platform.contracts.syncing import SyncRequest
from mcp_platform.names import SYNC_AGAIN, SYNC_WORKFLOW, Channel, TaskQueue, sync_workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client

    from storage.stores import Stores

_PATIENCE: Final = timedelta(seconds=10)


async def begin_sync(stores: Stores, temporal: Client, connection: Connection, request: SyncRequest) -> str:
    """Start a connection's sync, or have the one that runs begin once more behind itself; its task's id."""
    task = sync_task(connection, datetime.now(UTC))
    async with stores.write() as rows:
        await rows.tasks.reopen(task)
    await temporal.start_workflow(
        SYNC_WORKFLOW,
        SyncOrder(
            connection_id=connection.id,
            owner_id=connection.owner_id,
            cause=request.cause,
            deploy=request.deploy,
            force=request.force,
        ),
        id=sync_workflow_id(connection.id),
        task_queue=TaskQueue.ORCHESTRATION,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal=SYNC_AGAIN,
        start_signal_args=[request],
        rpc_timeout=_PATIENCE,
    )
    started = Event(type=EventType.TASK_STARTED, owner_id=connection.owner_id, data={"task_id": task.task_id})
    await stores.publish(Channel.EVENTS, started)
    return task.task_id
