"""The rows of figures: many write them at once, charts read them, and they end."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select

from mcp_platform.contracts.deployments import ReplicaState
from mcp_platform.contracts.figures import CallCount, Histogram, UsageCount, Window, begin_of
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.figures import FigureRepository, UsageSum
from storage.sql.tables import FigureRow
from tests.storage.crowd import crowd
from tests.storage.samples import replica, stored_deployment

NOW = datetime(2026, 11, 20, 12, 7, 30, tzinfo=UTC)
MINUTE = begin_of(NOW, timedelta(minutes=1))


def calls(deployment_id: UUID, replica_id: UUID | None, minute: int = MINUTE, *took: float) -> CallCount:
    histogram = Histogram()
    for milliseconds in took:
        histogram.observe(milliseconds)
    return CallCount(
        deployment_id=deployment_id,
        replica_id=replica_id,
        minute=minute,
        requests=len(took),
        errors=int(max(took) > 1000),
        latency_ms=sum(took),
        histogram=histogram.counts,
    )


def used(
    deployment_id: UUID,
    replica_id: UUID,
    cpu: float,
    memory: int | None = 1000,
    restarts: int | None = None,
    minute: int = MINUTE,
) -> UsageCount:
    return UsageCount(
        deployment_id=deployment_id,
        replica_id=replica_id,
        minute=minute,
        seconds=30.0,
        cpu_seconds=cpu,
        memory_bytes=memory,
        restarts=restarts,
    )


async def add(database: Database, *counts: CallCount | UsageCount) -> None:
    async with database.write() as session:
        rows = FigureRepository(session)
        await rows.add_calls([count for count in counts if isinstance(count, CallCount)])
        await rows.add_usage([count for count in counts if isinstance(count, UsageCount)])


async def count_rows(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(FigureRow)) or 0


async def test_no_call_of_many_gateways_and_workers_at_once_is_lost(database_url: str) -> None:
    deployments = [uuid4() for _ in range(3)]
    replicas = [uuid4() for _ in range(4)]
    processes = [Database(database_url) for _ in range(4)]

    async def work(number: int) -> None:
        # Each in another order: whoever locked as he was told would meet another who waits for him.
        order = deployments if number % 2 else deployments[::-1]
        counts: list[CallCount | UsageCount] = []
        for whose in order:
            counts += [calls(whose, one, MINUTE, 20.0, 20.0 + number, 2000.0) for one in replicas]
            counts += [used(whose, one, 0.5) for one in replicas]
        await add(processes[number % len(processes)], *counts)

    assert await crowd(24, work) == [None] * 24
    async with processes[0].read() as session:
        rows = FigureRepository(session)
        for whose in deployments:
            totals = await rows.totals(whose)
            assert totals[whose].requests == 24 * 4 * 3
            assert totals[whose].errors == 24 * 4
            assert sum(totals[whose].histogram.counts.values()) == 24 * 4 * 3
            assert totals[whose].latency_ms == 4 * sum(2040 + number for number in range(24))
            for one in replicas:
                assert sum(totals[one].histogram.counts.values()) == 24 * 3
            used_then = await rows.usage(whose, None, timedelta(minutes=1), 0)
            assert used_then[MINUTE].cpu_seconds == 24 * 4 * 0.5
    await asyncio.gather(*(process.close() for process in processes))


async def test_calls_are_found_by_replica_and_together_in_the_steps_of_each_window(
    database: Database,
) -> None:
    deployment_id, one, other = uuid4(), uuid4(), uuid4()
    await add(
        database,
        calls(deployment_id, one, MINUTE, 10.0, 10.0),
        calls(deployment_id, other, MINUTE, 500.0),
        calls(deployment_id, None, MINUTE, 5000.0),
        calls(deployment_id, one, MINUTE - 60, 10.0),
        calls(uuid4(), one, MINUTE, 1.0),
    )
    async with database.read() as session:
        rows = FigureRepository(session)
        by_minute = await rows.calls(deployment_id, None, Window.HOUR.step, 0)
        assert {begin: each.requests for begin, each in by_minute.items()} == {MINUTE: 4, MINUTE - 60: 1}
        assert by_minute[MINUTE].errors == 1
        mine = await rows.calls(deployment_id, other, Window.HOUR.step, 0)
        assert [each.histogram.quantile(0.5) for each in mine.values()] != [None]
        assert {begin: each.requests for begin, each in mine.items()} == {MINUTE: 1}
        for window in (Window.DAY, Window.WEEK):
            found = await rows.calls(deployment_id, None, window.step, 0)
            assert {begin: each.requests for begin, each in found.items()} == {begin_of(NOW, window.step): 5}
        assert await rows.calls(deployment_id, None, Window.HOUR.step, MINUTE + 60) == {}


async def test_usage_adds_up_over_replicas_and_its_memory_is_the_most_of_each(database: Database) -> None:
    deployment_id, one, other = uuid4(), uuid4(), uuid4()
    await add(database, used(deployment_id, one, 3.0, 1000), used(deployment_id, other, 1.0, None))
    await add(database, used(deployment_id, one, 6.0, 700), used(deployment_id, other, 2.0, 50))
    await add(database, used(deployment_id, one, 1.0, 2000, minute=MINUTE + 60))
    async with database.read() as session:
        rows = FigureRepository(session)
        by_minute = await rows.usage(deployment_id, None, Window.HOUR.step, 0)
        assert by_minute[MINUTE] == UsageSum(120.0, 60.0, 12.0, 1050, 0)
        assert (await rows.usage(deployment_id, one, Window.HOUR.step, MINUTE))[MINUTE] == UsageSum(
            60.0, 60.0, 9.0, 1000, 0
        )
        for window in (Window.DAY, Window.WEEK):
            found = await rows.usage(deployment_id, None, window.step, 0)
            assert found == {begin_of(NOW, window.step): UsageSum(150.0, 90.0, 13.0, 2050, 0)}


async def test_a_restart_counts_once_whoever_tells_of_it(database: Database) -> None:
    deployment_id, one = uuid4(), uuid4()
    # What happened before anybody looked did not happen in this minute.
    await add(database, calls(deployment_id, one, MINUTE, 1.0), used(deployment_id, one, 1.0, restarts=2))
    for restarts in (2, 3, 3, None, 5, 5):
        await add(database, used(deployment_id, one, 1.0, restarts=restarts))
    async with database.read() as session:
        found = await FigureRepository(session).usage(deployment_id, None, Window.HOUR.step, 0)
    assert found[MINUTE].restarts == 3


async def test_rows_past_their_time_are_forgotten_and_totals_stay_with_their_owners(
    database: Database,
) -> None:
    deployed = await stored_deployment(database)
    gone, alive = uuid4(), replica(deployed)
    ended = replica(deployed, ordinal=1, state=ReplicaState.STOPPED)
    async with database.write() as session:
        for one in (alive, ended):
            await DeploymentRepository(session).put_replica(one)
    ages = [timedelta(), timedelta(hours=24), timedelta(hours=26), timedelta(days=7), timedelta(days=9)]
    for age in ages:
        minute = begin_of(NOW - age, timedelta(minutes=1))
        await add(database, *(calls(deployed.id, one.id, minute, 1.0) for one in (alive, ended)))
        await add(database, calls(gone, uuid4(), minute, 1.0))
    async with database.write() as session:
        kept = FigureRepository(session)
        assert set(await kept.deployment_ids()) == {deployed.id, gone}
        for whose in (deployed.id, gone):
            await kept.forget_old(whose, NOW)
    async with database.read() as session:
        rows = FigureRepository(session)
        assert set(await rows.totals(deployed.id)) == {deployed.id, alive.id}
        assert (await rows.totals(deployed.id))[deployed.id].requests == 2 * len(ages)
        assert await rows.totals(gone) == {}
        assert len(await rows.calls(deployed.id, None, Window.HOUR.step, 0)) == 2
        assert len(await rows.calls(deployed.id, None, Window.WEEK.step, 0)) == 4


async def test_a_replica_has_one_row_for_each_minute_quarter_and_for_all_time(database: Database) -> None:
    deployment_id, one = uuid4(), uuid4()
    for minute in range(MINUTE, MINUTE + 1800, 60):
        await add(
            database, calls(deployment_id, one, minute, 1.0), used(deployment_id, one, 1.0, minute=minute)
        )
    whole = replicas = 30 + 3 + 1
    assert await count_rows(database) == whole + replicas
