"""A build's activities without an engine: they do what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from mcp_platform.contracts.images import (
    BUILD_PROGRESS,
    BuildBounds,
    BuildOrder,
    BuildProgress,
    BuiltImage,
    SourceKind,
)
from mcp_platform.contracts.tasks import TaskOutcome, TaskStatus
from mcp_platform.names import TaskQueue
from workflows.images import BuildImageWorkflow

BUILDING = "Step 7 of 9: Installing the server's packages"


async def succeeds() -> BuiltImage:
    """Build at once."""
    image = f"sha256:{'0' * 64}"
    return BuiltImage(image=image, tag="mcp-platform/test:1", source=SourceKind.PYPI, built=True, seconds=1.0)


async def fails() -> BuiltImage:
    """Fail at once."""
    reason = "step 7 of 9 (RUN pip install) failed: No matching distribution found for x"
    raise ApplicationError(reason, type="BuildFailed", non_retryable=True)


async def goes_on() -> BuiltImage:
    """Build until that is called off."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.02)


class Rehearsal:
    """The activities.

    Args:
        build: What a build does.
    """

    def __init__(self, build: Callable[[], Awaitable[BuiltImage]]) -> None:
        self._build = build
        self.outcomes: list[TaskOutcome] = []

    @activity.defn(name="images.begin")
    async def begin(self, order: BuildOrder) -> BuildBounds:
        """Allow a minute."""
        return BuildBounds(timeout=60.0)

    @activity.defn(name="images.build")
    async def build(self, order: BuildOrder) -> BuiltImage:
        """Tell of a step, and do what the test says."""
        handle = activity.client().get_workflow_handle(order.task_id)
        await handle.signal(BUILD_PROGRESS, BuildProgress(progress=70, message=BUILDING))
        return await self._build()

    @activity.defn(name="tasks.begin")
    async def begin_task(self, task_id: str) -> None:
        """Record nothing."""

    @activity.defn(name="tasks.conclude")
    async def conclude(self, outcome: TaskOutcome) -> None:
        """Note the outcome."""
        self.outcomes.append(outcome)


@asynccontextmanager
async def rehearsed(
    client: Client, rehearsal: Rehearsal
) -> AsyncIterator[WorkflowHandle[BuildImageWorkflow, TaskStatus]]:
    """Run a build's workflow with these activities, in a namespace that no other worker serves."""
    orchestration = Worker(
        client,
        task_queue=TaskQueue.ORCHESTRATION,
        workflows=[BuildImageWorkflow],
        activities=[rehearsal.begin, rehearsal.begin_task, rehearsal.conclude],
    )
    builders = Worker(
        client,
        task_queue=TaskQueue.BUILDS,
        activities=[rehearsal.build],
        max_heartbeat_throttle_interval=timedelta(milliseconds=20),
        default_heartbeat_throttle_interval=timedelta(milliseconds=20),
    )
    order = BuildOrder(deployment_id=uuid4(), revision=1, owner_id=uuid4())
    async with orchestration, builders:
        handle = await client.start_workflow(
            BuildImageWorkflow.run, order, id=order.task_id, task_queue=TaskQueue.ORCHESTRATION
        )
        yield client.get_workflow_handle_for(BuildImageWorkflow.run, handle.id)
