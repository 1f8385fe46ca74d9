"""The stored record of a task, which outlives its workflow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from temporalio import activity

from mcp_platform.contracts.tasks import REPEATED_KINDS, TaskOutcome
from mcp_platform.names import Collection

if TYPE_CHECKING:
    from storage.stores import Stores


class TaskActivities:
    """Begin and conclude; repeating either is success."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @activity.defn(name="tasks.begin")
    async def begin(self, task_id: str) -> None:
        """Record that the task runs."""
        async with self._stores.write() as rows:
            await rows.tasks.begin(task_id)

    @activity.defn(name="tasks.conclude")
    async def conclude(self, outcome: TaskOutcome) -> None:
        """Record how the task ended: the result first, then the row that points to it."""
        key = None
        if outcome.result is not None:
            key = await self._result_key(outcome.task_id)
            await self._stores.documents.put(Collection.RESULTS, key, outcome.result)
        async with self._stores.write() as rows:
            await rows.tasks.settle(
                outcome.task_id,
                status=outcome.status,
                message=outcome.message,
                error=outcome.error,
                result_key=key,
                progress=outcome.progress,
                completed_at=datetime.now(UTC),
            )

    async def _result_key(self, task_id: str) -> str:
        """Name the result's document: a task that runs again has another result, and documents stay."""
        async with self._stores.read() as rows:
            record = await rows.tasks.get(task_id)
        if record is None or record.kind not in REPEATED_KINDS:
            return task_id
        return f"{task_id}/{activity.info().workflow_run_id}"
