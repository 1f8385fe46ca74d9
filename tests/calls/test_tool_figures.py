"""What is counted of tools: sums over processes and time, and how long they are kept."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

import gateway.metering
from gateway.metering import Meter
from mcp_platform.contracts.calls import Outcome, ToolCount
from mcp_platform.contracts.deployments import Route
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.tool_figures import ToolFigureRepository
from tests.calls.samples import ROUTE, count
from tests.storage.crowd import crowd
from tests.storage.samples import stored_deployment

NOW = datetime(2026, 11, 21, 12, 7, 30, tzinfo=UTC)


def calls_of(minutes_ago: float, requests: int = 1) -> ToolCount:
    """Make up what was counted some time ago."""
    moment = int((NOW - timedelta(minutes=minutes_ago)).timestamp())
    return ToolCount(
        mcp_id=ROUTE.mcp_id,
        tool="forecast",
        minute=moment - moment % 60,
        requests=requests,
        errors=0,
        latency_ms=10.0 * requests,
        histogram={20: requests},
    )


async def test_the_calls_of_several_gateways_add_up(database: Database) -> None:
    gateways = [Meter(database, 3600) for _ in range(5)]

    async def work(number: int) -> None:
        for tool in ("forecast", "history"):
            count(gateways[number], tool=tool, seconds=0.02)
            count(gateways[number], tool=tool, outcome=Outcome.FAILED, seconds=0.02)
        await gateways[number].flush()

    assert await crowd(len(gateways), work) == [None] * len(gateways)
    async with database.read() as session:
        figures = ToolFigureRepository(session)
        ever = await figures.ever()
        found = await figures.tools(datetime.now(UTC), timedelta(hours=1), [ROUTE.mcp_id], None)
        one = await figures.tools(datetime.now(UTC), timedelta(hours=1), [ROUTE.mcp_id], "history")
    assert (ever.requests, ever.errors) == (20, 10)
    assert ever.latency_ms == pytest.approx(400)
    assert ever.histogram.quantile(0.95) == pytest.approx(20, rel=0.1)
    assert {key: each.requests for key, each in found.items()} == {
        (ROUTE.mcp_id, "forecast"): 10,
        (ROUTE.mcp_id, "history"): 10,
    }
    assert list(one) == [(ROUTE.mcp_id, "history")]


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [(1, 59, 62), (6, 359, 362), (24, 1439, 1442), (168, 10_079, 10_100)],
)
async def test_a_window_ends_where_it_says(
    sqlite_database: Database, hours: int, inside: int, outside: int
) -> None:
    async with sqlite_database.write() as session:
        await ToolFigureRepository(session).add([calls_of(0), calls_of(inside, 10), calls_of(outside, 100)])
    async with sqlite_database.read() as session:
        figures = ToolFigureRepository(session)
        window = timedelta(hours=hours)
        assert (await figures.together(NOW, window)).requests == 11
        found = await figures.tools(NOW, window, [ROUTE.mcp_id], None)
        assert found[ROUTE.mcp_id, "forecast"].requests == 11
        assert (await figures.ever()).requests == 111


async def test_what_is_past_its_time_is_forgotten_and_the_sum_of_all_calls_stays(database: Database) -> None:
    kept = await stored_deployment(database)
    own = calls_of(60 * 24 * 9).model_copy(update={"mcp_id": kept.mcp_id})
    async with database.write() as session:
        figures = ToolFigureRepository(session)
        await figures.add([calls_of(0), own])
        await figures.forget_old(NOW)
    async with database.read() as session:
        found = ToolFigureRepository(session)
        assert (await found.ever()).requests == 2
        assert (await found.together(NOW, timedelta(days=7))).requests == 1
        # The other MCP is gone, and its tools with it.
        gone = await found.tools(NOW, timedelta(days=7), [ROUTE.mcp_id], None)
        assert gone == {}


async def test_a_flood_of_names_that_are_no_tools_makes_no_flood_of_rows(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.metering, "_MOST_NAMES", 10)
    meter = Meter(sqlite_database, 3600)
    for number in range(100):
        count(meter, tool=f"name-{number}", outcome=Outcome.REFUSED)
    await meter.flush()
    async with sqlite_database.read() as session:
        found = await ToolFigureRepository(session).tools(
            datetime.now(UTC), timedelta(hours=1), [ROUTE.mcp_id], None
        )
    assert len(found) == 11
    assert found[ROUTE.mcp_id, ""].requests == 90


async def test_what_the_gateway_itself_refuses_is_none_of_the_deployments_calls(
    sqlite_database: Database,
) -> None:
    made = await stored_deployment(sqlite_database)
    route = Route(slug=made.slug, mcp_id=made.mcp_id, deployment_id=made.id, upstreams=[])
    meter = Meter(sqlite_database, 3600)
    count(meter, route=route, replica_id=uuid4())
    count(meter, route=route, outcome=Outcome.DENIED)
    await meter.flush()
    async with sqlite_database.read() as session:
        record = await DeploymentRepository(session).get(made.id)
        ever = await ToolFigureRepository(session).ever()
    assert record is not None
    assert (record.requests_total, record.errors_total) == (1, 0)
    assert (ever.requests, ever.errors) == (2, 1)
