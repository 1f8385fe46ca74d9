"""Trying servers in containers: for who may not run commands here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.checks import CheckActivities
from activities.checks.trials import Trials
from activities.clients.packages import PackageRegistries
from activities.clients.server_talk import ServerTalk
from mcp_platform.check_settings import PackageSettings, TrialSettings
from mcp_platform.contracts.checks import SafeCall, TrialOrder, TrialOutcome, TrialReport
from mcp_platform.contracts.deployments import Driver
from mcp_platform.names import Collection, TaskQueue
from mcp_platform.settings import Settings
from storage.cache import open_cache
from storage.documents.sql import SqlDocuments
from storage.sql.engine import Database
from storage.stores import Stores
from tests.checks.asking import TrialWorkflow
from tests.checks.containers import IMAGE, Boxes, Builder
from tests.services.temporal import new_namespace

COMMAND = {
    "name": "time",
    "command": "uvx",
    "args": ["mcp-server-time", "--zone", "${ZONE}"],
    "env": {"CACHE": "${HOME}/cache"},
}


@pytest.fixture(scope="session")
async def namespace(temporal_environment: WorkflowEnvironment) -> Client:
    """Give a namespace whose workers are the tests' own."""
    return await new_namespace(temporal_environment.client)


@pytest.fixture
async def stores(sqlite_database: Database, tmp_path: Path) -> AsyncIterator[Stores]:
    """Give empty stores."""
    cache = open_cache(Settings(data_dir=tmp_path))
    yield Stores(sqlite_database, SqlDocuments(sqlite_database), cache)
    await cache.aclose()


@asynccontextmanager
async def working(namespace: Client, stores: Stores, boxes: Boxes, builder: Builder) -> AsyncIterator[None]:
    """Work on trials with these containers alone."""
    async with ServerTalk(private=False) as talk:
        trials = Trials(stores, {Driver.DOCKER: boxes}, talk, TrialSettings())
        checks = CheckActivities(trials, PackageRegistries(PackageSettings()))
        async with (
            Worker(namespace, task_queue=TaskQueue.ORCHESTRATION, workflows=[TrialWorkflow]),
            Worker(namespace, task_queue=TaskQueue.REPLICAS, activities=[checks.try_server]),
            Worker(namespace, task_queue=TaskQueue.BUILDS, activities=[builder.build_draft]),
        ):
            yield


async def attempt(namespace: Client, stores: Stores, server: dict[str, Any], **changes: Any) -> TrialReport:
    """Try one server."""
    key = f"{uuid4()}/1"
    await stores.documents.put(Collection.DRAFTS, key, {"servers": [server]})
    given: dict[str, Any] = {"owner_id": uuid4(), "patience": 10.0}
    order = TrialOrder(task_id=key.partition("/")[0], draft_key=key, **(given | changes))
    return await namespace.execute_workflow(
        TrialWorkflow.run, order, id=order.task_id, task_queue=TaskQueue.ORCHESTRATION
    )


async def test_a_command_is_tried_in_a_container_once_its_image_is_built(
    namespace: Client, stores: Stores
) -> None:
    boxes, builder = Boxes(), Builder()
    async with working(namespace, stores, boxes, builder):
        report = await attempt(namespace, stores, COMMAND, call=SafeCall(tool="look"))
    assert report.outcome is TrialOutcome.PASSED, report
    assert report.driver == "docker"
    assert report.placeholders == ["ZONE"]
    assert len(builder.orders) == 1
    (spec,) = boxes.specs
    assert spec.image == IMAGE
    assert [spec.server.command, *spec.server.args] == ["mcp-server-time", "--zone", "placeholder"]
    assert spec.server.env == {"CACHE": "/tmp/cache"}
    assert not spec.egress
    assert boxes.running == {}
    assert await stores.trials.replica_ids() == set()


async def test_an_image_is_tried_as_it_is_and_reaches_nothing(namespace: Client, stores: Stores) -> None:
    boxes, builder = Boxes(), Builder()
    async with working(namespace, stores, boxes, builder):
        report = await attempt(namespace, stores, {"name": "box", "image": "box:1.4"})
        open_one = await attempt(
            namespace, stores, {"name": "box", "image": "box:1.4"}, trusted=True, call=SafeCall(tool="look")
        )
    assert (report.outcome, open_one.outcome) == (TrialOutcome.PASSED, TrialOutcome.PASSED)
    assert builder.orders == []
    assert [spec.egress for spec in boxes.specs] == [False, True]
    assert boxes.specs[0].replica_id != boxes.specs[1].replica_id


async def test_an_image_that_cannot_be_built_leaves_the_server_untried(
    namespace: Client, stores: Stores
) -> None:
    boxes = Boxes()
    async with working(namespace, stores, boxes, Builder("No matching distribution found")):
        report = await attempt(namespace, stores, COMMAND)
    assert report.outcome is TrialOutcome.NOT_TRIED
    assert report.reason == "its image could not be built: No matching distribution found"
    assert boxes.specs == []


async def test_a_command_that_no_image_can_be_made_of_says_so(namespace: Client, stores: Stores) -> None:
    boxes, builder = Boxes(), Builder()
    async with working(namespace, stores, boxes, builder):
        report = await attempt(namespace, stores, {"name": "own", "command": "./serve.sh"})
    assert report.outcome is TrialOutcome.NOT_TRIED
    assert "its image cannot be built" in (report.reason or "")
    assert builder.orders == []


async def test_an_engine_that_is_away_leaves_the_server_untried(namespace: Client, stores: Stores) -> None:
    boxes = Boxes()
    boxes.away = True
    async with working(namespace, stores, boxes, Builder()):
        report = await attempt(namespace, stores, COMMAND)
    assert report.outcome is TrialOutcome.NOT_TRIED
    assert "the process driver is off, and no container can be started" in (report.reason or "")


async def test_a_server_that_takes_too_much_memory_is_ended(namespace: Client, stores: Stores) -> None:
    boxes = Boxes("/silent", memory=2 * 2**30)
    async with working(namespace, stores, boxes, Builder()):
        report = await attempt(namespace, stores, {"name": "box", "image": "box:1.4"})
    assert report.outcome is TrialOutcome.FAILED
    assert report.reason == "it used more than 1024 MiB of memory"
    assert report.stderr_tail == ["it runs"]
    assert boxes.running == {}
