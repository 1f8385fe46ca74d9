"""The contract of what operators wish of replicas."""

from uuid import uuid4

import pytest

from mcp_platform.contracts.deployments import Deployment
from mcp_platform.errors import NotFound
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.overrides import ReplicaOverrideRepository
from tests.storage.crowd import crowd
from tests.storage.samples import replica, stored_deployment


async def pair(database: Database) -> Deployment:
    """Store a deployment with two healthy replicas."""
    deployed = await stored_deployment(database)
    async with database.write() as session:
        for place in range(2):
            await DeploymentRepository(session).put_replica(replica(deployed, ordinal=place))
    return deployed


async def test_a_wish_is_for_the_place_and_not_for_the_replica(database: Database) -> None:
    deployed = await pair(database)
    async with database.write() as session:
        repository = DeploymentRepository(session)
        first, second = await repository.replicas(deployed.id)
        assert await ReplicaOverrideRepository(session).set_weight(first.id, 2.5) == deployed.slug
        assert await ReplicaOverrideRepository(session).set_offline(second.id, True) == deployed.slug
        successors = [each.model_copy(update={"id": uuid4()}) for each in (first, second)]
        for old, new in zip((first, second), successors, strict=True):
            await repository.stop_replica(old.id)
            await repository.put_replica(new)
    async with database.read() as session:
        (route,) = await DeploymentRepository(session).routes(deployed.slug)
        wishes = await ReplicaOverrideRepository(session).list(deployed.id)
    assert [upstream.replica_id for upstream in route.upstreams] == [successors[0].id]
    assert route.weights[successors[0].id] == 2.5
    assert [(wish.ordinal, wish.weight, wish.offline) for wish in wishes] == [(0, 2.5, False), (1, 1.0, True)]


async def test_a_wish_may_be_changed_and_taken_back(database: Database) -> None:
    deployed = await pair(database)
    async with database.write() as session:
        first, _ = await DeploymentRepository(session).replicas(deployed.id)
        overrides = ReplicaOverrideRepository(session)
        for offline in (True, True, False):
            await overrides.set_offline(first.id, offline)
        await overrides.set_weight(first.id, 3.0)
        await overrides.set_weight(first.id, 1.0)
    async with database.read() as session:
        (route,) = await DeploymentRepository(session).routes(deployed.slug)
    assert len(route.upstreams) == 2
    assert set(route.weights.values()) <= {1.0}


async def test_many_who_wish_at_once_leave_one_record(database: Database) -> None:
    deployed = await pair(database)
    async with database.read() as session:
        first, _ = await DeploymentRepository(session).replicas(deployed.id)

    async def wish(number: int) -> None:
        async with database.write() as session:
            await ReplicaOverrideRepository(session).set_weight(first.id, float(number + 1))

    assert await crowd(8, wish) == [None] * 8
    async with database.read() as session:
        (found,) = await ReplicaOverrideRepository(session).list(deployed.id)
    assert found.weight in {float(number + 1) for number in range(8)}


async def test_of_an_unknown_replica_nothing_can_be_wished(database: Database) -> None:
    async with database.write() as session:
        with pytest.raises(NotFound):
            await ReplicaOverrideRepository(session).set_offline(uuid4(), True)
