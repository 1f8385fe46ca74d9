"""The gateway, as in its own tests, with MCPs that anybody may reach: the suite sends no credential."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mcp_platform.contracts.deployments import Deployment, Driver
from mcp_platform.contracts.policies import Access, McpPolicy, StoredPolicy
from mcp_platform.names import Channel
from mcp_platform.settings import LimitSettings, Settings
from tests.conformance.suite import everything, fixture_command
from tests.gateway.conftest import Background, Platform, runner, running_platform, settings_for
from tests.runner.conftest import start_runner, until

__all__ = ["runner"]


def unlimited(folder: Path) -> Settings:
    """Make settings without a limit that a test could meet."""
    limits = LimitSettings(anonymous=1_000_000, user=1_000_000)
    return settings_for(folder).model_copy(update={"limits": limits})


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """Run a gateway that lets everybody ask as often as they like."""
    settings = unlimited(tmp_path)
    background = Background(lambda stack: stack.enter_async_context(running_platform(settings)))
    yield await background.ready()
    await background.close()


async def make_public(platform: Platform, deployment: Deployment) -> None:
    """Let everybody reach an MCP, and wait until the gateway does."""
    policy = StoredPolicy(
        mcp_id=deployment.mcp_id,
        revision=1,
        policy=McpPolicy(access=Access.PUBLIC),
        updated_at=datetime.now(UTC),
        updated_by=platform.user.id,
    )
    async with platform.stores.write() as rows:
        await rows.policies.put(policy)
    await platform.stores.publish(Channel.POLICIES, {"mcp_id": str(deployment.mcp_id)})

    async def known() -> bool:
        return platform.gateway.policies.of(deployment.mcp_id).public

    await until(known)


WAYS = {
    "http-legacy": ("http", "legacy"),
    "http-modern": ("http", "modern"),
    "sse-legacy": ("sse", "legacy"),
    "stdio-legacy": ("stdio", "legacy"),
    "stdio-modern": ("stdio", "modern"),
}
"""How the fixture server is reached, by the slug under which the gateway serves it."""


@pytest.fixture(scope="module")
async def estate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Run a gateway with the fixture server behind it in every way."""
    folder = tmp_path_factory.mktemp("estate")

    async def open_all(stack: AsyncExitStack) -> Platform:
        platform = await stack.enter_async_context(running_platform(unlimited(folder)))
        urls = await asyncio.gather(*(_served(stack, folder, *way) for way in WAYS.values()))
        for slug, url in zip(WAYS, urls, strict=True):
            deployment = await platform.deploy(slug, url, driver=Driver.REMOTE)
            # Streams that are open keep servers from ending.
            stack.push_async_callback(platform.place, deployment)
        return platform

    background = Background(open_all)
    yield await background.ready()
    await background.close()


async def _served(stack: AsyncExitStack, folder: Path, transport: str, era: str) -> str:
    if transport != "stdio":
        return await stack.enter_async_context(everything(transport, era))
    own = folder / f"{transport}-{era}"
    own.mkdir()
    command = fixture_command("--transport", "stdio", "--era", era)
    started = await stack.enter_async_context(start_runner(own, *command))
    return (await started.ready()).url
