"""A platform whose model and package registries are of the tests."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr
from temporalio.testing import WorkflowEnvironment

from mcp_platform.check_settings import PackageSettings
from tests.checks.registries import LocalRegistry, local_registry
from tests.models.provider import Provider, running_provider
from tests.platform import Caller, RunningPlatform, quick_settings, running_platform
from tests.services.temporal import new_namespace
from tests.waiting import in_one_task


@dataclass(frozen=True)
class Improving:
    """The platform, what it asks, and who asks it."""

    platform: RunningPlatform
    provider: Provider
    registry: LocalRegistry
    admin: Caller


@pytest.fixture(scope="session")
async def improving(
    tmp_path_factory: pytest.TempPathFactory, temporal_environment: WorkflowEnvironment
) -> AsyncIterator[Improving]:
    """Start the platform, once; the administrator may run commands."""
    async with running_provider() as provider, local_registry() as registry:
        # First, as it takes a while: the settings name a port that is free only now.
        temporal = await new_namespace(temporal_environment.client)
        address = SecretStr(registry.url)
        settings = quick_settings(tmp_path_factory.mktemp("improving")).model_copy(
            update={
                "models": provider.settings(),
                "packages": PackageSettings(pypi_url=address, npm_url=address),
            }
        )
        async with in_one_task(running_platform(settings, temporal)) as platform:
            yield Improving(platform, provider, registry, await platform.admin())


@pytest.fixture
def admin(improving: Improving) -> Caller:
    """Give the administrator, who may run commands."""
    return improving.admin
