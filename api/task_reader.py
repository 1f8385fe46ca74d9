"""Where a task stands: asked of its workflow, or read from its record once that is final."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError

from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState, TaskStatus
from mcp_platform.errors import NotFound
from mcp_platform.names import Collection
from storage.stores import Stores
from workflows.tasks import TaskWorkflow

logger = structlog.get_logger(__name__)

_STILL_GOING = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)
_QUERY_TIMEOUT = timedelta(seconds=2)


class TaskView(Contract):
    """A task as its watchers see it."""

    task_id: str
    kind: TaskKind
    status: TaskState
    progress: int
    message: str
    result: dict[str, Any] | None = None
    error: str | None = None
    stale: bool = False
    """True when nobody could be asked, so that this is only the last known state."""
    created_at: Moment
    completed_at: Moment | None = None


class TaskReader:
    """Reads tasks for one process."""

    def __init__(self, stores: Stores, temporal: Client) -> None:
        self._stores = stores
        self._temporal = temporal

    async def authorise(self, task_id: str, principal: Principal) -> TaskRecord:
        """Read the task's record, if this caller may see it: its owner, or an administrator.

        Raises:
            NotFound: There is no such task, or it is somebody else's.
        """
        async with self._stores.read() as rows:
            record = await rows.tasks.get(task_id)
        if record is None or not may_see(record.owner_id, principal):
            raise NotFound("task", task_id)
        return record

    async def find(self, task_id: str) -> TaskRecord | None:
        """Read the task's record; None if there is no such task."""
        async with self._stores.read() as rows:
            return await rows.tasks.get(task_id)

    async def view(self, record: TaskRecord, *, running: bool = False) -> TaskView:
        """Read the newest state of a task.

        Args:
            record: Its record, just read; or read earlier, of a task that runs.
            running: Whether its workflow is known to run still.
        """
        if record.status.final:
            return await self._recorded(record)
        status = await self._ask(record.task_id, running=running)
        if status is None:
            return _render(record, stale=True)
        if status.status.final:
            # The record was written before the workflow said so, perhaps after we read it.
            async with self._stores.read() as rows:
                fresh = await rows.tasks.get(record.task_id)
            if fresh and fresh.status.final:
                return await self._recorded(fresh)
        return _render(
            record.model_copy(
                update={
                    "status": status.status if status.revision or status.status.final else record.status,
                    "progress": status.progress,
                    "message": status.message or record.message,
                    "error": status.error,
                }
            ),
            result=status.result,
        )

    async def _recorded(self, record: TaskRecord) -> TaskView:
        result = None
        if record.result_key:
            result = await self._stores.documents.get(Collection.RESULTS, record.result_key)
        return _render(record, result=result)

    async def _ask(self, task_id: str, *, running: bool) -> TaskStatus | None:
        """Ask what the workflow says; None if nobody can answer for it now."""
        handle = self._temporal.get_workflow_handle(task_id)
        try:
            # Described first: of a workflow that was closed before the query, the query says the last.
            closed_as = None if running else (await handle.describe(rpc_timeout=_QUERY_TIMEOUT)).status
            status = await handle.query(TaskWorkflow.status, rpc_timeout=_QUERY_TIMEOUT)
        except (RPCError, RuntimeError, WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            logger.info("task_query_failed", task_id=task_id, error=str(error))
            return None
        if closed_as is None or closed_as in _STILL_GOING or status.status.final:
            return status
        if closed_as is WorkflowExecutionStatus.CANCELED:
            return status.model_copy(update={"status": TaskState.CANCELLED, "message": "Cancelled"})
        reason = f"its workflow was ended from outside ({closed_as.name.lower()})"
        return status.model_copy(update={"status": TaskState.FAILED, "message": "Failed", "error": reason})


def may_see(owner_id: UUID, principal: Principal) -> bool:
    """Tell whether this caller may see a task of that owner."""
    return owner_id == principal.user_id or Permission.TASKS_ALL in principal.permissions


def _render(record: TaskRecord, *, result: dict[str, Any] | None = None, stale: bool = False) -> TaskView:
    return TaskView(
        task_id=record.task_id,
        kind=record.kind,
        status=record.status,
        progress=record.progress,
        message=record.message,
        result=result,
        error=record.error,
        stale=stale,
        created_at=record.created_at,
        completed_at=record.completed_at,
    )
