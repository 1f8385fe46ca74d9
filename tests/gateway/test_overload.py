"""More requests than there are places: who waits, who is refused at once, and whose turn it is."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import MCPError

from gateway.balancing.capacity import Bounds, Gate
from gateway.upstreams.lasting import MOST_OF_ONE, Lasting
from mcp_platform.contracts.deployments import Deployment, Driver
from mcp_platform.errors import Unavailable
from tests.front.raw import modern, post
from tests.gateway.conftest import Platform
from tests.gateway.governing import govern
from tests.gateway.upstreams import Stub, stub
from tests.waiting import eventually

HOLD = {"do": "wait"}


@pytest.fixture
async def server() -> AsyncIterator[Stub]:
    async with stub() as running:
        yield running


async def narrow(platform: Platform, server: Stub, **limits: Any) -> Deployment:
    deployment = await platform.deploy("narrow", server.url, driver=Driver.REMOTE)
    await govern(platform, deployment, limits=limits)
    return deployment


def gate(platform: Platform) -> Gate:
    return platform.gateway._routes.find("narrow").gate


async def at_the_gate(platform: Platform, active: int, waiting: int) -> None:
    """Return once so many requests are under way, and so many wait."""

    async def seen() -> tuple[int, int]:
        return gate(platform).active, gate(platform).waiting

    await eventually(seen, lambda found: found == (active, waiting))


async def finish(platform: Platform, server: Stub) -> None:
    """Let all calls end, and see that no place is left taken."""
    server.release.set()
    await at_the_gate(platform, 0, 0)
    assert gate(platform).queues == {}
    assert platform.gateway._core._capacity.whole.active == 0


def hold(platform: Platform, name: str = "", **headers: str) -> "asyncio.Task[tuple[int, Any, Any]]":
    return asyncio.create_task(platform.rest("narrow", "act", {**HOLD, "name": name}, **headers))


async def test_what_is_too_much_is_refused_before_any_other_call_has_ended(
    platform: Platform, server: Stub
) -> None:
    await narrow(platform, server, concurrency=4, queue=4, queue_timeout=60)
    calls = [hold(platform) for _ in range(100)]

    async def refused() -> int:
        return sum(call.done() for call in calls)

    await eventually(refused, lambda count: count == 92)
    assert not server.release.is_set()
    for call in calls:
        if call.done():
            status, body, headers = call.result()
            assert (status, headers["Retry-After"], body["part"]) == (503, "60", "narrow")
            assert "Too many requests" in body["detail"]
    await at_the_gate(platform, 4, 4)
    await finish(platform, server)
    assert sorted([(await call)[0] for call in calls])[:8] == [200] * 8
    assert server.calls == 8


async def test_an_mcp_client_is_told_when_to_come_back(platform: Platform, server: Stub) -> None:
    await narrow(platform, server, concurrency=1, queue=0, queue_timeout=3)
    async with platform.client("narrow") as client:
        call = hold(platform)
        await at_the_gate(platform, 1, 0)
        with pytest.raises(MCPError) as raised:
            await client.call_tool("act", {})
        assert raised.value.error.data == {
            "error_code": "SERVICE_UNAVAILABLE",
            "part": "narrow",
            "retry_after": 3,
        }
        await finish(platform, server)
    await call


async def test_callers_take_turns_however_many_calls_one_of_them_has_waiting(
    platform: Platform, server: Stub
) -> None:
    await narrow(platform, server, concurrency=1, queue=20, queue_timeout=60)
    _, other = await platform.add_key(await platform.add_user())
    calls = [hold(platform, "greedy")]
    await at_the_gate(platform, 1, 0)
    calls += [hold(platform, "greedy") for _ in range(8)]
    await at_the_gate(platform, 1, 8)
    calls += [hold(platform, "modest", **{"X-API-Key": other}) for _ in range(3)]
    await at_the_gate(platform, 1, 11)
    await finish(platform, server)
    assert {(await call)[0] for call in calls} == {200}
    assert server.served[:7] == ["greedy", *["greedy", "modest"] * 3]


async def test_a_full_queue_makes_room_for_a_caller_who_has_less_in_it(
    platform: Platform, server: Stub
) -> None:
    await narrow(platform, server, concurrency=1, queue=4, queue_timeout=60)
    _, other = await platform.add_key(await platform.add_user())
    greedy = [hold(platform, "greedy")]
    await at_the_gate(platform, 1, 0)
    greedy += [hold(platform, "greedy") for _ in range(4)]
    await at_the_gate(platform, 1, 4)
    modest = hold(platform, "modest", **{"X-API-Key": other})

    async def refused() -> int:
        return sum(call.done() for call in greedy)

    await eventually(refused, lambda count: count == 1)
    await at_the_gate(platform, 1, 4)
    await finish(platform, server)
    assert sorted([(await call)[0] for call in greedy]) == [200, 200, 200, 200, 503]
    assert (await modest)[0] == 200


async def test_a_waiting_client_that_vanishes_frees_its_place(platform: Platform, server: Stub) -> None:
    await narrow(platform, server, concurrency=1, queue=1, queue_timeout=60)
    first = hold(platform, "first")
    await at_the_gate(platform, 1, 0)
    vanishing = hold(platform, "vanishing")
    await at_the_gate(platform, 1, 1)
    vanishing.cancel()
    await at_the_gate(platform, 1, 0)
    third = hold(platform, "third")
    await at_the_gate(platform, 1, 1)
    await finish(platform, server)
    assert ((await first)[0], (await third)[0]) == (200, 200)
    assert server.served == ["first", "third"]


async def test_a_caller_s_own_bound_holds_back_nobody_else(platform: Platform, server: Stub) -> None:
    await narrow(platform, server, concurrency=10, concurrency_per_caller=1, queue=5, queue_timeout=60)
    _, other = await platform.add_key(await platform.add_user())
    calls = [hold(platform, "one"), hold(platform, "one")]
    await at_the_gate(platform, 1, 1)
    calls.append(hold(platform, "other", **{"X-API-Key": other}))
    await at_the_gate(platform, 2, 1)
    await finish(platform, server)
    assert {(await call)[0] for call in calls} == {200}


async def test_nobody_waits_longer_than_the_queue_allows(platform: Platform, server: Stub) -> None:
    await narrow(platform, server, concurrency=1, queue=5, queue_timeout=0.1)
    call = hold(platform)
    await at_the_gate(platform, 1, 0)
    status, answer, headers = await platform.rest("narrow", "act", HOLD)
    assert (status, headers["Retry-After"]) == (503, "1")
    assert "no place became free within 0.1 s" in str(answer)
    await finish(platform, server)
    assert (await call)[0] == 200


async def test_a_wider_bound_holds_at_once_for_those_that_wait(platform: Platform, server: Stub) -> None:
    deployment = await narrow(platform, server, concurrency=1, queue=5, queue_timeout=60)
    calls = [hold(platform) for _ in range(3)]
    await at_the_gate(platform, 1, 2)
    await govern(platform, deployment, limits={"concurrency": 3, "queue": 5})
    await at_the_gate(platform, 3, 0)
    await finish(platform, server)
    assert {(await call)[0] for call in calls} == {200}


async def test_the_process_as_a_whole_has_a_bound_too(platform: Platform, server: Stub) -> None:
    await narrow(platform, server)
    whole = platform.gateway._core._capacity.whole
    whole.configure(Bounds(1, None, 0, 1.0))
    call = hold(platform)
    await at_the_gate(platform, 1, 0)
    status, body, _ = await platform.rest("narrow", "act", HOLD)
    assert (status, body["part"]) == (503, "gateway")
    await finish(platform, server)
    assert (await call)[0] == 200


async def test_a_body_over_the_mcp_s_own_limit_is_refused_and_others_take_it(
    platform: Platform, server: Stub
) -> None:
    await narrow(platform, server, max_body_bytes=1000)
    await platform.deploy("wide", server.url, driver=Driver.REMOTE)
    large = {"name": "x" * 2000}
    status, body, _ = await platform.rest("narrow", "act", large)
    assert (status, body["limit_bytes"]) == (413, 1000)
    assert (await platform.rest("wide", "act", large))[0] == 200
    assert (await platform.rest("narrow", "act", {"name": "x"}))[0] == 200


async def test_a_body_over_the_mcp_s_own_limit_is_refused_at_the_doors_of_many_mcps(
    platform: Platform, server: Stub
) -> None:
    await narrow(platform, server, max_body_bytes=1000)
    headers = {"X-API-Key": platform.key}
    for size, status in ((2000, 413), (10, 200)):
        arguments = {"name": "x" * size}
        smart = {"toolName": "act", "arguments": arguments}
        answer = await post(f"{platform.url}/mcp/smart/call", smart, headers)
        assert answer.status == status
        direct = {"id": 1, "method": "tools/call", "params": {"name": "act", "arguments": arguments}}
        answer = await post(f"{platform.url}/mcp/bridge/route/narrow", direct, headers)
        assert answer.status == status
    assert len(server.served) == 2


async def test_a_place_that_comes_as_its_caller_leaves_is_given_on() -> None:
    narrow_gate = Gate("x", "x", Bounds(1, None, 5, 60.0))
    assert narrow_gate.enter("a")
    leaving, staying = (asyncio.create_task(narrow_gate.wait(name, 60.0)) for name in ("b", "c"))
    await asyncio.sleep(0)
    narrow_gate.leave("a")  # b has the place, and has not run since
    leaving.cancel()
    await asyncio.wait_for(staying, 5)
    assert (narrow_gate.active, narrow_gate.waiting, narrow_gate.queues) == (1, 0, {})
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gone, last = (asyncio.create_task(narrow_gate.wait(name, 60.0)) for name in ("d", "e"))
    await asyncio.sleep(0)
    gone.cancel()
    narrow_gate.leave("c")  # d has gone, and its place in the queue not yet
    await asyncio.wait_for(last, 5)
    narrow_gate.leave("e")
    assert (narrow_gate.active, narrow_gate.waiting, narrow_gate.queues) == (0, 0, {})


async def test_a_queue_of_none_refuses_at_once() -> None:
    shut = Gate("x", "x", Bounds(1, None, 0, 60.0))
    assert shut.enter("a")
    with pytest.raises(Unavailable):
        await shut.wait("b", 60.0)


def test_streams_that_last_are_bounded_for_each_caller_and_together() -> None:
    lasting = Lasting(lambda: MOST_OF_ONE + 1)
    for _ in range(MOST_OF_ONE):
        lasting.enter("key:1")
    with pytest.raises(Unavailable, match="This caller"):
        lasting.enter("key:1")
    lasting.enter("key:2")
    with pytest.raises(Unavailable, match="All 33"):
        lasting.enter("")
    lasting.leave("key:1")
    with lasting.place(), pytest.raises(Unavailable):
        lasting.enter("key:1")
    lasting.enter("key:1")


async def test_a_stream_that_gets_no_place_is_refused_and_told_when_to_come_back(
    platform: Platform, server: Stub
) -> None:
    await narrow(platform, server)
    http = platform.gateway._opener.http
    http.most = 1  # so that none is left for streams that last
    message, headers = modern("subscriptions/listen", notifications={"toolsListChanged": True})
    answer = await post(platform.address("narrow"), message, {**headers, "X-API-Key": platform.key})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    assert "lasting streams" in answer.message["error"]["message"]
    assert (await platform.rest("narrow", "act", {}))[0] == 200
    assert http.lasting.open == 0
