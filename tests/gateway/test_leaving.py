"""Replicas that are to end: their calls finish, no new ones come, and whoever ends them knows when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import update

from gateway.app import Gateway
from gateway.limits import open_limits
from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.deployments import Driver, Route, UpstreamAddress
from mcp_platform.contracts.loads import DeploymentLoad, LoadReport
from mcp_platform.errors import Unavailable
from mcp_platform.settings import CacheSettings, Settings
from storage.cache import Loads, open_cache
from storage.sql.tables import DeploymentRow
from tests.gateway.conftest import Platform
from tests.gateway.upstreams import stub
from tests.runner.conftest import until


@asynccontextmanager
async def second_gateway(platform: Platform) -> AsyncIterator[Gateway]:
    """Run another gateway of the same platform."""
    async with (
        open_limits(platform.settings, platform.stores.cache) as rates,
        Gateway(platform.settings, platform.stores, platform.tokens, rates) as gateway,
    ):
        yield gateway


async def drained(platform: Platform, replica_id: UUID) -> None:
    """Return once the replica is."""
    await until(lambda: platform.stores.loads.drained(replica_id))


async def test_a_call_in_flight_ends_in_order_while_new_ones_go_elsewhere(platform: Platform) -> None:
    async with stub() as old, stub() as new:
        deployment = await platform.deploy("moving", old.url, driver=Driver.REMOTE)
        (leaving,) = platform.gateway._routes.find("moving").upstreams
        call = asyncio.create_task(platform.rest("moving", "act", {"do": "wait"}))
        await old.started.wait()
        replica_id = leaving.address.replica_id
        await platform.place(deployment, new.url)
        assert [(await platform.rest("moving", "act", {}))[0] for _ in range(4)] == [200] * 4
        assert (old.calls, new.calls) == (1, 4)
        assert not await platform.stores.loads.drained(replica_id)
        old.release.set()
        assert (await call)[0] == 200
        await drained(platform, replica_id)


async def test_an_upstream_is_closed_only_after_its_last_call(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stub() as old:
        deployment = await platform.deploy("closing", old.url, driver=Driver.REMOTE)
        (leaving,) = platform.gateway._routes.find("closing").upstreams
        assert (await platform.rest("closing", "act", {}))[0] == 200
        old.started.clear()
        active: list[int] = []

        async def close() -> None:
            active.append(leaving.active)

        monkeypatch.setattr(leaving, "close", close)
        call = asyncio.create_task(platform.rest("closing", "act", {"do": "wait"}))
        await old.started.wait()
        await platform.stop(deployment)
        assert active == []
        old.release.set()
        assert (await call)[0] == 200

        async def closed() -> bool:
            return active == [0]

        await until(closed)


async def test_upstreams_that_stay_keep_their_connections(platform: Platform) -> None:
    async with stub() as server:
        deployment = await platform.deploy("steady", server.url, driver=Driver.REMOTE)
        assert (await platform.rest("steady", "act", {}))[0] == 200
        before = platform.gateway._routes.find("steady").upstreams
        async with platform.stores.database.write() as session:
            # A roll-out has begun, and this replica is still of the revision before.
            changes = {"config_key": "another", "version": "2.0.0"}
            await session.execute(
                update(DeploymentRow).where(DeploymentRow.id == deployment.id).values(changes)
            )
        await platform.gateway._routes.refresh(deployment.slug)
        assert platform.gateway._routes.find("steady").upstreams == before
        assert (await platform.rest("steady", "act", {}))[0] == 200
        assert server.count("server/discover") == 1


async def test_a_replica_counts_as_drained_only_when_the_slowest_gateway_has_dropped_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stub() as server, second_gateway(platform) as slow:
        deployment = await platform.deploy("shared", server.url, driver=Driver.REMOTE)
        await slow._routes.refresh()
        hold, asked = asyncio.Event(), asyncio.Event()
        read = slow._routes._read

        async def slowly(slug: str | None) -> Any:
            asked.set()
            await hold.wait()
            return await read(slug)

        monkeypatch.setattr(slow._routes, "_read", slowly)
        (replica_id,) = await platform.drain(deployment)
        await asked.wait()

        async def dropped() -> bool:
            return not platform.gateway._routes.find("shared").upstreams

        await until(dropped)
        await platform.gateway._core.reporter.announce()
        # The quick one calls it no more. The slow one does, and may: it said so.
        assert not await platform.stores.loads.drained(replica_id)
        await slow.call_tool("shared", "act", {})
        late = asyncio.create_task(slow.call_tool("shared", "act", {"do": "wait"}))

        async def under_way() -> bool:
            return server.calls == 2

        await until(under_way)
        hold.set()

        async def gone() -> bool:
            return not slow._routes.find("shared").upstreams

        await until(gone)
        assert not await platform.stores.loads.drained(replica_id)
        server.release.set()
        await late
        await drained(platform, replica_id)


async def test_a_gateway_that_read_just_before_a_replica_was_drained_sends_nothing_there(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the replica, says so, and reads again: whoever drains it in between is seen, or sees it."""
    async with stub() as server, second_gateway(platform) as slow:
        routes, announce = slow._routes, slow._routes._announce
        seen: list[bool] = []
        opened: list[Route] = []

        def open_upstream(route: Route, address: UpstreamAddress) -> Upstream:
            opened.append(route)
            return slow._opener.open(route, address)

        deployment = await platform.deploy("racing", driver=Driver.REMOTE)
        await routes.refresh()

        async def drain_meanwhile() -> None:
            await announce()
            (replica_id,) = await platform.drain(deployment)
            seen.append(await platform.stores.loads.drained(replica_id))

        monkeypatch.setattr(routes, "_announce", drain_meanwhile)
        monkeypatch.setattr(routes, "_open_upstream", open_upstream)
        async with routes._reading:  # it is not to read before the other gateway has
            await platform.place(deployment, server.url)

        async def raced() -> bool:
            return bool(seen)

        await until(raced)
        await routes.refresh()
        assert seen == [False]
        assert opened == []
        assert routes.find("racing").upstreams == []
        async with platform.stores.read() as rows:
            (replica,) = await rows.deployments.replicas(deployment.id)
        await drained(platform, replica.id)


def report(gateway_id: str, *replicas: UUID) -> LoadReport:
    """Make a report that names these replicas."""
    load = DeploymentLoad(deployment_id=uuid4(), in_flight=2, calls=3, latency_ms=1.5)
    return LoadReport(
        gateway_id=gateway_id, window=5, replicas=dict.fromkeys(replicas, 1), deployments=[load]
    )


async def test_reports_are_read_as_they_were_written_and_end_by_themselves(cache: Redis) -> None:
    loads, replica = Loads(cache), uuid4()
    assert await loads.read() == []
    one, other = report("one", replica), report("other")
    for each in (report("one"), other, one):
        await loads.report(each)
    assert sorted(await loads.read(), key=lambda each: each.gateway_id) == [one, other]
    assert 0 < await cache.pttl("mcp-platform.load.one") <= 10_000
    assert [await loads.drained(replica), await loads.drained(uuid4())] == [False, True]
    await loads.withdraw("one")
    assert await loads.read() == [other]
    assert await loads.drained(replica)


async def test_without_a_cache_nothing_counts_as_drained() -> None:
    away = open_cache(Settings(cache=CacheSettings.model_validate({"url": "redis://127.0.0.1:1"})))
    loads = Loads(away)
    assert not await loads.drained(uuid4())
    with pytest.raises(Unavailable):
        await loads.read()
    with pytest.raises(Unavailable):
        await loads.report(report("one"))
    await loads.withdraw("one")
    await away.aclose()


async def test_a_gateway_that_ends_is_named_no_more(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("kept", server.url, driver=Driver.REMOTE)
        before = {each.gateway_id for each in await platform.stores.loads.read()}
        async with second_gateway(platform):
            assert len(await platform.stores.loads.read()) == len(before) + 1
        assert {each.gateway_id for each in await platform.stores.loads.read()} == before


async def test_a_report_tells_how_busy_a_deployment_is(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.tally.WINDOW", 600)  # so that the first call still counts at the end
    async with stub() as server:
        deployment = await platform.deploy("busy", server.url, driver=Driver.REMOTE)
        await platform.rest("busy", "act", {})
        calls = [asyncio.create_task(platform.rest("busy", "act", {"do": "wait"})) for _ in range(3)]

        async def load() -> DeploymentLoad | None:
            loads = [d for each in await platform.stores.loads.read() for d in each.deployments]
            return next((each for each in loads if each.deployment_id == deployment.id), None)

        async def busy() -> bool:
            seen = await load()
            return seen is not None and (seen.in_flight, seen.waiting, seen.idle) == (3, 0, 0.0)

        await until(busy)
        server.release.set()
        await asyncio.gather(*calls)

        async def idle() -> bool:
            seen = await load()
            if seen is None or (seen.in_flight, seen.calls) != (0, 4):
                return False
            assert seen.latency_ms > 0
            return seen.idle > 0

        await until(idle)


async def test_a_deployment_is_not_idle_before_it_has_a_replica(platform: Platform) -> None:
    deployment = await platform.deploy("young", driver=Driver.REMOTE)
    live = platform.gateway._routes.find("young")
    live.tally._last -= 100
    assert live.load().idle == 0
    async with stub() as server:
        await platform.place(deployment, server.url)
        assert 0 <= live.load().idle < 50
        live.tally._last -= 100
        assert live.load().idle >= 100
