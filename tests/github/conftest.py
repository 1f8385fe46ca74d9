"""A GitHub for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.github.double import GitHubDouble
from tests.waiting import in_one_task


@pytest.fixture
async def github(tmp_path: Path) -> AsyncIterator[GitHubDouble]:
    """Give a GitHub without repositories, that answers at an address of its own."""
    async with in_one_task(GitHubDouble(tmp_path / "github").running()) as running:
        yield running
