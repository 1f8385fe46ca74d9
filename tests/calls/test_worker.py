"""What workers do for the bridge: checks as often as it says, and the end of old lines."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.testing import ActivityEnvironment

import activities.monitoring
from mcp_platform.contracts.bridge import ConfigChange
from mcp_platform.contracts.calls import CallFilter
from mcp_platform.contracts.deployments import Driver, ReplicaOrder
from mcp_platform.names import BRIDGE_SETTINGS, Channel
from storage.documents.sql import SqlDocuments
from storage.sql.calls import call_id
from storage.sql.engine import Database
from storage.stores import Stores
from tests.monitoring.test_sweep import beating_environment, monitoring_of
from tests.platform import RunningPlatform
from tests.waiting import eventually
from worker.check_interval import CheckInterval


def order(check_interval: float) -> ReplicaOrder:
    """Give the order of a watch."""
    return ReplicaOrder(
        deployment_id=uuid4(),
        ordinal=0,
        driver=Driver.PROCESS,
        patience=1.0,
        check_interval=check_interval,
        check_timeout=1.0,
        failures_allowed=1,
    )


def stores_of(platform: RunningPlatform, database: Database) -> Stores:
    """Give the platform's cache over an empty database."""
    return Stores(database, SqlDocuments(database), platform.parts.stores.cache)


async def test_replicas_are_checked_as_often_as_was_set_while_running_unless_their_deployment_says(
    platform: RunningPlatform, sqlite_database: Database
) -> None:
    stores = stores_of(platform, sqlite_database)
    interval = CheckInterval(stores, 5.0)
    assert interval.applied(order(5.0)).check_interval == 5.0
    async with interval.followed():
        change = ConfigChange.model_validate({"loadBalancer": {"healthCheckInterval": 30}})
        value = change.model_dump(mode="json", by_alias=True, exclude_none=True)
        async with stores.write() as rows:
            await rows.running_settings.put(BRIDGE_SETTINGS, value, uuid4())
        await stores.publish(Channel.RUNNING_SETTINGS, {"name": BRIDGE_SETTINGS})

        async def applied() -> float:
            return interval.applied(order(5.0)).check_interval

        await eventually(applied, lambda seen: seen == 30.0)
        assert interval.applied(order(2.0)).check_interval == 2.0


async def test_the_sweep_removes_lines_that_are_past_their_time(
    platform: RunningPlatform, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.monitoring, "_CALLS_AT_ONCE", 2)
    stores = stores_of(platform, sqlite_database)
    ages = (45, 44, 43, 42, 31, 29, 0)
    now = datetime.now(UTC)
    rows_to_write = [
        (
            call_id((now - timedelta(days=age)).timestamp(), number, 1),
            uuid4().hex,
            "weather",
            f"t{age}",
            None,
            None,
            "public",
            "mcp",
            "ok",
            1.0,
            "r",
            None,
        )
        for number, age in enumerate(ages)
    ]
    async with stores.write() as rows:
        await rows.calls.add(rows_to_write)
    environment: ActivityEnvironment = beating_environment()
    async with asyncio.timeout(30):
        await environment.run(monitoring_of(platform, stores).sweep_documents)
    async with stores.read() as rows:
        left = await rows.calls.newest(CallFilter(), None, 100)
    assert [each.tool for each in left] == ["t0", "t29"]
