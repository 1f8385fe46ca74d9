"""Calls whose replica fails: which are sent to another, and what the platform is told of it."""

import asyncio
import math
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.balancing.member import Member
from gateway.relay import _MOST_BREAKS, _Trip
from gateway.requests import RelayedRequest
from mcp_platform.contracts.deployments import Driver
from mcp_platform.errors import Unavailable, UpstreamTimedOut
from mcp_platform.names import Channel
from mcp_platform.wire import Era
from storage.cache import listen
from tests.gateway.conftest import Platform, StartRunner
from tests.gateway.governing import govern
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


def failed(platform: Platform, slug: str, left: float) -> _Trip:
    """Give a call whose first attempt failed, and that has so many seconds left."""
    request = RelayedRequest(slug, "tools/call", {"name": "act", "arguments": {}}, Era.LEGACY, 600.0)
    live = platform.gateway._relay.find(slug)
    return _Trip(live, request, time.monotonic() + left, Unavailable("gone", part=slug), [])


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


async def test_nobody_is_asked_once_the_time_of_a_call_is_over(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        (server,) = await stubs(stack, 1, {})
        await platform.deploy("late", server.url, driver=Driver.REMOTE)
        with pytest.raises(Unavailable, match="gone"):
            await platform.gateway._relay._next(failed(platform, "late", left=0.0))


async def test_of_many_calls_whose_wait_is_over_at_once_as_many_try_again_as_the_budget_allows(
    platform: Platform,
) -> None:
    async with AsyncExitStack() as stack:
        (server,) = await stubs(stack, 1, {})
        deployment = await platform.deploy("late", server.url, driver=Driver.REMOTE)
        budget = {"breaker": {"enabled": False, "window": 60}, "retries": {"share": 0.0, "per_second": 0.1}}
        await govern(platform, deployment, balancing=budget)
        trips = [failed(platform, "late", left=600.0) for _ in range(20)]
        for trip in trips:
            trip.failed_at, trip.waited = -math.inf, True  # as after the gateway stood still
        relay = platform.gateway._relay
        found = await asyncio.gather(*(relay._next(trip) for trip in trips), return_exceptions=True)
    assert 0 < sum(isinstance(each, Member) for each in found) <= 6
    assert all(isinstance(each, Member | Unavailable) for each in found)


async def test_a_call_that_timed_out_is_not_sent_again(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        one, other = await stubs(stack, 2, READ_ONLY)
        await platform.deploy("slow", one.url, other.url, driver=Driver.REMOTE)
        for _ in range(2):  # so that the time is the call's alone
            assert (await platform.rest("slow", "act", {}))[0] == 200
        with pytest.raises(UpstreamTimedOut):
            await platform.gateway.call_tool("slow", "act", {"do": "hang"}, timeout=1.0)
    assert one.calls + other.calls == 3


async def waits(platform: Platform, slug: str) -> None:
    """Return once a call waits for a replica."""

    async def seen() -> bool:
        return platform.gateway._routes.find(slug).tally.waiting == 1

    await until(seen)


async def test_a_call_that_reached_nobody_waits_for_a_successor(patient_platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        deployment = await patient_platform.deploy("alone", await dead(stack), driver=Driver.REMOTE)
        call = asyncio.create_task(patient_platform.rest("alone", "act", {}))
        await waits(patient_platform, "alone")
        (successor,) = await stubs(stack, 1, {})
        await patient_platform.place(deployment, successor.url)
        assert (await call)[0] == 200


async def test_a_call_that_broke_waits_for_a_successor_where_the_annotations_allow_it(
    patient_platform: Platform,
) -> None:
    async with AsyncExitStack() as stack:
        (successor,) = await stubs(stack, 1, READ_ONLY)
        successor.release.set()
        async with stub() as only:
            only.annotations = READ_ONLY
            deployment = await patient_platform.deploy("alone", only.url, driver=Driver.REMOTE)
            call = asyncio.create_task(patient_platform.rest("alone", "act", {"do": "wait"}))
            (upstream,) = patient_platform.gateway._routes.find("alone").upstreams

            async def under_way() -> bool:
                return only.calls == 1 and upstream.repeatable("act") is True

            await until(under_way)
        await waits(patient_platform, "alone")
        await patient_platform.place(deployment, successor.url)
        assert (await call)[0] == 200
    assert (only.calls, successor.calls) == (1, 1)


async def test_a_call_that_came_just_after_the_last_replica_went_waits_too(
    patient_platform: Platform,
) -> None:
    async with stub() as old, stub() as new:
        deployment = await patient_platform.deploy("gap", old.url, driver=Driver.REMOTE)
        await patient_platform.place(deployment)
        call = asyncio.create_task(patient_platform.rest("gap", "act", {}))
        await waits(patient_platform, "gap")
        await patient_platform.place(deployment, new.url)
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
    platform: Platform, monkeypatch: pytest.MonkeyPatch, todo: str, kind: str
) -> None:
    monkeypatch.setattr("gateway.troubles._PAUSE", 60.0)  # however long this machine stands still
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
        timeout = 30.0 if kind == "broken" else 1.0
        calls = [platform.gateway.call_tool("ill", "act", {"do": todo}, timeout=timeout) for _ in range(5)]
        await asyncio.gather(*calls, return_exceptions=True)
        (upstream,) = platform.gateway._routes.find("ill").upstreams

        async def told() -> bool:
            return bool(heard)

        await until(told)
    listener.cancel()
    assert heard == [{"replica_id": str(upstream.address.replica_id), "kind": kind}]
