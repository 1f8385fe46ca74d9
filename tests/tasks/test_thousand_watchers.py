"""However many watch a task, it costs one long poll on its history."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client

from tests.platform import RunningPlatform
from tests.tasks.sockets import Socket, open_socket
from tests.tasks.states import Deliberation
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("patient_queries")

WATCHERS = 1000
_AT_ONCE = 50


class LongPolls:
    """Counts the long polls that are made on the history of workflows."""

    def __init__(self) -> None:
        self.made = 0
        self.open = 0
        self.most = 0

    def counted(self, original: Any) -> Any:
        """Give a call in place of the original one, which counts it."""

        async def call(request: GetWorkflowExecutionHistoryRequest, **options: Any) -> Any:
            if not request.wait_new_event:
                return await original(request, **options)
            self.made += 1
            self.open += 1
            self.most = max(self.most, self.open)
            try:
                return await original(request, **options)
            finally:
                self.open -= 1

        return call


@pytest.fixture
def long_polls(temporal: Client, monkeypatch: pytest.MonkeyPatch) -> LongPolls:
    """Count the long polls of a test."""
    polls = LongPolls()
    service = temporal.workflow_service
    original = service.get_workflow_execution_history
    monkeypatch.setattr(service, "get_workflow_execution_history", polls.counted(original))
    return polls


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    """Close everything at once at the end."""
    async with AsyncExitStack() as stack:
        yield stack


async def test_a_thousand_sockets_on_one_task_cost_one_long_poll(
    platform: RunningPlatform, deliberation: Deliberation, long_polls: LongPolls, opened: AsyncExitStack
) -> None:
    member = await platform.member()
    task_id = await deliberation.start_task(member)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def join() -> Socket:
        async with gate:
            socket = await opened.enter_async_context(open_socket(platform, member.token))
            await socket.send("subscribe", task_id)
            assert (await socket.next())["progress"] == 65
        return socket

    sockets = await asyncio.gather(*(join() for _ in range(WATCHERS)))
    assert platform.parts.hub.watched == 1
    # Between the end of one and the beginning of the next there is none for a moment.
    await eventually(lambda: asyncio.sleep(0, long_polls.open))
    assert long_polls.most == 1

    before = long_polls.made
    deliberation.end()
    states = await asyncio.gather(*(socket.until_final(task_id) for socket in sockets))
    assert all(seen[-1]["status"] == "completed" and seen[-1]["result"] for seen in states)
    assert long_polls.most == 1
    # One poll for each growth of the history, not for each socket.
    assert long_polls.made - before < 20

    async def watched() -> int:
        return platform.parts.hub.watched

    await eventually(watched, lambda number: number == 0)
