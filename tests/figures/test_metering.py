"""What gateways count: for the replica that answered, whole, and while the database is away."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

import gateway.metering
from gateway.metering import Meter, Outcome
from gateway.requests import RelayedRequest
from mcp_platform.contracts.deployments import Route
from mcp_platform.contracts.figures import Window
from mcp_platform.wire import Era
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.figures import FigureRepository
from tests.gateway.conftest import running_platform, settings_for
from tests.gateway.upstreams import stub
from tests.platform import free_port
from tests.storage.crowd import crowd
from tests.storage.samples import stored_deployment
from tests.waiting import eventually, in_one_task


async def route_of(database: Database) -> Route:
    """Store a deployment, and give its route."""
    made = await stored_deployment(database)
    return Route(slug=made.slug, mcp_id=made.mcp_id, deployment_id=made.id, upstreams=[])


def count(meter: Meter, route: Route, replica: UUID | None, outcome: Outcome, seconds: float) -> None:
    """Count a call of a tool."""
    request = RelayedRequest(route.slug, "tools/call", {"name": "act"}, Era.LEGACY, 60.0, replica_id=replica)
    meter.count(request, "act", route, outcome, seconds)


async def test_the_figures_of_several_gateways_add_up(database: Database) -> None:
    route, one, other = await route_of(database), uuid4(), uuid4()
    gateways = [Meter(database, 3600) for _ in range(6)]

    async def work(number: int) -> None:
        for outcome in (Outcome.OK, Outcome.TOOL_ERROR, Outcome.CANCELLED):
            count(gateways[number], route, one if number % 2 else other, outcome, 0.02)
        count(gateways[number], route, None, Outcome.FAILED, 5.0)
        await gateways[number].flush()

    assert await crowd(len(gateways), work) == [None] * len(gateways)
    async with database.read() as session:
        record = await DeploymentRepository(session).get(route.deployment_id)
        totals = await FigureRepository(session).totals(route.deployment_id)
    assert record is not None
    whole = totals[route.deployment_id]
    assert (record.requests_total, record.errors_total) == (whole.requests, whole.errors) == (24, 12)
    assert record.latency_ms_total == pytest.approx(whole.latency_ms) == pytest.approx(6 * 5060)
    assert [totals[replica].requests for replica in (one, other)] == [9, 9]
    assert whole.histogram.quantile(0.5) == pytest.approx(20, rel=0.1)
    assert whole.histogram.quantile(0.95) == pytest.approx(5000, rel=0.1)


class Away:
    """A database that cannot be reached."""

    def write(self) -> None:
        """Fail."""
        raise OSError("away")


async def test_calls_of_a_long_absence_of_the_database_lose_their_minute_and_nothing_else(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.metering, "_MOST_UNWRITTEN", 10)
    minute = 1_800_000_000
    monkeypatch.setattr(gateway.metering, "_this_minute", lambda: minute)
    route, replica, meter = await route_of(sqlite_database), uuid4(), Meter(sqlite_database, 3600)
    monkeypatch.setattr(meter, "_database", Away())
    for _ in range(100):
        minute += 60
        count(meter, route, replica, Outcome.OK, 0.01)
        await meter.flush()
        assert len(meter._sums) <= 11
    monkeypatch.setattr(meter, "_database", sqlite_database)
    await meter.flush()
    async with sqlite_database.read() as session:
        rows = FigureRepository(session)
        assert (await rows.totals(route.deployment_id))[replica].requests == 100
        found = await rows.calls(route.deployment_id, replica, Window.HOUR.step, 0)
    assert sum(each.requests for each in found.values()) == 100


async def test_a_call_counts_for_the_replica_that_answered_and_not_for_the_one_that_was_away(
    tmp_path: Path,
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/mcp"
    async with in_one_task(running_platform(settings_for(tmp_path))) as platform, stub() as server:
        deployed = await platform.deploy("halved", nowhere, server.url)
        async with platform.stores.read() as rows:
            dead, alive = await rows.deployments.replicas(deployed.id)
        for _ in range(4):
            assert (await platform.rest("halved", "act", {}))[0] == 200

        async def counted() -> dict[object, int]:
            async with platform.stores.read() as rows:
                totals = await rows.figures.totals(deployed.id)
            return {key: each.requests for key, each in totals.items()}

        found = await eventually(counted, lambda seen: seen.get(deployed.id) == 4)
        assert found == {deployed.id: 4, alive.id: 4}
        assert dead.id not in found
