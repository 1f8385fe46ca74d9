"""Fixtures for tests about tasks."""

from collections.abc import Iterator

import pytest

from tests.platform import Caller, RunningPlatform
from tests.tasks.states import Deliberation, deliberating


@pytest.fixture
def deliberation() -> Iterator[Deliberation]:
    """Hold the analyst back for the time of a test, or until it is told to answer."""
    with deliberating() as held:
        yield held


@pytest.fixture(scope="module")
async def member(platform: RunningPlatform) -> Caller:
    """Give a developer, the same for the tests of one module."""
    return await platform.member()
