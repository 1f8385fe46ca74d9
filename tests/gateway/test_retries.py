"""Calls whose replica fails: which are sent to another, and what the platform is told of it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.relay import _MOST_BREAKS
from mcp_platform.contracts.deployments import Driver
from mcp_platform.errors import UpstreamTimedOut
from mcp_platform.names import Channel
from storage.cache import listen
from tests.gateway.conftest import Platform, StartRunner
from tests.gateway.upstreams import Stub, stub
from tests.runner.conftest import until

READ_ONLY = {"readOnlyHint": True}


async def stubs(stack: AsyncExitStack, count: int, annotations: dict[str, Any], **kind: Any) -> list[Stub]:
    """Run some servers whose tool has these annotations."""
    servers = [await stack.enter_async_context(stub(**kind)) for _ in range(count)]
    for server in servers:
        server.annotations = annotations
    return servers


async def dead(stack: AsyncExitStack) -> str:
    """Give an address that nothing listens on."""
    async with stub() as server:
        return server.url


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("annotations", [READ_ONLY, {"readOnlyHint": False, "idempotentHint": True}])
async def test_a_call_that_broke_goes_to_another_replica_where_the_annotations_allow_it(
    platform: Platform, annotations: dict[str, Any], legacy: bool
) -> None:
    async with AsyncExitStack() as stack:
        one, other = await stubs(stack, 2, annotations, legacy=legacy)
        await platform.deploy("pair", one.url, other.url, driver=Driver.REMOTE)
        for _ in range(4):
            one.drops, other.drops = 1, 0
            assert (await platform.rest("pair", "act", {}))[0] == 200
    assert one.calls + other.calls > 4


@pytest.mark.parametrize(
    "annotations",
    [{}, {"readOnlyHint": "yes"}, {"readOnlyHint": False}, {"destructiveHint": False}, {"idempotentHint": 1}],
)
async def test_a_call_that_broke_is_never_sent_again_without_leave(
    platform: Platform, annotations: dict[str, Any]
) -> None:
    async with AsyncExitStack() as stack:
        one, other = await stubs(stack, 2, annotations)
        await platform.deploy("pair", one.url, other.url, driver=Driver.REMOTE)
        assert (await platform.rest("pair", "act", {"do": "drop"}))[0] == 502
    assert one.calls + other.calls == 1


async def test_a_call_that_kills_every_replica_it_meets_does_not_meet_them_all(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        servers = await stubs(stack, 5, READ_ONLY)
        await platform.deploy("deadly", *(server.url for server in servers), driver=Driver.REMOTE)
        assert (await platform.rest("deadly", "act", {"do": "drop"}))[0] == 502
    assert sum(server.calls for server in servers) == _MOST_BREAKS


async def test_what_was_never_sent_is_tried_at_every_replica(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        (living,) = await stubs(stack, 1, {})
        addresses = [await dead(stack) for _ in range(4)]
        await platform.deploy("thin", *addresses, living.url, driver=Driver.REMOTE)
        for _ in range(5):
            assert (await platform.rest("thin", "act", {}))[0] == 200


async def test_a_call_that_timed_out_is_not_sent_again(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        one, other = await stubs(stack, 2, READ_ONLY)
        await platform.deploy("slow", one.url, other.url, driver=Driver.REMOTE)
        with pytest.raises(UpstreamTimedOut):
            await platform.gateway.call_tool("slow", "act", {"do": "hang"}, timeout=0.3)
    assert one.calls + other.calls == 1


async def waits(platform: Platform, slug: str) -> None:
    """Return once a call waits for a replica."""

    async def seen() -> bool:
        return platform.gateway._routes.find(slug).tally.waiting == 1

    await until(seen)


async def test_a_call_that_reached_nobody_waits_for_a_successor(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        deployment = await platform.deploy("alone", await dead(stack), driver=Driver.REMOTE)
        call = asyncio.create_task(platform.rest("alone", "act", {}))
        await waits(platform, "alone")
        (successor,) = await stubs(stack, 1, {})
        await platform.place(deployment, successor.url)
        assert (await call)[0] == 200


async def test_a_call_that_broke_waits_for_a_successor_where_the_annotations_allow_it(
    platform: Platform,
) -> None:
    async with AsyncExitStack() as stack:
        (successor,) = await stubs(stack, 1, READ_ONLY)
        successor.release.set()
        async with stub() as only:
            only.annotations = READ_ONLY
            deployment = await platform.deploy("alone", only.url, driver=Driver.REMOTE)
            call = asyncio.create_task(platform.rest("alone", "act", {"do": "wait"}))
            (upstream,) = platform.gateway._routes.find("alone").upstreams

            async def under_way() -> bool:
                return only.calls == 1 and upstream.repeatable("act") is True

            await until(under_way)
        await waits(platform, "alone")
        await platform.place(deployment, successor.url)
        assert (await call)[0] == 200
    assert (only.calls, successor.calls) == (1, 1)


async def test_a_call_that_came_just_after_the_last_replica_went_waits_too(platform: Platform) -> None:
    async with stub() as old, stub() as new:
        deployment = await platform.deploy("gap", old.url, driver=Driver.REMOTE)
        await platform.place(deployment)
        call = asyncio.create_task(platform.rest("gap", "act", {}))
        await waits(platform, "gap")
        await platform.place(deployment, new.url)
        assert (await call)[0] == 200


async def test_a_server_that_dies_behind_its_runner_costs_no_call_that_may_be_repeated(
    platform: Platform, runner: StartRunner
) -> None:
    """The runner says that its server was lost: it does not answer in the server's name."""
    async with stub() as other:
        other.annotations = READ_ONLY
        started = await runner("legacy")
        await platform.deploy("behind", started.url, other.url)
        live = platform.gateway._routes.find("behind")
        # The runner's own tools say nothing of themselves; this one is known from elsewhere.
        live.upstreams[0]._tools, live.upstreams[0]._tools_read = (
            {"die": True},
            asyncio.get_running_loop().time(),
        )
        assert (await platform.rest("behind", "die", {}))[0] == 200
    assert other.calls == 1


@pytest.mark.parametrize(("todo", "kind"), [("drop", "broken"), ("hang", "timeout"), ("", "unreachable")])
async def test_whoever_watches_a_replica_is_told_of_its_trouble_once_a_second(
    platform: Platform, todo: str, kind: str
) -> None:
    heard: list[dict[str, Any]] = []
    ready = asyncio.Event()

    async def hear() -> None:
        async for message in listen(platform.stores.cache, Channel.TROUBLE):
            if message.channel is not None:
                heard.append(message.data)
            ready.set()

    listener = asyncio.create_task(hear())
    await ready.wait()
    async with AsyncExitStack() as stack:
        (server,) = await stubs(stack, 1, {})
        url = server.url if todo else await dead(stack)
        await platform.deploy("ill", url, driver=Driver.REMOTE)
        calls = [platform.gateway.call_tool("ill", "act", {"do": todo}, timeout=0.3) for _ in range(5)]
        await asyncio.gather(*calls, return_exceptions=True)
        (upstream,) = platform.gateway._routes.find("ill").upstreams

        async def told() -> bool:
            return bool(heard)

        await until(told)
    listener.cancel()
    assert heard == [{"replica_id": str(upstream.address.replica_id), "kind": kind}]
