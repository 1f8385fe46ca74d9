"""The daily sweep removes what no row points to, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from temporalio.testing import ActivityEnvironment

import activities.monitoring
from activities.clients.embeddings import open_model
from activities.deployments import DeploymentActivities
from activities.knowledge import KnowledgeActivities
from activities.monitoring import MonitoringActivities
from mcp_platform.contracts.deployments import DeploymentState
from mcp_platform.names import Collection
from storage.documents.sql import SqlDocuments
from storage.knowledge.passages import split_document
from storage.logs import LogBook
from storage.sql.audit import AuditLog
from storage.sql.audit_check import AuditCheck
from storage.sql.engine import Database
from storage.stores import Stores
from tests.audit.samples import event
from tests.platform import RunningPlatform
from tests.storage.samples import content, deployment, mcp, task


def monitoring_of(
    platform: RunningPlatform, stores: Stores, audit_days: int = 365, logs: LogBook | None = None
) -> MonitoringActivities:
    """Make the activities for these stores."""
    knowledge = KnowledgeActivities(
        stores,
        split_document,
        partial(open_model, settings=platform.settings.knowledge),
        platform.settings.knowledge.embedding_model,
    )
    audit = AuditLog(stores.database, platform.parts.sealer)
    return MonitoringActivities(
        stores,
        platform.parts.temporal,
        {},
        platform.settings.replicas.order_for,
        audit,
        audit_days,
        knowledge,
        DeploymentActivities(stores, audit),
        logs or LogBook(platform.settings.data_dir / "none", platform.settings.replica_logs),
        call_days=30,
    )


def beating_environment() -> ActivityEnvironment:
    """Give an environment for activities that beat."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, heartbeat_timeout=timedelta(seconds=30))
    return environment


async def test_only_documents_that_nothing_points_to_are_removed(
    platform: RunningPlatform, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores(database, SqlDocuments(database), platform.parts.stores.cache)
    registered = mcp()
    deployed = deployment(registered, config_key="deployed", status=DeploymentState.STOPPED)
    finished = task(result_key="result")
    async with stores.write() as rows:
        await rows.mcps.add(registered, registered.author_id)
        await rows.deployments.add(deployed, content(deployed))
        await rows.tasks.add(finished)
    kept = {
        (Collection.CONFIGS, registered.config_key),
        (Collection.CONFIGS, "deployed"),
        (Collection.IDEAS, finished.task_id),
        (Collection.RESULTS, "result"),
    }
    orphans = {(collection, f"orphan-{number}") for collection in Collection for number in range(5)}
    for collection, key in kept | orphans:
        await stores.documents.put(collection, key, {})
    monitoring = monitoring_of(platform, stores)
    environment = beating_environment()

    assert await environment.run(monitoring.sweep_documents) == 0, "young documents may still get their row"

    monkeypatch.setattr(activities.monitoring, "_DOCUMENT_GRACE", timedelta(seconds=-1))
    monkeypatch.setattr(activities.monitoring, "_PAGE", 2)
    assert await environment.run(monitoring.sweep_documents) == len(orphans)
    for collection, key in kept:
        assert await stores.documents.get(collection, key) is not None
    for collection, key in orphans:
        assert await stores.documents.get(collection, key) is None


@pytest.mark.parametrize(("days", "left"), [(30, 3), (0, 5)])
async def test_entries_of_the_audit_log_are_removed_when_they_are_old_enough(
    platform: RunningPlatform, database: Database, days: int, left: int
) -> None:
    stores = Stores(database, SqlDocuments(database), platform.parts.stores.cache)
    log = AuditLog(database, platform.parts.sealer)
    now = datetime.now(UTC)
    for age in (40, 31, 29, 10, 0):
        await log.append([event(at=now - timedelta(days=age))])
    await beating_environment().run(monitoring_of(platform, stores, days).sweep_documents)
    found = await AuditCheck(database, platform.parts.sealer).run()
    assert (found.breach, found.entries, found.last_seq) == (None, left, 5)
