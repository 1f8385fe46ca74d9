"""The stored record of a task, which outlives its workflow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from temporalio import activity

from mcp_platform.contracts.tasks import TaskOutcome
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
        if outcome.result is not None:
            await self._stores.documents.put(Collection.RESULTS, outcome.task_id, outcome.result)
        async with self._stores.write() as rows:
            await rows.tasks.settle(
                outcome.task_id,
                status=outcome.status,
                message=outcome.message,
                error=outcome.error,
                result_key=outcome.task_id if outcome.result is not None else None,
                progress=outcome.progress,
                completed_at=datetime.now(UTC),
            )
