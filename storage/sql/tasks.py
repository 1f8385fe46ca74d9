"""Records of background operations."""

import builtins
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, insert, or_, select, update

from mcp_platform.contracts.tasks import FINAL_STATES, TaskKind, TaskRecord, TaskState
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Page, Repository, changed_rows, inserted
from storage.sql.tables import TaskRow

_OPEN = TaskRow.status.not_in(FINAL_STATES)


class TaskRepository(Repository[SessionT]):
    """Tasks. While one is open its workflow knows better; once it is final the record decides."""

    async def add(self: "TaskRepository[WriteSession]", task: TaskRecord) -> None:
        """Record a task; one that is recorded already stays as it is."""
        await inserted(self._session, insert(TaskRow).values(task.model_dump()))

    async def reopen(self: "TaskRepository[WriteSession]", task: TaskRecord) -> None:
        """Record a task that may have run before: one that has ended begins anew, an open one goes on."""
        ended = update(TaskRow).where(TaskRow.task_id == task.task_id, TaskRow.status.in_(FINAL_STATES))
        if not await changed_rows(self._session, ended.values(task.model_dump())):
            await self.add(task)

    async def get(self, task_id: str) -> TaskRecord | None:
        """Find the task with this id."""
        row = await self._session.scalar(select(TaskRow).where(TaskRow.task_id == task_id))
        return _task(row) if row else None

    async def list(
        self,
        *,
        owner_id: UUID | None,
        page: int,
        page_size: int,
        status: TaskState | None = None,
        kind: TaskKind | None = None,
    ) -> Page[TaskRecord]:
        """List one page, newest first, of one owner's tasks or of everybody's."""
        query = select(TaskRow).order_by(TaskRow.created_at.desc(), TaskRow.task_id.desc())
        for column, wanted in (
            (TaskRow.owner_id, owner_id),
            (TaskRow.status, status),
            (TaskRow.kind, kind),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        rows, total = await self._rows(query, page, page_size)
        return Page([_task(row) for row in rows], total)

    async def begin(self: "TaskRepository[WriteSession]", task_id: str) -> bool:
        """Record that a pending task runs; false when it is unknown, runs already or has ended."""
        pending = update(TaskRow).where(TaskRow.task_id == task_id, TaskRow.status == TaskState.PENDING)
        running = pending.values(status=TaskState.RUNNING, message="Running")
        return await changed_rows(self._session, running) == 1

    async def settle(
        self: "TaskRepository[WriteSession]",
        task_id: str,
        *,
        status: TaskState,
        message: str,
        error: str | None,
        result_key: str | None,
        progress: int,
        completed_at: datetime,
    ) -> bool:
        """Record how a task ended; false when it is unknown or has ended before: the first end counts."""
        still_open = update(TaskRow).where(TaskRow.task_id == task_id, _OPEN)
        values = still_open.values(
            status=status,
            message=message,
            error=error,
            result_key=result_key,
            progress=progress,
            completed_at=completed_at,
        )
        return await changed_rows(self._session, values) == 1

    async def open_tasks(self, owner_id: UUID | None = None) -> builtins.list[TaskRecord]:
        """List tasks that have not ended, oldest first, of one owner or of everybody."""
        query = select(TaskRow).where(_OPEN).order_by(TaskRow.created_at, TaskRow.task_id)
        if owner_id is not None:
            query = query.where(TaskRow.owner_id == owner_id)
        return [_task(row) for row in await self._session.scalars(query)]

    async def ended_since(
        self, moment: datetime, owner_id: UUID | None, after: TaskRecord | None, limit: int
    ) -> builtins.list[TaskRecord]:
        """List tasks that ended since, in that order, of one owner or of everybody.

        Args:
            moment: From when on.
            owner_id: Whose.
            after: The last one of the list before.
            limit: How many at most.
        """
        query = select(TaskRow).where(TaskRow.completed_at >= moment)
        if owner_id is not None:
            query = query.where(TaskRow.owner_id == owner_id)
        if after is not None:
            later = TaskRow.completed_at > after.completed_at
            same = and_(TaskRow.completed_at == after.completed_at, TaskRow.task_id > after.task_id)
            query = query.where(or_(later, same))
        query = query.order_by(TaskRow.completed_at, TaskRow.task_id).limit(limit)
        return [_task(row) for row in await self._session.scalars(query)]

    async def known(self, task_ids: Collection[str]) -> set[str]:
        """Find which of these tasks there are."""
        return set(await self._session.scalars(select(TaskRow.task_id).where(TaskRow.task_id.in_(task_ids))))

    async def used_results(self, keys: Collection[str]) -> set[str]:
        """Find which of these results a task points to."""
        query = select(TaskRow.result_key).where(TaskRow.result_key.in_(keys))
        return {key for key in await self._session.scalars(query) if key is not None}


def _task(row: TaskRow) -> TaskRecord:
    return TaskRecord.model_validate(row, from_attributes=True)
