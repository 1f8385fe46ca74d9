"""A GitHub for each test, and a platform that looks at it only when it is told to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.service import RPCError

from mcp_platform.names import HEADS_SCHEDULE
from tests.github.double import GitHubDouble
from tests.platform import RunningPlatform
from tests.waiting import eventually, in_one_task


@pytest.fixture(scope="package")
async def platform(platform: RunningPlatform) -> AsyncIterator[RunningPlatform]:
    """Give the session's platform; its look at all heads each quarter of an hour would meet some test."""
    schedule = platform.parts.temporal.get_schedule_handle(HEADS_SCHEDULE)

    async def paused() -> bool:
        try:
            await schedule.pause()
        except RPCError:
            # The worker makes it in the background when it starts.
            return False
        return True

    await eventually(paused)
    yield platform
    await schedule.unpause()


@pytest.fixture
async def github(tmp_path: Path) -> AsyncIterator[GitHubDouble]:
    """Give a GitHub without repositories, that answers at an address of its own."""
    async with in_one_task(GitHubDouble(tmp_path / "github").running()) as running:
        yield running
