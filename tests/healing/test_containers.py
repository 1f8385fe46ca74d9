"""Containers that are killed, starved, hung, and an engine that goes away: all of it heals."""

import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.deployments.steady import Answers, steady_calls
from tests.healing.wounds import (
    boxed,
    containers_of,
    deploy,
    healed,
    networks_of,
    nothing_is_left,
    platform_on,
)
from tests.platform import Caller, RunningPlatform
from tests.services.docker import DockerEngine
from tests.waiting import eventually, in_one_task

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
async def platform(
    tmp_path_factory: pytest.TempPathFactory,
    temporal_environment: WorkflowEnvironment,
    docker_engine: DockerEngine,
) -> AsyncIterator[RunningPlatform]:
    """Give a platform whose containers run on the session's engine."""
    folder = tmp_path_factory.mktemp("containers")
    async with in_one_task(platform_on(docker_engine, folder, temporal_environment.client)) as running:
        yield running


@pytest.fixture
async def admin(platform: RunningPlatform, docker_engine: DockerEngine) -> AsyncIterator[Caller]:
    """Give the administrator; after the test all is stopped, and nothing is left."""
    caller = await platform.admin()
    yield caller
    for entry in (await caller.get("/api/v1/deployments")).json()["deployments"]:
        if entry["status"] != "stopped":
            await caller.delete(f"/api/v1/deployments/{entry['deployment_id']}")
    await nothing_is_left(docker_engine, platform.settings)


async def _count(answers: Answers) -> int:
    return answers.count


async def test_a_killed_container_is_back_within_seconds_and_no_call_fails(
    admin: Caller, platform: RunningPlatform, docker_engine: DockerEngine, time_image: str
) -> None:
    started = await deploy(admin, docker_engine, platform.settings, boxed(time_image))
    victim = containers_of(docker_engine, platform.settings)[0]
    pid = docker_engine.client.api.inspect_container(str(victim.id))["State"]["Pid"]
    async with steady_calls(admin, started["slug"]) as answers:
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        await eventually(
            lambda: admin.deployment(started["deployment_id"]),
            lambda seen: (
                seen["status"] == "running"
                and all(not str(r["container"]).startswith(str(victim.id)[:12]) for r in seen["replicas"])
            ),
        )
        took = time.monotonic() - killed
        healed_at = answers.count
        # Both replicas are called again; on a quick machine fewer than fifty calls came before.
        await eventually(lambda: _count(answers), lambda count: count > max(50, healed_at + 10))
    assert answers.failures == []
    await healed(admin, docker_engine, platform.settings, started, 2)
    # Five seconds on a quiet machine; the calls of this test and other tests' work share its cores.
    assert took < 15


async def test_a_replica_out_of_memory_says_so_and_is_replaced(
    admin: Caller, platform: RunningPlatform, docker_engine: DockerEngine, time_image: str
) -> None:
    mcp = await admin.register_mcp({"servers": [boxed(time_image)]})
    order = {"tool_id": mcp["id"], "config": {"resources": {"memory": "96Mi"}}}
    answer = await admin.post("/api/v1/deployments", json=order)
    started = answer.json() | {"slug": mcp["slug"]}
    before = await healed(admin, docker_engine, platform.settings, started, 1)
    eaten = await admin.post(f"/mcp/{mcp['slug']}/v1/tools/eat", json={"mebibytes": 300})
    assert eaten.status_code in {502, 503}
    after = await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: (
            seen["status"] == "running"
            and seen["replicas"][0]["container"] != before["replicas"][0]["container"]
        ),
    )
    assert after["replicas"][0]["restarts"] >= 1
    await healed(admin, docker_engine, platform.settings, started, 1)
    found = await admin.get("/api/v1/audit", params={"resource_id": started["deployment_id"]})
    reasons = [entry["details"].get("reason") or "" for entry in found.json()["entries"]]
    assert any("memory" in reason for reason in reasons), reasons


async def test_a_replica_that_hangs_with_its_port_open_is_replaced(
    admin: Caller, platform: RunningPlatform, docker_engine: DockerEngine, time_image: str
) -> None:
    started = await deploy(admin, docker_engine, platform.settings, boxed(time_image))
    victim = containers_of(docker_engine, platform.settings)[0]
    victim.pause()
    await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: (
            seen["status"] == "running"
            and all(not str(r["container"]).startswith(str(victim.id)[:12]) for r in seen["replicas"])
        ),
    )
    await healed(admin, docker_engine, platform.settings, started, 2)


async def test_a_restarted_engine_gets_its_replicas_back(
    admin: Caller, platform: RunningPlatform, docker_engine: DockerEngine, time_image: str
) -> None:
    started = await deploy(admin, docker_engine, platform.settings, boxed(time_image))
    docker_engine.restart()
    await healed(admin, docker_engine, platform.settings, started, 2)
    assert len(networks_of(docker_engine, platform.settings)) == 1


async def test_while_the_engine_is_away_that_is_the_reason_and_then_all_is_well(
    admin: Caller, platform: RunningPlatform, docker_engine: DockerEngine, time_image: str
) -> None:
    started = await deploy(admin, docker_engine, platform.settings, boxed(time_image))
    docker_engine.stop()
    try:

        async def told() -> Any:
            seen = await admin.deployment(started["deployment_id"])
            texts = [seen["reason"] or "", *(replica["reason"] or "" for replica in seen["replicas"])]
            return any("docker.sock" in text for text in texts)

        await eventually(told)
        other = await admin.register_mcp({"servers": [boxed(time_image)]})
        refused = await eventually(
            lambda: admin.post("/api/v1/deployments", json={"tool_id": other["id"]}),
            lambda answer: answer.status_code == 503,
        )
        assert "docker.sock" in refused.text
    finally:
        docker_engine.start()
    await healed(admin, docker_engine, platform.settings, started, 2)


async def test_containers_that_no_deployment_owns_are_ended_and_reported(
    admin: Caller, platform: RunningPlatform, docker_engine: DockerEngine, time_image: str
) -> None:
    started = await deploy(admin, docker_engine, platform.settings, boxed(time_image), replicas=1)
    handle = platform.parts.temporal.get_workflow_handle(f"deployment-{started['deployment_id']}")
    await handle.terminate("a test")
    assert len(containers_of(docker_engine, platform.settings)) == 1

    async def reconciled() -> bool:
        await platform.parts.temporal.get_schedule_handle("reconcile").trigger()
        return not containers_of(docker_engine, platform.settings)

    await eventually(reconciled, within=60)
    await eventually(
        lambda: admin.get("/api/v1/audit", params={"action": "deployments.orphan_ended"}),
        lambda found: found.json()["entries"],
    )
