"""All activities of tasks doubled at once: each does what a test says of its name."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import Worker

from mcp_platform.contracts.tasks import TaskOutcome
from mcp_platform.names import TaskQueue
from tests.waiting import eventually

Step = Callable[[], Awaitable[Any]]

_BEAT: Final = timedelta(milliseconds=20)


def answers(value: Any) -> Step:
    """Answer at once."""
    return lambda: asyncio.sleep(0, value)


async def goes_on() -> None:
    """Go on until that is called off."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.02)


def heedless(value: Any) -> Step:
    """Go on until that is called off, and then answer as if it had not been."""

    async def step() -> Any:
        try:
            return await goes_on()
        except asyncio.CancelledError:
            return value

    return step


class Steps:
    """The doubles.

    Args:
        steps: What activities do, by their names; the others answer nothing at once.
    """

    def __init__(self, steps: dict[str, Step]) -> None:
        self.steps = steps
        self.begun: list[str] = []
        """Names of activities, in the order of their beginnings."""
        self.outcomes: list[TaskOutcome] = []
        """What was recorded of tasks."""

    @activity.defn(dynamic=True)
    async def step(self, args: Sequence[RawValue]) -> Any:
        """Be any activity."""
        name = activity.info().activity_type
        self.begun.append(name)
        if name == "tasks.conclude":
            converter = activity.payload_converter()
            self.outcomes.append(converter.from_payload(args[0].payload, TaskOutcome))
        return await self.steps.get(name, answers(None))()

    async def has_begun(self, name: str) -> None:
        """Wait until this activity has begun."""
        await eventually(lambda: asyncio.sleep(0, name in self.begun))

    @asynccontextmanager
    async def running(self, client: Client, *workflows: type) -> AsyncIterator[None]:
        """Run the workflows with these activities, in a namespace that no other worker serves."""
        async with AsyncExitStack() as workers:
            for queue in (TaskQueue.ORCHESTRATION, TaskQueue.REPLICAS, TaskQueue.BUILDS):
                worker = Worker(
                    client,
                    task_queue=queue,
                    workflows=workflows if queue is TaskQueue.ORCHESTRATION else [],
                    activities=[self.step],
                    max_heartbeat_throttle_interval=_BEAT,
                    default_heartbeat_throttle_interval=_BEAT,
                )
                await workers.enter_async_context(worker)
            yield
