"""From a command to containers: an image is built on the way, and a swarm's services heal too."""

import os
import signal
from collections.abc import AsyncIterator

import pytest
from docker.models.services import Service
from temporalio.testing import WorkflowEnvironment

from mcp_platform.names import INSTANCE_LABEL, build_workflow_id
from tests.healing.wounds import boxed, containers_of, nothing_is_left, on_engine
from tests.images.builds import FIRST_BUILD
from tests.images.conftest import docker_settings
from tests.platform import Caller, RunningPlatform, quick_settings, running_platform
from tests.services.docker import DockerEngine
from tests.services.temporal import new_namespace
from tests.waiting import eventually, in_one_task

CLOCK = {"name": "clock", "command": "uvx", "args": ["mcp-server-time@2026.10.19", "--local-timezone", "UTC"]}


@pytest.fixture(scope="module")
async def platform(
    tmp_path_factory: pytest.TempPathFactory,
    temporal_environment: WorkflowEnvironment,
    docker_engine: DockerEngine,
    node_image: str,
) -> AsyncIterator[RunningPlatform]:
    """Give a platform that builds images on the session's engine, and runs them there."""
    own = docker_settings(docker_engine, node_image)
    settings = on_engine(quick_settings(tmp_path_factory.mktemp("built")), docker_engine)
    settings = settings.model_copy(update={"docker": own})
    temporal = await new_namespace(temporal_environment.client)
    async with in_one_task(running_platform(settings, temporal)) as running:
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


@pytest.mark.timeout(FIRST_BUILD + 120)
async def test_a_developers_command_is_built_into_an_image_and_runs_in_containers(
    platform: RunningPlatform, docker_engine: DockerEngine, admin: Caller
) -> None:
    member = await platform.member()
    mcp = await member.register_mcp({"servers": [CLOCK]})
    order = {"tool_id": mcp["id"], "config": {"driver": "docker", "replicas": 2}}
    answer = await member.post("/api/v1/deployments", json=order)
    assert answer.status_code == 202, answer.text
    deployment_id = answer.json()["deployment_id"]
    seen = await member.deployment_is(deployment_id, "building", "starting", "running")
    task_id = seen["build_task_id"]
    assert task_id == str(build_workflow_id(seen["deployment_id"], 1))
    running = await member.deployment_is(deployment_id, "running", within=FIRST_BUILD)
    task = await member.task_is(task_id, "completed")
    assert task["result"]["image"].startswith("sha256:")
    revision = (await member.get(f"/api/v1/deployments/{deployment_id}/revisions")).json()["revisions"][0]
    assert revision["image"] == task["result"]["image"]
    told = await member.post(f"/mcp/{mcp['slug']}/v1/tools/get_current_time", json={"timezone": "UTC"})
    assert told.status_code == 200, told.text
    for container in containers_of(docker_engine, platform.settings):
        assert container.attrs["Image"] == revision["image"]
        assert container.attrs["Config"]["User"] == platform.settings.docker.user

    # A restart runs the same image: nothing is built again.
    restarted = await member.post(f"/api/v1/deployments/{deployment_id}/restart")
    assert restarted.status_code == 202, restarted.text
    done = await eventually(
        lambda: member.deployment(deployment_id),
        lambda seen: seen["revision"] == 2 and seen["status"] == "running",
    )
    before = {replica["container"] for replica in running["replicas"]}
    assert before.isdisjoint(replica["container"] for replica in done["replicas"])
    assert done["build_task_id"] is None


@pytest.mark.timeout(FIRST_BUILD + 60)
async def test_what_cannot_be_built_fails_with_the_step_and_a_mended_version_takes_its_place(
    platform: RunningPlatform, docker_engine: DockerEngine, admin: Caller, time_image: str
) -> None:
    bad = {"name": "bad", "command": "uvx", "args": ["no-such-package-of-anybody-12345"]}
    mcp = await admin.register_mcp({"servers": [bad]})
    order = {"tool_id": mcp["id"], "config": {"driver": "docker"}}
    deployment_id = (await admin.post("/api/v1/deployments", json=order)).json()["deployment_id"]
    failed = await admin.deployment_is(deployment_id, "failed", within=FIRST_BUILD)
    assert "could not be built" in failed["reason"]
    assert "no-such-package-of-anybody-12345" in failed["reason"]
    assert containers_of(docker_engine, platform.settings) == []
    mended = {"version": "1.0.1", "config": {"servers": [boxed(time_image)]}}
    assert (await admin.put(f"/api/v1/mcps/{mcp['id']}", json=mended)).status_code == 200
    answer = await admin.post("/api/v1/deployments", json={"tool_id": mcp["id"]})
    assert answer.status_code == 202, answer.text
    assert answer.json()["deployment_id"] == deployment_id
    await admin.deployment_is(deployment_id, "running")


def services_of(engine: DockerEngine, platform: RunningPlatform) -> list[Service]:
    """List a platform's services."""
    label = f"{INSTANCE_LABEL}={platform.settings.instance_id}"
    return list(engine.client.services.list(filters={"label": label}))


async def test_a_swarms_replica_that_is_killed_comes_back_and_nothing_is_left_at_the_end(
    platform: RunningPlatform, docker_swarm: DockerEngine, admin: Caller, time_image: str
) -> None:
    mcp = await admin.register_mcp({"servers": [boxed(time_image)]})
    order = {"tool_id": mcp["id"], "config": {"driver": "swarm", "replicas": 2}}
    # The worker looks at its engine every few seconds, and the swarm is new.
    answer = await eventually(
        lambda: admin.post("/api/v1/deployments", json=order), lambda answer: answer.status_code == 202
    )
    deployment_id = answer.json()["deployment_id"]
    running = await admin.deployment_is(deployment_id, "running")
    before = sum(replica["restarts"] for replica in running["replicas"])
    assert len(services_of(docker_swarm, platform)) == 2
    victim = services_of(docker_swarm, platform)[0].tasks(filters={"desired-state": "running"})[0]
    os.kill(victim["Status"]["ContainerStatus"]["PID"], signal.SIGKILL)
    await eventually(
        lambda: admin.deployment(deployment_id),
        lambda seen: seen["status"] == "running" and sum(r["restarts"] for r in seen["replicas"]) > before,
    )
    for _ in range(4):
        said = await admin.post(f"/mcp/{mcp['slug']}/v1/tools/say", json={})
        assert said.status_code == 200, said.text
    stopped = await admin.delete(f"/api/v1/deployments/{deployment_id}")
    assert stopped.status_code == 200, stopped.text
    assert services_of(docker_swarm, platform) == []
