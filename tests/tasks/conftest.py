"""Fixtures for tests about tasks."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from api import task_reader
from tests.platform import Caller, RunningPlatform
from tests.tasks.states import Deliberation, deliberating


@pytest.fixture
def deliberation() -> Iterator[Deliberation]:
    """Hold the analyst back for the time of a test, or until it is told to answer."""
    with deliberating() as held:
        yield held


@pytest.fixture
def patient_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workflows asked for longer: after a pause of two seconds a state would rightly be stale."""
    monkeypatch.setattr(task_reader, "_QUERY_TIMEOUT", timedelta(seconds=20))


@pytest.fixture(scope="module")
async def member(platform: RunningPlatform) -> Caller:
    """Give a developer, the same for the tests of one module."""
    return await platform.member()
