"""A platform that is killed in the middle of each step: containers live on, and what was asked comes true."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mcp_platform.settings import Settings
from tests.end_to_end.programs import Platform, temporal_of
from tests.healing.wounds import boxed, containers_of, healed, nothing_is_left
from tests.images.builds import FIRST_BUILD
from tests.images.conftest import docker_settings
from tests.platform import Caller
from tests.services.docker import DockerEngine
from tests.waiting import eventually

Begin = Callable[[Caller, dict[str, Any], str], Awaitable[int]]
"""Asks for a change of a deployment of two replicas; how many there are to be when all is over."""


# Each of its platform's starts has almost two minutes of its own.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def mortal(
    tmp_path_factory: pytest.TempPathFactory, docker_engine: DockerEngine, node_image: str
) -> AsyncIterator[Platform]:
    """Give the platform that these tests kill; each leaves it running."""
    data = tmp_path_factory.mktemp("mortal") / "data"
    trusted = docker_settings(docker_engine, node_image).build_ca_path
    platform = Platform(
        data,
        MCP_PLATFORM_DOCKER__HOST=docker_engine.host,
        MCP_PLATFORM_DOCKER__PYTHON_IMAGE=node_image,
        **({"MCP_PLATFORM_DOCKER__BUILD_CA_PATH": str(trusted)} if trusted else {}),
        MCP_PLATFORM_LIMITS__USER="1000000",
        MCP_PLATFORM_LIMITS__ADMIN="1000000",
    )
    await platform.start()
    yield platform
    await platform.close()


@pytest.fixture
def settings(mortal: Platform) -> Settings:
    """Give what tells the platform's containers."""
    return Settings(data_dir=mortal.data_dir)


@pytest.fixture
async def admin(mortal: Platform, settings: Settings, docker_engine: DockerEngine) -> AsyncIterator[Caller]:
    """Give the administrator; after the test all is stopped, and nothing is left."""
    await mortal.restore()
    caller = await mortal.admin()
    yield caller
    await mortal.restore()
    for entry in (await caller.get("/api/v1/deployments")).json()["deployments"]:
        await caller.delete(f"/api/v1/deployments/{entry['deployment_id']}")
    await nothing_is_left(docker_engine, settings)


async def rolls_out(admin: Caller, started: dict[str, Any], image: str) -> int:
    """Begin a roll-out, and return when its first replica is being started."""
    order = {"version": "2.0.0", "config": {"servers": [boxed(image, "two")]}}
    answer = await admin.put(f"/api/v1/mcps/{started['tool_id']}", json=order)
    assert answer.status_code == 200, answer.text
    path = f"/api/v1/deployments/{started['deployment_id']}"
    answer = await admin.post(f"{path}/rollout")
    assert answer.status_code == 202, answer.text
    await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: any(replica["revision"] == 2 for replica in seen["replicas"]),
    )
    return 2


async def grows(admin: Caller, started: dict[str, Any], image: str) -> int:
    """Ask for a third replica."""
    answer = await admin.patch(f"/api/v1/deployments/{started['deployment_id']}", json={"replicas": 3})
    assert answer.status_code == 200, answer.text
    return 3


async def rests(admin: Caller, started: dict[str, Any], image: str) -> int:
    """Ask for nothing."""
    return 2


@pytest.mark.parametrize("begin", [rests, grows, rolls_out])
async def test_killed_in_the_middle_of_a_change_it_is_carried_out_after_the_restart(
    mortal: Platform,
    admin: Caller,
    settings: Settings,
    docker_engine: DockerEngine,
    time_image: str,
    begin: Begin,
) -> None:
    started = await admin.deploy(boxed(time_image), replicas=2)
    before = await healed(admin, docker_engine, settings, started, 2)
    wished = await begin(admin, started, time_image)
    await mortal.kill()
    # What a gateway elsewhere would go on to call.
    alive = {str(each.id)[:12] for each in containers_of(docker_engine, settings, everything=False)}
    kept = {replica["container"][:12] for replica in before["replicas"]}
    assert len(kept & alive) >= 1
    await mortal.start()
    after = await healed(admin, docker_engine, settings, started, wished)
    if begin is rolls_out:
        assert {replica["revision"] for replica in after["replicas"]} == {2}
        assert after["version"] == "2.0.0"
    else:
        # Taken up as they were, not started anew.
        assert kept <= {replica["container"][:12] for replica in after["replicas"]}


@pytest.mark.timeout(FIRST_BUILD * 2 + 120)
async def test_killed_while_an_image_is_built_it_is_built_and_runs_after_the_restart(
    mortal: Platform, admin: Caller, settings: Settings, docker_engine: DockerEngine
) -> None:
    build = {"requirements": "mcp-server-time==2026.10.19\n"}
    server = {"name": "clock", "command": "mcp-server-time", "build": build}
    mcp = await admin.register_mcp({"servers": [server]})
    order = {"tool_id": mcp["id"], "config": {"driver": "docker"}}
    answer = await admin.post("/api/v1/deployments", json=order)
    assert answer.status_code == 202, answer.text
    deployment_id = answer.json()["deployment_id"]
    task_id = (await admin.deployment_is(deployment_id, "building"))["build_task_id"]

    async def step() -> str:
        task = await admin.get(f"/api/v1/tasks/{task_id}")
        return str(task.json().get("message", ""))

    # In the middle of the build itself, as its steps are told.
    await eventually(step, lambda message: "step" in message.lower() or "install" in message.lower())
    await mortal.kill()
    await mortal.start()
    await admin.deployment_is(deployment_id, "running", within=FIRST_BUILD * 2)
    tool = f"/mcp/{mcp['slug']}/v1/tools/get_current_time"
    assert (await admin.post(tool, json={"timezone": "UTC"})).status_code == 200
    assert (await admin.task_is(task_id, "completed"))["result"]["source"] == "requirements"
    assert len(containers_of(docker_engine, settings)) == 1


async def test_killed_while_containers_start_exactly_the_wished_ones_run(
    mortal: Platform,
    admin: Caller,
    settings: Settings,
    docker_engine: DockerEngine,
    time_image: str,
) -> None:
    started = await admin.deploy(boxed(time_image), replicas=3)
    await eventually(lambda: asyncio.to_thread(containers_of, docker_engine, settings))
    await mortal.kill()
    await mortal.begin()
    await eventually(lambda: asyncio.to_thread(temporal_of, mortal.data_dir))
    await mortal.kill()
    await mortal.start()
    await healed(admin, docker_engine, settings, started, 3)


async def test_killed_while_it_stops_nothing_is_left_after_the_restart(
    mortal: Platform,
    admin: Caller,
    settings: Settings,
    docker_engine: DockerEngine,
    time_image: str,
) -> None:
    started = await admin.deploy(boxed(time_image), replicas=2)
    await healed(admin, docker_engine, settings, started, 2)
    stopping = asyncio.create_task(admin.delete(f"/api/v1/deployments/{started['deployment_id']}"))
    # Whoever looks late sees that it has stopped already.
    await admin.deployment_is(started["deployment_id"], "stopping", "stopped")
    await mortal.kill()
    await asyncio.gather(stopping, return_exceptions=True)
    await mortal.start()
    await admin.deployment_is(started["deployment_id"], "stopped")
    await nothing_is_left(docker_engine, settings)


async def test_the_machine_rebooted_all_containers_and_the_platform_are_gone_at_once_and_come_back(
    mortal: Platform,
    admin: Caller,
    settings: Settings,
    docker_engine: DockerEngine,
    time_image: str,
) -> None:
    started = await admin.deploy(boxed(time_image), replicas=2)
    await healed(admin, docker_engine, settings, started, 2)
    await mortal.kill()
    # In this thread: an engine ends with the thread that started it.
    docker_engine.restart()
    await mortal.start()
    await healed(admin, docker_engine, settings, started, 2)
