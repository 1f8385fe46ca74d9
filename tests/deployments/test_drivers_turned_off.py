"""Replicas whose driver was turned off since they were deployed: nothing is claimed that nobody sees."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from fakeredis import FakeAsyncRedis
from temporalio.testing import ActivityEnvironment

from activities.deployments import ReplicaActivities
from activities.deployments.health import Health
from activities.deployments.specs import Specs
from activities.drivers import ReplicaFault
from mcp_platform.contracts.deployments import Driver, Replica, ReplicaOrder, ReplicaState, replica_id
from storage.documents.sql import SqlDocuments
from storage.sql.engine import Database
from storage.stores import Stores
from tests.storage.samples import content, deployment, mcp
from tests.storage.samples import replica as described


class Place:
    """A healthy replica, as it was recorded before the worker was started without its driver."""

    def __init__(self, database: Database, driver: Driver) -> None:
        self.stores = Stores(database, SqlDocuments(database), FakeAsyncRedis())
        self._activities = ReplicaActivities(self.stores, {}, cast(Specs, None), cast(Health, None))
        registered = mcp()
        self._mcp, self._deployment = registered, deployment(registered, driver=driver)
        self.order = ReplicaOrder(
            deployment_id=self._deployment.id,
            ordinal=0,
            driver=driver,
            patience=1.0,
            check_interval=1.0,
            check_timeout=1.0,
            failures_allowed=1,
        )

    async def recorded(self) -> None:
        """Record it."""
        healthy = described(self._deployment, id=replica_id(self._deployment.id, 0, 1))
        async with self.stores.write() as rows:
            await rows.mcps.add(self._mcp, self._mcp.author_id)
            await rows.deployments.add(self._deployment, content(self._deployment))
            await rows.deployments.put_replica(healthy)

    async def run(self, step: str) -> Any:
        """Run one of the activities with it."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, heartbeat_timeout=timedelta(seconds=30))
        return await environment.run(getattr(self._activities, step), self.order)

    async def replica(self) -> Replica:
        """Give what is recorded of it now."""
        async with self.stores.read() as rows:
            found = await rows.deployments.get_replica(self.order.replica_id)
        assert found is not None
        return found


OFF = "the {} driver is off; an administrator can turn it on with MCP_PLATFORM_{}=true"


@pytest.mark.parametrize(
    ("driver", "setting"), [(Driver.PROCESS, "REPLICAS__PROCESS_DRIVER"), (Driver.DOCKER, "DOCKER__ENABLED")]
)
async def test_a_replica_that_nobody_can_watch_any_more_is_lost(
    sqlite_database: Database, driver: Driver, setting: str
) -> None:
    place = Place(sqlite_database, driver)
    await place.recorded()
    assert (await place.run("watch")).reason == OFF.format(driver, setting)
    seen = await place.replica()
    assert (seen.state, seen.reason) == (ReplicaState.UNHEALTHY, OFF.format(driver, setting))


async def test_a_stop_ends_where_nothing_can_be_left_of_a_replica(sqlite_database: Database) -> None:
    place = Place(sqlite_database, Driver.PROCESS)
    await place.recorded()
    await place.run("take_down")
    assert (await place.replica()).state is ReplicaState.STOPPED


async def test_a_stop_that_cannot_end_a_container_says_what_is_in_the_way(sqlite_database: Database) -> None:
    place = Place(sqlite_database, Driver.DOCKER)
    await place.recorded()
    with pytest.raises(ReplicaFault, match="the docker driver is off"):
        await place.run("take_down")
    seen = await place.replica()
    assert seen.state is ReplicaState.DRAINING
    assert seen.reason == f"it cannot be ended yet: {OFF.format('docker', 'DOCKER__ENABLED')}"
