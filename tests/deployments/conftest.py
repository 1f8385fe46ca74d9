"""What tests of deployments share."""

from collections.abc import AsyncIterator

import pytest

from tests.platform import Caller, RunningPlatform


@pytest.fixture
async def admin(platform: RunningPlatform) -> AsyncIterator[Caller]:
    """Give the administrator, whose deployments are stopped after the test."""
    async with platform.deployer() as caller:
        yield caller
