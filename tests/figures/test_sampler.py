"""From what replicas say of themselves to rows, the latest measures and Prometheus."""

import asyncio
import time
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

import activities.usage
from activities.drivers import Usage
from activities.usage import UsageSampler
from mcp_platform.contracts.deployments import Driver, ReplicaOrder
from mcp_platform.contracts.figures import Window
from mcp_platform.variables import Mask
from storage.documents.sql import SqlDocuments
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.figures import UsageSum
from storage.stores import Stores
from tests.storage.samples import replica, stored_deployment
from tests.waiting import eventually
from worker.figures import FLEETS, Fleets, shown_fleet


class Clock:
    """A clock that tests turn; it begins with a minute."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - 1_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the sampler's clock."""
    turned = Clock()
    monkeypatch.setattr(activities.usage, "time", turned)
    return turned


@pytest.fixture
def stores(database: Database, cache: Redis) -> Stores:
    """Give stores, on each engine."""
    return Stores(database, SqlDocuments(database), cache)


def order(deployment_id: UUID, ordinal: int = 0, restarts: int = 0, every: float = 5.0) -> ReplicaOrder:
    return ReplicaOrder(
        deployment_id=deployment_id,
        ordinal=ordinal,
        driver=Driver.PROCESS,
        restarts=restarts,
        patience=1,
        check_interval=every,
        check_timeout=1,
        failures_allowed=1,
    )


async def minutes(stores: Stores, deployment_id: UUID) -> list[UsageSum]:
    async with stores.read() as rows:
        found = await rows.figures.usage(deployment_id, None, Window.HOUR.step, 0)
    return [each for _, each in sorted(found.items())]


async def test_cpu_seconds_become_cores_and_lie_in_the_minutes_in_which_they_were_used(
    stores: Stores, clock: Clock
) -> None:
    sampler, one = UsageSampler(stores, 3600), order(uuid4(), every=60.0)
    clock.now += 50
    sampler.sample(one, Usage(100.0, 1_000))
    clock.now += 40
    sampler.sample(one, Usage(120.0, 3_000))
    clock.now += 10
    sampler.sample(one, Usage(121.0, 2_000))
    await sampler.flush()
    first, second = await minutes(stores, one.deployment_id)
    assert (first.seconds, first.cpu_seconds) == pytest.approx((10, 5))
    assert (second.seconds, second.cpu_seconds) == pytest.approx((40, 16))
    assert second.memory_bytes == 3_000
    latest = (await stores.usages.read(one.deployment_id))[one.replica_id]
    assert latest.cpu_cores == pytest.approx(0.1)
    assert latest.memory_bytes == 2_000


async def test_a_successor_begins_anew_and_counts_as_one_restart(stores: Stores, clock: Clock) -> None:
    sampler, deployment_id = UsageSampler(stores, 3600), uuid4()
    for restarts, cpu in ((0, 50.0), (0, 51.0), (1, 200.0), (1, 202.0), (1, 0.0)):
        sampler.sample(order(deployment_id, restarts=restarts), Usage(cpu, 10))
        clock.now += 5
        await sampler.flush()
    (only,) = await minutes(stores, deployment_id)
    assert (only.cpu_seconds, only.restarts) == (3.0, 1)


async def test_a_writing_that_fails_strangely_does_not_end_the_writing(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, one = UsageSampler(stores, 0.01), order(uuid4())
    put, failures = stores.usages.put, 0

    async def failing_once(*given: Any) -> None:
        nonlocal failures
        if failures == 0:
            failures += 1
            raise RuntimeError("of a kind that nobody foresaw")
        await put(*given)

    monkeypatch.setattr(stores.usages, "put", failing_once)
    async with sampler.running():
        await eventually(lambda: asyncio.sleep(0, failures))
        sampler.sample(one, Usage(1.0, 7))
        await eventually(lambda: stores.usages.read(one.deployment_id))


async def test_nothing_is_made_up_for_a_time_without_measures(stores: Stores, clock: Clock) -> None:
    sampler, one = UsageSampler(stores, 3600), order(uuid4())
    sampler.sample(one, Usage(10.0, 10))
    clock.now += 600
    sampler.sample(one, Usage(300.0, 10))
    await sampler.flush()
    assert sum(each.seconds for each in await minutes(stores, one.deployment_id)) == 0


async def test_a_replica_that_cannot_be_measured_still_counts_as_there(stores: Stores, clock: Clock) -> None:
    sampler, one = UsageSampler(stores, 3600), order(uuid4())
    sampler.sample(one, None)
    clock.now += 30
    sampler.sample(one, None)
    await sampler.flush()
    assert await minutes(stores, one.deployment_id) == [UsageSum(30.0, 30.0, 0.0, None, 0)]


async def test_what_cannot_be_written_is_written_later(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, one = UsageSampler(stores, 3600), order(uuid4())
    sampler.sample(one, Usage(1.0, 10))
    with monkeypatch.context() as patch:
        patch.setattr(stores, "database", None)
        await sampler.flush()
    clock.now += 10
    sampler.sample(one, Usage(3.0, 10))
    await sampler.flush()
    await sampler.flush()
    assert await minutes(stores, one.deployment_id) == [UsageSum(10.0, 10.0, 2.0, 10, 0)]


async def test_a_measure_is_forgotten_when_no_other_follows(stores: Stores, clock: Clock) -> None:
    sampler, deployment_id = UsageSampler(stores, 3600), uuid4()
    quick, slow = order(deployment_id), order(deployment_id, ordinal=1, every=100.0)
    for one in (quick, slow):
        sampler.sample(one, Usage(1.0, 10))
    await sampler.flush()
    assert set(await stores.usages.read(deployment_id)) == {quick.replica_id, slow.replica_id}
    clock.now += 61
    await sampler.flush()
    assert [each.replica_id for each in sampler.current()] == [slow.replica_id]
    assert set(await stores.usages.read(deployment_id)) == {slow.replica_id}


class Replica:
    """A replica whose measuring lasts as long as the test wants."""

    url = shown_url = "http://127.0.0.1:1/mcp"
    headers: ClassVar[dict[str, str]] = {}
    pid = container = health_url = None
    mask = Mask()
    stderr_tail: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.measured = 0
        self.go = asyncio.Event()
        self.go.set()

    async def exited(self) -> str:
        raise NotImplementedError

    async def usage(self) -> Usage:
        self.measured += 1
        await self.go.wait()
        return Usage(float(self.measured), 10)

    async def silence(self) -> None:
        """Nothing: it answers."""


async def test_a_replica_is_not_measured_at_every_check_and_never_twice_at_once(
    stores: Stores, clock: Clock
) -> None:
    sampler, one, running = UsageSampler(stores, 3600), order(uuid4()), Replica()
    async with sampler.running():
        for _ in range(12):
            sampler.answered(one, running)
            await asyncio.sleep(0)
            clock.now += 5
        assert running.measured == 4
        running.go.clear()
        for _ in range(12):
            sampler.answered(one, running)
            await asyncio.sleep(0)
            clock.now += 5
        assert running.measured == 5
    # What was under way has ended, and what was seen is written.
    assert set(await stores.stamps.last([one.deployment_id])) == {one.deployment_id}
    assert sum(each.seconds for each in await minutes(stores, one.deployment_id)) == 45


async def test_a_replica_that_breaks_while_it_is_measured_breaks_nothing_else(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, one, running = UsageSampler(stores, 3600), order(uuid4()), Replica()

    async def broken() -> Usage:
        raise OSError("gone")

    monkeypatch.setattr(running, "usage", broken)

    async def measured() -> bool:
        return bool(sampler.current())

    async with sampler.running():
        sampler.answered(one, running)
        await eventually(measured)
        assert sampler.current()[0].memory_bytes is None


async def test_a_hundred_replicas_cost_one_transaction_and_well_under_a_hundredth_of_a_core(
    sqlite_database: Database, cache: Redis, clock: Clock
) -> None:
    stores = Stores(sqlite_database, SqlDocuments(sqlite_database), cache)
    sampler, deployment_id = UsageSampler(stores, 3600), uuid4()
    orders = [order(deployment_id, ordinal) for ordinal in range(100)]
    rounds, transactions = 6, 0
    write = sqlite_database.write

    def counted():  # type: ignore[no-untyped-def]
        nonlocal transactions
        transactions += 1
        return write()

    sqlite_database.write = counted  # type: ignore[method-assign]
    began = time.process_time()
    for number in range(rounds):
        clock.now += 5
        for one in orders:
            sampler.sample(one, Usage(float(number), 10))
        await sampler.flush()
    spent = time.process_time() - began
    assert transactions == rounds
    # A check every 5 s: 30 s were simulated; the bound is ten times what it should be, for slow machines.
    assert spent / (rounds * 5) < 0.05


def series(name: str, fleets: Fleets = FLEETS) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(fleets)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        tuple(sample.labels[name] for name in sorted(sample.labels)): sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"mcp_platform_{name}"
    }


async def test_prometheus_sees_replicas_come_and_go(sqlite_database: Database, tmp_path: Path) -> None:
    stores = Stores(sqlite_database, SqlDocuments(sqlite_database), Redis())
    deployed = await stored_deployment(sqlite_database)
    one = order(deployed.id)
    sampler = UsageSampler(stores, 3600)
    sampler.sample(one, Usage(1.0, 4_096))
    here = ("0", deployed.slug)

    async def seen(name: str) -> float | None:
        return series(name).get(here)

    async with shown_fleet(sqlite_database, sampler, 0.01):
        mine = Fleets()  # not that of another platform in this process
        mine.known = FLEETS.known[-1:]
        async with sqlite_database.write() as session:
            await DeploymentRepository(session).put_replica(replica(deployed, id=one.replica_id, restarts=3))
        assert await eventually(lambda: seen("replica_up")) == 1
        assert series("replica_memory_bytes")[here] == 4_096
        assert series("replica_restarts")[here] == 3
        assert series("deployments", mine)[(deployed.status.value,)] == 1
        assert series("replicas", mine)[("healthy",)] == 1
        async with sqlite_database.write() as session:
            await DeploymentRepository(session).lose_replica(one.replica_id, "gone", [])
        assert await eventually(lambda: seen("replica_up"), lambda value: value == 0) == 0
        async with sqlite_database.write() as session:
            await DeploymentRepository(session).stop_replica(one.replica_id)
        await eventually(lambda: seen("replica_up"), lambda value: value is None)
        for name in ("replica_memory_bytes", "replica_restarts", "replica_cpu_cores"):
            assert here not in series(name)
        assert series("replicas", mine)[("healthy",)] == 0
    assert mine.known[0] not in FLEETS.known
