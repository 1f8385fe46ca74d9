"""The daily sweep removes what no row points to, and nothing else."""

from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.testing import ActivityEnvironment

import activities.monitoring
from activities.monitoring import MonitoringActivities
from mcp_platform.contracts.deployments import DeploymentState
from mcp_platform.names import Collection
from storage.documents.sql import SqlDocuments
from storage.sql.engine import Database
from storage.stores import Stores
from tests.platform import RunningPlatform
from tests.storage.samples import deployment, mcp, task


async def test_only_documents_that_nothing_points_to_are_removed(
    platform: RunningPlatform, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores(database, SqlDocuments(database), platform.parts.stores.cache)
    registered = mcp()
    deployed = deployment(registered, config_key="deployed", status=DeploymentState.STOPPED)
    finished = task()
    async with stores.write() as rows:
        await rows.mcps.add(registered, registered.author_id)
        await rows.deployments.add(deployed)
        await rows.tasks.add(finished)
    kept = {
        (Collection.CONFIGS, registered.config_key),
        (Collection.CONFIGS, "deployed"),
        (Collection.IDEAS, finished.task_id),
        (Collection.RESULTS, finished.task_id),
    }
    orphans = {(collection, f"orphan-{number}") for collection in Collection for number in range(5)}
    for collection, key in kept | orphans:
        await stores.documents.put(collection, key, {})
    monitoring = MonitoringActivities(
        stores, platform.parts.temporal, None, platform.settings.replicas.order_for
    )
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, heartbeat_timeout=timedelta(seconds=30))

    assert await environment.run(monitoring.sweep_documents) == 0, "young documents may still get their row"

    monkeypatch.setattr(activities.monitoring, "_DOCUMENT_GRACE", timedelta(seconds=-1))
    monkeypatch.setattr(activities.monitoring, "_PAGE", 2)
    assert await environment.run(monitoring.sweep_documents) == len(orphans)
    for collection, key in kept:
        assert await stores.documents.get(collection, key) is not None
    for collection, key in orphans:
        assert await stores.documents.get(collection, key) is None
