"""What a server wrote before it ended is told beside the reason, without secrets, and not at length."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from temporalio.testing import ActivityEnvironment

from activities.github_sync.rollouts import RolloutActivities
from mcp_platform.contracts.merging import RolloutBegun
from mcp_platform.last_words import last_words
from storage.deploying import MergedDeployments
from storage.sql.audit import AuditLog
from tests.deployments.servers import LEAVES_AT_ONCE, python, tiny
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], None),
        (["", "  ", "runner: the server exited with status 7"], None),
        (["one", "two", "three", "", "four", "runner: it ended"], "two | three | four"),
        (["a\tb\x1b[31m\x00 c"], "a b [31m c"),
        (["x" * 2_000], "x" * 159 + "…"),
    ],
    ids=["nothing", "nothing-of-its-own", "the-last-three", "not-printable", "long"],
)
def test_the_last_lines_are_told_on_one(lines: list[str], told: str | None) -> None:
    assert last_words(lines) == told


async def test_a_rollout_that_fails_tells_what_the_server_wrote_without_its_secrets(admin: Caller) -> None:
    name, value = f"SECRET_{uuid4().hex[:12].upper()}", f"s3cret-{uuid4().hex}"
    stored = await admin.put(f"/api/v1/secrets/{name}", json={"value": value})
    assert stored.status_code in {200, 201}, stored.text
    started = await admin.deploy(tiny("one"))
    await admin.deployment_is(started["deployment_id"], "running")
    bad = python("import os, sys; sys.exit('no database at ' + os.environ['KEY'])")
    order = {"version": "2.0.0", "config": {"servers": [bad | {"env": {"KEY": f"${{{name}}}"}}]}}
    assert (await admin.put(f"/api/v1/mcps/{started['tool_id']}", json=order)).status_code == 200
    path = f"/api/v1/deployments/{started['deployment_id']}"
    assert (await admin.post(f"{path}/rollout")).status_code == 202
    failed = await admin.deployment_is(started["deployment_id"], "rolled_back")
    assert failed["reason"].endswith("the server exited with status 1; it last wrote: no database at ***"), (
        failed["reason"]
    )
    assert failed["rollout"]["reason"] in failed["reason"]
    revisions = (await admin.get(f"{path}/revisions")).json()["revisions"]
    assert revisions[0]["reason"] == failed["rollout"]["reason"]


async def test_who_merged_is_told_what_the_first_replica_wrote(
    platform: RunningPlatform, admin: Caller
) -> None:
    started = await admin.deploy(LEAVES_AT_ONCE)
    await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: seen["status"] == "failed" and seen["replicas"][0]["stderr_tail"],
    )
    stores = platform.parts.stores
    merged = MergedDeployments(stores, platform.settings)
    audit = AuditLog(stores.database, platform.parts.sealer)
    rollouts = RolloutActivities(stores, platform.parts.temporal, merged, audit, patience=0.0)
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, heartbeat_timeout=timedelta(seconds=30))
    begun = RolloutBegun(deployment_id=UUID(started["deployment_id"]), revision=1)
    ended = await environment.run(rollouts.settle, begun)
    assert not ended.healthy
    assert "the server exited with status 7" in (ended.reason or "")
    assert (ended.reason or "").endswith("it last wrote: no configuration found")
