"""Calls of a deployment that is scaled to zero: they wake it, and wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_platform.contracts.deployments import DeploymentState, Driver
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from storage.cache import listen
from tests.gateway.conftest import MODERN, Background, Platform, running_platform, settings_for
from tests.gateway.test_mcp_clients import raw
from tests.gateway.upstreams import stub
from tests.runner.conftest import until


@asynccontextmanager
async def platform_with(folder: Path, **gateway: Any) -> AsyncIterator[Platform]:
    """Run a gateway with these settings."""
    settings = settings_for(folder, **gateway)
    background = Background(lambda stack: stack.enter_async_context(running_platform(settings)))
    yield await background.ready()
    await background.close()


@asynccontextmanager
async def wakes(platform: Platform) -> AsyncIterator[list[str]]:
    """Collect whom the gateway wakes."""
    heard: list[str] = []
    ready = asyncio.Event()

    async def hear() -> None:
        async for message in listen(platform.stores.cache, Channel.WAKE):
            if message.channel is not None:
                heard.append(message.data["deployment_id"])
            ready.set()

    listener = asyncio.create_task(hear())
    await ready.wait()
    yield heard
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def waiting(platform: Platform, slug: str, count: int) -> None:
    """Return once so many calls wait."""

    async def seen() -> bool:
        return platform.gateway._routes.find(slug).tally.waiting == count

    await until(seen)


async def by_rest(platform: Platform) -> bool:
    """Call by plain REST."""
    return (await platform.rest("lazy", "act", {}))[0] == 200


async def by_call(platform: Platform) -> bool:
    """Call a tool by a modern request, without any session."""
    return "result" in await raw(platform, "lazy", "tools/call", name="act", arguments={})


async def by_list(platform: Platform) -> bool:
    """List the tools by a modern request."""
    return bool((await raw(platform, "lazy", "tools/list"))["result"]["tools"])


async def by_legacy_client(platform: Platform) -> bool:
    """Open a session of the older era, list and call."""
    async with platform.client("lazy", "legacy") as client:
        assert (await client.list_tools()).tools
        return not (await client.call_tool("act", {})).is_error


async def by_modern_client(platform: Platform) -> bool:
    """Call by a client of the newer era."""
    async with platform.client("lazy", MODERN) as client:
        return not (await client.call_tool("act", {})).is_error


@pytest.mark.parametrize("ask", [by_rest, by_call, by_list, by_legacy_client, by_modern_client])
async def test_any_request_wakes_a_deployment_and_waits_for_its_first_replica(
    platform: Platform, ask: Any
) -> None:
    async with stub() as server, wakes(platform) as woken:
        deployment = await platform.deploy("lazy", driver=Driver.REMOTE)
        await platform.put_to_sleep(deployment)
        asking = asyncio.create_task(ask(platform))
        await waiting(platform, "lazy", 1)

        async def heard() -> bool:
            return bool(woken)

        await until(heard)
        assert set(woken) == {str(deployment.id)}
        await platform.place(deployment, server.url)
        assert await asking


async def test_calls_wait_on_while_the_deployment_starts_and_all_are_answered(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.arrivals._AGAIN", 25.0)  # it is not woken once more if this takes long
    async with stub() as server, wakes(platform) as woken:
        deployment = await platform.deploy("lazy", driver=Driver.REMOTE)
        await platform.put_to_sleep(deployment)
        first = [asyncio.create_task(by_rest(platform)) for _ in range(5)]
        await waiting(platform, "lazy", 5)
        await platform.report(deployment, DeploymentState.STARTING)

        async def awake() -> bool:
            return not platform.gateway._routes.find("lazy").route.asleep

        await until(awake)
        late = [asyncio.create_task(by_rest(platform)) for _ in range(5)]
        await waiting(platform, "lazy", 10)
        await platform.place(deployment, server.url)
        assert all(await asyncio.gather(*first, *late))
    assert len(woken) == 1


async def test_a_deployment_that_does_not_wake_is_unavailable_in_the_end(tmp_path: Path) -> None:
    async with platform_with(tmp_path, wake_timeout=0.3) as platform:
        deployment = await platform.deploy("dead", driver=Driver.REMOTE)
        await platform.put_to_sleep(deployment)
        status, body, headers = await platform.rest("dead", "act", {})
        assert (status, body["error_code"], headers["Retry-After"]) == (503, "SERVICE_UNAVAILABLE", "2")


async def test_a_calls_own_deadline_ends_its_wait(platform: Platform) -> None:
    deployment = await platform.deploy("lazy", driver=Driver.REMOTE)
    await platform.put_to_sleep(deployment)
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await platform.gateway.call_tool("lazy", "act", {}, timeout=0.2)
    assert platform.gateway._routes.find("lazy").tally.waiting == 0


async def test_only_so_many_calls_wait_and_more_are_told_to_come_again(tmp_path: Path) -> None:
    async with platform_with(tmp_path, max_waiting=2) as platform, stub() as server:
        deployment = await platform.deploy("lazy", driver=Driver.REMOTE)
        await platform.put_to_sleep(deployment)
        held = [asyncio.create_task(by_rest(platform)) for _ in range(2)]
        await waiting(platform, "lazy", 2)
        status, body, headers = await platform.rest("lazy", "act", {})
        assert (status, headers["Retry-After"]) == (503, "2")
        assert "2 calls wait" in body["detail"]
        await platform.place(deployment, server.url)
        assert all(await asyncio.gather(*held))


async def test_a_deployment_that_is_stopped_while_calls_wait_is_not_found(platform: Platform) -> None:
    deployment = await platform.deploy("lazy", driver=Driver.REMOTE)
    await platform.put_to_sleep(deployment)
    call = asyncio.create_task(platform.rest("lazy", "act", {}))
    await waiting(platform, "lazy", 1)
    await platform.stop(deployment)
    assert (await call)[0] == 404


async def test_a_caller_who_leaves_waits_no_more(platform: Platform) -> None:
    deployment = await platform.deploy("lazy", driver=Driver.REMOTE)
    await platform.put_to_sleep(deployment)
    call = asyncio.create_task(platform.rest("lazy", "act", {}))
    await waiting(platform, "lazy", 1)
    call.cancel()
    await waiting(platform, "lazy", 0)
