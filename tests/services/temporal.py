"""Temporal servers: a dev server in memory with the embedded one's flags, and one that skips time."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from mcp_platform.cli.temporal_server import DYNAMIC_CONFIG, TemporalUnavailable, find_or_get
from mcp_platform.plugin import PLATFORM
from mcp_platform.search_attributes import ALL
from mcp_platform.settings import TemporalSettings
from tests.services.process import program, unavailable
from worker.search_attributes import ensure_search_attributes

_START_PATIENCE: Final = timedelta(seconds=60)
_TIME_SKIPPING: Final = Path(__file__).parents[2] / ".cache/services/time-skipping/temporal-test-server"


async def dev_server(changes: dict[str, str] | None = None) -> WorkflowEnvironment:
    """Start a dev server in memory, with changes to its dynamic configuration."""
    try:
        path = await find_or_get(TemporalSettings(), lambda line: None)
    except TemporalUnavailable as error:
        unavailable(str(error))
    configuration = DYNAMIC_CONFIG | (changes or {})
    flags = [f"--dynamic-config-value={name}={value}" for name, value in configuration.items()]
    return await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(path),
        dev_server_extra_args=flags,
        dev_server_startup_timeout=_START_PATIENCE,
        plugins=[PLATFORM],
        search_attributes=ALL,
    )


async def time_skipping_server() -> WorkflowEnvironment:
    """Start a server whose clock jumps while nothing but timers is pending."""
    program("java")
    if not _TIME_SKIPPING.exists():
        unavailable("Temporal's time-skipping test server is not installed")
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(_TIME_SKIPPING),
        test_server_startup_timeout=_START_PATIENCE,
        plugins=[PLATFORM],
    )
    # Without them an upsert hangs there.
    await environment.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=environment.client.namespace,
            search_attributes={key.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for key in ALL},
        )
    )
    return environment


async def new_namespace(client: Client) -> Client:
    """Make a namespace, so that no other worker takes what is started in it; a client of it."""
    name = f"test-{uuid4().hex[:8]}"
    retention = Duration()
    retention.FromTimedelta(timedelta(days=1))
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention),
        retry=True,
    )
    made = await Client.connect(client.service_client.config.target_host, namespace=name, plugins=[PLATFORM])
    await ensure_search_attributes(made)
    return made


@pytest.fixture(scope="session")
async def temporal_environment() -> AsyncIterator[WorkflowEnvironment]:
    """Give the session's Temporal server."""
    async with await dev_server() as environment:
        yield environment


@pytest.fixture
def temporal(temporal_environment: WorkflowEnvironment) -> Client:
    """Give a client of the session's Temporal server."""
    return temporal_environment.client
