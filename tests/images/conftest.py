"""A platform with a Docker engine of the tests' own, whose images stand on the tests' own bases."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from mcp_platform.docker_settings import DockerSettings
from tests.images.builds import ARGUMENT, Builds
from tests.images.git_server import GitServer, git_server
from tests.platform import quick_settings, running_platform
from tests.services.docker import DockerEngine
from tests.services.temporal import new_namespace
from tests.waiting import in_one_task


def docker_settings(engine: DockerEngine, base: str) -> DockerSettings:
    """Give settings that build on the tests' engine, trusting what this machine trusts.

    One base serves for both languages, so that the image with the runner is built once.
    """
    trusted = os.environ.get("SSL_CERT_FILE")
    return DockerSettings(
        host=engine.host,
        python_image=base,
        node_image=base,
        build_ca_path=Path(trusted) if trusted else None,
        build_arguments={"PIP_DEFAULT_TIMEOUT": "180", "BUILD_SECRET": ARGUMENT},
        builds_at_once=2,
    )


@pytest.fixture(scope="session")
async def builds(
    tmp_path_factory: pytest.TempPathFactory,
    temporal_environment: WorkflowEnvironment,
    docker_engine: DockerEngine,
    node_image: str,
) -> AsyncIterator[Builds]:
    """Give a platform that builds images, and what tests do with it."""
    settings = quick_settings(tmp_path_factory.mktemp("images")).model_copy(
        update={"docker": docker_settings(docker_engine, node_image)}
    )
    temporal = await new_namespace(temporal_environment.client)
    async with in_one_task(running_platform(settings, temporal)) as platform:
        yield Builds(platform, docker_engine, await platform.admin())


@pytest.fixture
async def repositories(tmp_path: Path) -> AsyncIterator[GitServer]:
    """Give a server of Git repositories on loopback."""
    async with git_server(tmp_path / "repositories") as server:
        yield server
