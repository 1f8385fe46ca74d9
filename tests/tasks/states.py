"""Tasks that stay in a known state for as long as a test needs it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

from activities.feasibility_rules import Case, RuleAnalyst
from mcp_platform.contracts.analysis import Feasibility, FeasibilityOrder
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.names import Collection, TaskQueue
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually
from workflows.analysis import FeasibilityWorkflow

LAST_STEP = "Weighing risks and effort"


class Deliberation:
    """Holds the analyst back: tasks stand at their last step until it is over."""

    def __init__(self) -> None:
        self._over = asyncio.Event()

    def end(self) -> None:
        """Let the analyst answer."""
        self._over.set()

    async def wait(self) -> None:
        """Wait for the end."""
        await self._over.wait()

    async def start_task(self, caller: Caller) -> str:
        """Start a task, and wait until it stands; its id."""
        task_id = await caller.start_analysis()

        async def read() -> dict[str, Any]:
            found: dict[str, Any] = (await caller.get(f"/api/v1/tasks/{task_id}")).json()
            return found

        await eventually(read, lambda seen: seen["message"] == LAST_STEP and not seen["stale"])
        return task_id


@contextmanager
def deliberating() -> Iterator[Deliberation]:
    """Hold back every analyst of this process."""
    held = Deliberation()
    decide = RuleAnalyst.judge

    async def judge(self: RuleAnalyst, case: Case) -> Feasibility:
        await held.wait()
        return await decide(self, case)

    with patch.object(RuleAnalyst, "judge", judge):
        try:
            yield held
        finally:
            held.end()


async def record_task(platform: RunningPlatform, caller: Caller, age: timedelta, *, start: bool) -> str:
    """Leave a task as a crash would have left it some time ago; with or without its workflow."""
    parts = platform.parts
    owner_id: UUID = parts.tokens.read_access(caller.token).user_id
    task_id = str(uuid4())
    await parts.stores.documents.put(Collection.IDEAS, task_id, {"name": "An idea"})
    record = TaskRecord(
        task_id=task_id,
        kind=TaskKind.FEASIBILITY,
        owner_id=owner_id,
        status=TaskState.PENDING,
        message="Queued",
        created_at=datetime.now(UTC) - age,
    )
    async with parts.stores.write() as rows:
        await rows.tasks.add(record)
    if start:
        await parts.temporal.start_workflow(
            FeasibilityWorkflow.run,
            FeasibilityOrder(task_id=task_id, idea_key=task_id, owner_id=owner_id),
            id=task_id,
            task_queue=TaskQueue.ORCHESTRATION,
        )
    return task_id
