"""A platform that writes configurations."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.generation.asking import Generating, generating_platform
from tests.waiting import in_one_task


@pytest.fixture(scope="package")
async def started(
    tmp_path_factory: pytest.TempPathFactory, temporal_environment: WorkflowEnvironment
) -> AsyncIterator[Generating]:
    """Start the platform, once for these tests: what it puts in the way of programs ends with it."""
    folder = tmp_path_factory.mktemp("generation")
    async with in_one_task(generating_platform(folder, temporal_environment.client)) as generating:
        yield generating


@pytest.fixture
def generating(started: Generating) -> Generating:
    """Give the platform, whose model was asked nothing yet."""
    started.provider.requests.clear()
    return started
