"""A Temporal dev server in memory, with the flags of the embedded one."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from mcp_platform.cli.temporal_server import DYNAMIC_CONFIG, TemporalUnavailable, find_or_get
from mcp_platform.plugin import PLATFORM
from mcp_platform.settings import TemporalSettings
from tests.services.process import unavailable


@pytest.fixture(scope="session")
async def temporal_environment() -> AsyncIterator[WorkflowEnvironment]:
    """Give the session's Temporal server."""
    try:
        program = await find_or_get(TemporalSettings(), lambda line: None)
    except TemporalUnavailable as error:
        unavailable(str(error))
    flags = [f"--dynamic-config-value={name}={value}" for name, value in DYNAMIC_CONFIG.items()]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(program), dev_server_extra_args=flags, plugins=[PLATFORM]
    ) as environment:
        yield environment


@pytest.fixture
def temporal(temporal_environment: WorkflowEnvironment) -> Client:
    """Give a client of the session's Temporal server."""
    return temporal_environment.client
