"""Replicas that fail while calls go on: who is left out, what is tried again, and how often."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.balancing.member import State
from mcp_platform.contracts.balancing import Algorithm
from mcp_platform.contracts.deployments import Driver
from mcp_platform.names import Channel
from tests.gateway.conftest import Platform
from tests.gateway.governing import govern
from tests.gateway.test_retries import READ_ONLY, stubs
from tests.gateway.upstreams import Stub
from tests.waiting import PATIENCE, eventually


async def call_many(platform: Platform, slug: str, count: int) -> Counter[int]:
    """Make calls at once; how many ended with which status."""
    answers = await asyncio.gather(*(platform.rest(slug, "act", {}) for _ in range(count)))
    return Counter(status for status, _, _ in answers)


def states(platform: Platform, slug: str) -> list[State]:
    return [each.state for each in platform.gateway._routes.find(slug).state()]


async def test_a_replica_that_answers_500_is_left_out_and_no_call_fails(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        servers = await stubs(stack, 3, READ_ONLY)
        deployment = await platform.deploy("ill", *(s.url for s in servers), driver=Driver.REMOTE)
        rules = {"breaker": {"open_for": 60, "window": 60}, "ejection": {"enabled": False}}
        await govern(platform, deployment, balancing=rules)
        servers[1].status = 500
        for _ in range(60):
            assert (await platform.rest("ill", "act", {}))[0] == 200
        # Its breaker needs ten requests to judge, and one may have been for the list of tools.
        assert servers[1].calls in (9, 10)
        assert states(platform, "ill") == [State.READY, State.OPEN, State.READY]


async def test_a_replica_that_is_far_slower_is_left_out_and_no_call_fails(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        quick, slow = await stubs(stack, 2, {})
        await platform.deploy("uneven", quick.url, slow.url, driver=Driver.REMOTE)
        slow.delay = 0.3
        assert await call_many(platform, "uneven", 60) == {200: 60}

        async def ejected() -> bool:
            assert (await platform.rest("uneven", "act", {}))[0] == 200
            return states(platform, "uneven") == [State.READY, State.EJECTED]

        await eventually(ejected)
        before = slow.calls
        assert await call_many(platform, "uneven", 20) == {200: 20}
        assert slow.calls == before


async def test_retries_stay_within_their_budget_in_an_outage(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        servers = await stubs(stack, 3, READ_ONLY)
        deployment = await platform.deploy("out", *(s.url for s in servers), driver=Driver.REMOTE)
        await govern(
            platform,
            deployment,
            balancing={
                "breaker": {"enabled": False, "window": 60},
                "ejection": {"enabled": False},
                "retries": {"share": 0.1, "per_second": 0.1},
            },
        )
        for upstream in platform.gateway._routes.find("out").upstreams:
            await upstream.read_tools(5)
        for server in servers:
            server.status = 500
        for _ in range(5):
            assert await call_many(platform, "out", 20) == {502: 20}
    attempts = sum(server.calls for server in servers)
    assert 100 + 6 <= attempts <= 100 + 6 + 10


async def test_calls_that_wait_for_a_replica_do_not_hammer_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long this machine stands still, the replica rests for longer.
    monkeypatch.setattr("gateway.balancing.balancer._REST", 600.0)
    async with AsyncExitStack() as stack:
        (server,) = await stubs(stack, 1, {})
        deployment = await platform.deploy("busy", server.url, driver=Driver.REMOTE)
        budget = {"breaker": {"enabled": False, "window": 60}, "retries": {"share": 0.0, "per_second": 0.1}}
        await govern(platform, deployment, balancing=budget)
        server.status = 503
        assert await call_many(platform, "busy", 20) == {503: 20}
    assert 20 < server.calls <= 20 + 6, "one attempt each, and what the budget gives in a minute"


async def test_while_all_breakers_are_open_calls_are_refused_at_once_and_then_it_is_tried(
    platform: Platform,
) -> None:
    async with AsyncExitStack() as stack:
        (server,) = await stubs(stack, 1, {})
        deployment = await platform.deploy("down", server.url, driver=Driver.REMOTE)
        rules = {"minimum_calls": 3, "open_for": 600, "window": 60}
        await govern(platform, deployment, balancing={"breaker": rules})
        server.status = 500
        # What else the gateway asks the server counts too, so it may be one call earlier.
        statuses = [(await platform.rest("down", "act", {}))[0] for _ in range(3)]
        assert statuses in ([502, 502, 502], [502, 502, 503])
        failed = server.calls
        status, body, headers = await platform.rest("down", "act", {})
        assert (status, server.calls) == (503, failed)
        assert 500 < int(headers["Retry-After"]) <= 600
        assert "failed lately" in body["detail"]
        server.status = None
        balancer = platform.gateway._routes.find("down").balancer
        balancer.members[0].open_until = balancer.recheck_at = time.monotonic()  # its time is over
        assert (await platform.rest("down", "act", {}))[0] == 200
        assert server.calls == failed + 1
        assert states(platform, "down") == [State.READY]


async def test_what_is_known_without_asking_the_server_closes_no_breaker(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        (server,) = await stubs(stack, 1, {})
        deployment = await platform.deploy("down", server.url, driver=Driver.REMOTE)
        await platform.gateway._relay.describe("down", 5.0, None)
        await govern(platform, deployment, balancing={"breaker": {"minimum_calls": 2, "open_for": 0.1}})
        server.status = 500
        while State.OPEN not in states(platform, "down"):
            assert (await platform.rest("down", "act", {}))[0] == 502

        async def half_open() -> list[State]:
            return states(platform, "down")

        await eventually(half_open, lambda found: found == [State.HALF_OPEN])
        await platform.gateway._relay.describe("down", 5.0, None)
        assert states(platform, "down") == [State.HALF_OPEN]
        (member,) = platform.gateway._routes.find("down").balancer.members
        before = member.openings
        assert (await platform.rest("down", "act", {}))[0] == 502
        assert member.openings == before + 1


async def hedged(platform: Platform, servers: list[Stub]) -> None:
    deployment = await platform.deploy("late", *(s.url for s in servers), driver=Driver.REMOTE)
    await govern(platform, deployment, balancing={"hedge_after": 0.05})
    for upstream in platform.gateway._routes.find("late").upstreams:
        await upstream.read_tools(5)


async def test_a_hedged_call_is_answered_by_whoever_is_first_and_the_other_is_cancelled(
    platform: Platform,
) -> None:
    async with AsyncExitStack() as stack:
        servers = await stubs(stack, 2, READ_ONLY)
        await hedged(platform, servers)
        servers[0].delay = 60.0
        for _ in range(2):  # one begins at each
            assert (await platform.rest("late", "act", {}))[0] == 200
        assert servers[1].calls == 2
        # Once; twice where the other has not answered its own call at once.
        assert servers[0].calls in (1, 2)

        async def none_in_flight() -> bool:
            return not any(u.active for u in platform.gateway._routes.find("late").upstreams)

        await eventually(none_in_flight)


async def test_a_tool_that_changes_something_is_never_hedged(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        servers = await stubs(stack, 2, {})
        await hedged(platform, servers)
        servers[0].delay = 60.0
        calls = {asyncio.create_task(platform.gateway.call_tool("late", "act", {})) for _ in range(2)}
        _, slow = await asyncio.wait(calls, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(slow, timeout=0.5)
        assert len(slow) == 1
        assert [server.calls for server in servers] == [1, 1]
        for call in slow:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_hedge_of_two_failures_ends_as_one_failure(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        servers = await stubs(stack, 2, READ_ONLY)
        await hedged(platform, servers)
        for server in servers:
            server.delay, server.status = 0.15, 500
        assert (await platform.rest("late", "act", {}))[0] == 502


async def wish(platform: Platform, place: int, slug: str, **change: Any) -> None:
    """Change the weight of a replica, or take it out of rotation, as an operator would."""
    async with platform.stores.write() as rows:
        deployment = await rows.deployments.active_of(slug)
        assert deployment is not None
        replica = next(r for r in await rows.deployments.replicas(deployment.id) if r.ordinal == place)
        if "weight" in change:
            assert await rows.overrides.set_weight(replica.id, change["weight"]) == slug
        if "offline" in change:
            assert await rows.overrides.set_offline(replica.id, change["offline"]) == slug
    await platform.stores.publish(Channel.ROUTES, {"slug": slug})


async def listed_anew(platform: Platform, slug: str) -> None:
    """Return once the tools of other replicas were listed: that is nobody's call, but takes a turn."""
    await platform.gateway.tool_lists.read(slug, PATIENCE)


async def test_a_weight_holds_at_once_and_for_the_successor_and_reopens_nothing(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        light, heavy, successor = await stubs(stack, 3, {})
        deployment = await platform.deploy("pair", light.url, heavy.url, driver=Driver.REMOTE)
        live = platform.gateway._routes.find("pair")
        before = list(live.upstreams)
        await wish(platform, 1, "pair", weight=3.0)

        async def weighed() -> bool:
            return [member.weight for member in live.balancer.members] == [1.0, 3.0]

        await eventually(weighed)
        assert live.upstreams == before
        assert await call_many(platform, "pair", 40) == {200: 40}
        assert (light.calls, heavy.calls) == (10, 30)
        await platform.place(deployment, light.url, successor.url)
        await listed_anew(platform, "pair")
        assert await call_many(platform, "pair", 40) == {200: 40}
        assert (light.calls, successor.calls) == (20, 30)


async def test_a_replica_that_is_taken_offline_is_called_no_more_until_it_is_back(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        servers = await stubs(stack, 2, {})
        await platform.deploy("pair", *(s.url for s in servers), driver=Driver.REMOTE)
        live = platform.gateway._routes.find("pair")

        async def count() -> int:
            return len(live.upstreams)

        await wish(platform, 0, "pair", offline=True)
        await eventually(count, lambda found: found == 1)
        assert await call_many(platform, "pair", 10) == {200: 10}
        assert [server.calls for server in servers] == [0, 10]
        await wish(platform, 0, "pair", offline=False)
        await eventually(count, lambda found: found == 2)
        await listed_anew(platform, "pair")
        assert await call_many(platform, "pair", 10) == {200: 10}
        assert [server.calls for server in servers] == [5, 15]


async def test_the_platform_s_algorithm_can_be_set_while_it_runs_and_policies_win(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        (server,) = await stubs(stack, 1, {})
        await platform.deploy("free", server.url, driver=Driver.REMOTE)
        deployment = await platform.deploy("own", server.url, driver=Driver.REMOTE)
        await govern(platform, deployment, balancing={"algorithm": "LEAST_LATENCY"})
        platform.gateway._routes.default_algorithm = Algorithm.LEAST_CONNECTIONS
        found = {live.route.slug: live.balancer.algorithm for live in platform.gateway._routes.all}
        assert found == {"free": Algorithm.LEAST_CONNECTIONS, "own": Algorithm.LEAST_LATENCY}


async def test_a_tenant_s_calls_find_the_same_replica_by_rest_and_by_mcp(platform: Platform) -> None:
    async with AsyncExitStack() as stack:
        servers = await stubs(stack, 4, {})
        deployment = await platform.deploy("tenants", *(s.url for s in servers), driver=Driver.REMOTE)
        by_header = {"algorithm": "CONSISTENT_HASH", "hash_by": {"header": "X-Tenant"}}
        await govern(platform, deployment, balancing=by_header)
        for number in range(12):
            for _ in range(3):
                name = {"name": f"t{number}"}
                sent = await platform.rest("tenants", "act", name, **{"X-Tenant": f"t{number}"})
                assert sent[0] == 200
        homes = [{place for place, s in enumerate(servers) if f"t{n}" in s.served} for n in range(12)]
        assert {len(home) for home in homes} == {1}
        assert len(set.union(*homes)) > 1
        by_argument = {"algorithm": "CONSISTENT_HASH", "hash_by": {"argument": "name"}}
        await govern(platform, deployment, balancing=by_argument)
        for server in servers:
            server.served.clear()
        async with platform.client("tenants") as client:
            for _ in range(6):
                await client.call_tool("act", {"name": "somebody"})
        assert sorted(len(server.served) for server in servers) == [0, 0, 0, 6]
