"""The contract of deployments, replicas and routes."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from mcp_platform.contracts.deployments import (
    CallFigures,
    Deployment,
    DeploymentConfig,
    DeploymentReport,
    DeploymentState,
    Driver,
    Health,
    Replica,
    ReplicaState,
    Route,
    UpstreamAddress,
)
from mcp_platform.contracts.resources import Resources
from mcp_platform.errors import Conflict, NotFound
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from tests.storage.crowd import crowd
from tests.storage.samples import (
    NOON,
    add_deployment,
    deployment,
    mcp,
    replica,
    report,
    stored_deployment,
    stored_mcp,
)


async def add(database: Database, new: Deployment) -> None:
    async with database.write() as session:
        await add_deployment(session, new)


async def tell(database: Database, what: DeploymentReport) -> Deployment | None:
    async with database.write() as session:
        reported = await DeploymentRepository(session).report(what)
    return reported and reported[0]


async def put(database: Database, *replicas: Replica) -> None:
    for each in replicas:
        async with database.write() as session:
            await DeploymentRepository(session).put_replica(each)


async def found(database: Database, deployment_id: UUID) -> Deployment:
    async with database.read() as session:
        deployed = await DeploymentRepository(session).get(deployment_id)
    assert deployed is not None
    return deployed


async def test_a_deployment_is_found_as_it_was_added(database: Database) -> None:
    config = DeploymentConfig(replicas=3, resources=Resources(cpu="500m", memory="256Mi"), server="main")
    made = await stored_deployment(database, config=config, reason="just so")
    assert await found(database, made.id) == made
    async with database.read() as session:
        assert await DeploymentRepository(session).get(uuid4()) is None


async def test_adding_the_same_deployment_again_is_success(database: Database) -> None:
    made = await stored_deployment(database)
    await tell(database, report(made))
    await add(database, made)
    assert (await found(database, made.id)).status is DeploymentState.RUNNING


async def test_an_mcp_that_is_gone_cannot_be_deployed(database: Database) -> None:
    with pytest.raises(NotFound):
        await add(database, deployment(mcp()))


async def test_of_many_deployments_of_one_slug_exactly_one_is_active(database: Database) -> None:
    of = await stored_mcp(database)
    outcomes = await crowd(24, lambda number: add(database, deployment(of)))
    conflicts = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert outcomes.count(None) == 1
    assert len(conflicts) == 23
    async with database.read() as session:
        (active,) = await DeploymentRepository(session).active()
    assert {conflict.fields["deployment_id"] for conflict in conflicts} == {str(active.id)}


async def test_a_stopped_deployment_frees_its_slug_and_stops_its_replicas(database: Database) -> None:
    of = await stored_mcp(database)
    first, second = deployment(of), deployment(of, deployed_at=NOON + timedelta(seconds=1))
    await add(database, first)
    running = replica(first)
    await put(database, running)
    stopped = await tell(database, report(first, status=DeploymentState.STOPPED, reason="asked to"))
    assert stopped is not None
    assert stopped.status is DeploymentState.STOPPED
    assert stopped.stopped_at is not None
    await add(database, second)
    async with database.read() as session:
        deployments = DeploymentRepository(session)
        assert await deployments.active() == [second]
        assert await deployments.list() == [second, stopped]
        assert await deployments.list(status=DeploymentState.STOPPED) == [stopped]
        assert await deployments.list(mcp_id=uuid4()) == []
        assert await deployments.replicas(first.id) == []
        ended = await deployments.get_replica(running.id)
        assert ended is not None
        assert ended.state is ReplicaState.STOPPED


async def test_a_report_is_recorded_until_the_deployment_is_stopped(database: Database) -> None:
    made = await stored_deployment(database)
    degraded = report(
        made, status=DeploymentState.DEGRADED, health_status=Health.DEGRADED, replicas=5, reason="one is down"
    )
    told = await tell(database, degraded)
    assert told == await found(database, made.id)
    assert told is not None
    assert (told.status, told.health_status) == (DeploymentState.DEGRADED, Health.DEGRADED)
    assert (told.config.replicas, told.reason) == (5, "one is down")
    stopped = await tell(database, report(made, status=DeploymentState.STOPPED))
    assert await tell(database, degraded) == stopped
    assert await found(database, made.id) == stopped
    assert await tell(database, report(deployment(mcp()))) is None


async def test_a_replica_is_recorded_anew_under_its_id(database: Database) -> None:
    made = await stored_deployment(database)
    starting = replica(made, state=ReplicaState.STARTING, url=None, pid=None)
    healthy = replica(made, id=starting.id, restarts=2)
    lost = replica(made, id=starting.id, state=ReplicaState.UNHEALTHY, stderr_tail=["a", "b\ud800"])
    for state in (starting, healthy, lost, lost):
        await put(database, state)
        async with database.read() as session:
            assert await DeploymentRepository(session).get_replica(starting.id) == state
    with pytest.raises(NotFound):
        await put(database, replica(deployment(mcp())))


async def test_replicas_are_in_the_order_of_their_places_and_ages(database: Database) -> None:
    made = await stored_deployment(database)
    second = replica(made, ordinal=1)
    successor = replica(made, ordinal=0, started_at=NOON + timedelta(seconds=1))
    first = replica(made, ordinal=0)
    ended = replica(made, ordinal=2, state=ReplicaState.STOPPED)
    await put(database, second, successor, first, ended)
    async with database.read() as session:
        deployments = DeploymentRepository(session)
        assert await deployments.replicas(made.id) == [first, successor, second]
        assert await deployments.replicas(made.id, include_stopped=True) == [first, successor, second, ended]


async def test_a_replica_that_is_lost_or_stopped_tells_whose_routes_change(database: Database) -> None:
    made = await stored_deployment(database)
    one = replica(made)
    await put(database, one)
    async with database.write() as session:
        deployments = DeploymentRepository(session)
        assert await deployments.lose_replica(one.id, "does not answer", ["oh"]) == made.slug
        lost = await deployments.get_replica(one.id)
        assert lost is not None
        assert (lost.state, lost.reason, lost.stderr_tail) == (
            ReplicaState.UNHEALTHY,
            "does not answer",
            ["oh"],
        )
        assert await deployments.stop_replica(one.id) == made.slug
        assert await deployments.stop_replica(one.id) is None
        assert await deployments.lose_replica(one.id, "too late", []) is None
        assert await deployments.stop_replica(uuid4()) is None


async def test_no_late_writer_brings_a_replica_of_a_stopped_deployment_back(database: Database) -> None:
    made = await stored_deployment(database)
    one = replica(made)
    await put(database, one)
    async with database.read() as session:
        assert await DeploymentRepository(session).live_replica_ids() == {one.id}
    await tell(database, report(made, status=DeploymentState.STOPPED))
    await put(database, one, replica(made))
    async with database.read() as session:
        assert await DeploymentRepository(session).live_replica_ids() == set()
        assert await DeploymentRepository(session).replicas(made.id) == []


async def test_routes_lead_to_the_healthy_replicas_of_what_is_deployed(database: Database) -> None:
    local = await stored_deployment(database)
    remote = await stored_deployment(database, driver=Driver.REMOTE, config=DeploymentConfig(server="far"))
    empty = await stored_deployment(database, status=DeploymentState.FAILED)
    stopping = await stored_deployment(database, status=DeploymentState.STOPPING)
    first, second = replica(local), replica(local, ordinal=1, url="http://127.0.0.1:9001/mcp")
    far = replica(remote, url="https://example.com/mcp", pid=None)
    await put(
        database,
        second,
        first,
        far,
        replica(local, ordinal=2, state=ReplicaState.UNHEALTHY),
        replica(local, ordinal=3, url=None),
        replica(stopping),
    )

    def route(of: Deployment, *upstreams: Replica, server: str | None = None) -> Route:
        return Route(
            slug=of.slug,
            mcp_id=of.mcp_id,
            deployment_id=of.id,
            version=of.version,
            wished=of.config.replicas,
            upstreams=[
                UpstreamAddress(
                    replica_id=each.id,
                    url=each.url or "",
                    driver=of.driver,
                    server=server,
                    config_key=of.config_key if server else None,
                )
                for each in upstreams
            ],
        )

    expected = [route(local, first, second), route(remote, far, server="far"), route(empty)]
    async with database.read() as session:
        deployments = DeploymentRepository(session)
        assert await deployments.routes() == sorted(expected, key=lambda each: each.slug)
        assert await deployments.routes(local.slug) == expected[:1]
        assert await deployments.routes(stopping.slug) == []


async def test_the_figures_of_many_writers_all_count_while_reports_come_in(database: Database) -> None:
    made = [await stored_deployment(database) for _ in range(3)]

    async def count(number: int) -> None:
        figures = [
            CallFigures(deployment_id=each.id, requests=2, errors=1, latency_ms=0.5)
            # In all orders, which would be a deadlock if each locked in its own.
            for each in (made if number % 2 else reversed(made))
        ]
        async with database.write() as session:
            await DeploymentRepository(session).add_calls(figures)
        await tell(database, report(made[number % 3], replicas=number + 1))
        await put(database, replica(made[number % 3], ordinal=number))

    assert await crowd(24, count) == [None] * 24
    for each in made:
        totals = await found(database, each.id)
        assert (totals.requests_total, totals.errors_total, totals.latency_ms_total) == (48, 24, 12.0)
    async with database.write() as session:
        await DeploymentRepository(session).add_calls([])


async def test_replicas_that_come_up_while_the_deployment_stops_end_stopped(database: Database) -> None:
    made = await stored_deployment(database)

    async def act(number: int) -> None:
        if number == 12:
            await tell(database, report(made, status=DeploymentState.STOPPED))
        else:
            await put(database, replica(made, ordinal=number))

    assert await crowd(24, act) == [None] * 24
    async with database.read() as session:
        replicas = await DeploymentRepository(session).replicas(made.id, include_stopped=True)
    assert len(replicas) == 23
    assert {each.state for each in replicas} == {ReplicaState.STOPPED}
