"""What cannot run in a container: each has an error of its own, and leaves nothing behind."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.healing.wounds import boxed, containers_of, nothing_is_left, platform_on
from tests.platform import Caller, RunningPlatform
from tests.services.docker import DockerEngine
from tests.services.docker_images import for_another_processor
from tests.waiting import eventually, in_one_task


@pytest.fixture(scope="module")
async def platform(
    tmp_path_factory: pytest.TempPathFactory,
    temporal_environment: WorkflowEnvironment,
    docker_engine: DockerEngine,
) -> AsyncIterator[RunningPlatform]:
    """Give a platform whose containers run on the session's engine."""
    folder = tmp_path_factory.mktemp("bad-images")
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


async def fails(admin: Caller, server: dict[str, Any], told: str = "") -> str:
    """Deploy a server, and wait until that has failed for a reason with one of these words; the reason.

    The first attempt may end with another one where the machine stood still in its last second.
    """
    started = await admin.deploy(server)
    # While it waits for the next attempt, nothing of it is there.
    failed = await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: (
            seen["status"] == "failed" and re.search(f"(?s){told}.*trying again after", seen["reason"] or "")
        ),
    )
    return str(failed["reason"])


async def test_an_unknown_image_is_named(
    admin: Caller, platform: RunningPlatform, docker_engine: DockerEngine
) -> None:
    reason = await fails(admin, {"name": "box", "image": "127.0.0.1:1/no-such-image:1"})
    assert "the image 127.0.0.1:1/no-such-image:1 cannot be pulled" in reason
    assert containers_of(docker_engine, platform.settings) == []


async def test_an_image_for_another_processor_is_told(admin: Caller, docker_engine: DockerEngine) -> None:
    reason = await fails(admin, {"name": "box", "image": for_another_processor(docker_engine.client)})
    assert "the engine's machine is" in reason


async def test_a_port_that_nothing_listens_on_is_named(admin: Caller, time_image: str) -> None:
    await fails(admin, boxed(time_image) | {"port": 9999}, "nothing listens on port 9999 in the container")


async def test_a_path_where_no_mcp_is_spoken_is_told(admin: Caller, time_image: str) -> None:
    server = boxed(time_image) | {"path": "/elsewhere"}
    await fails(admin, server, "did not answer within 8 s.*(404|MCP)")


@pytest.mark.parametrize(
    ("resources", "field"), [({"memory": "9000Gi"}, "memory"), ({"cpu": "900"}, "cpu")], ids=["memory", "cpu"]
)
async def test_more_than_the_machine_has_is_refused_with_what_it_has(
    admin: Caller, time_image: str, resources: dict[str, str], field: str
) -> None:
    mcp = await admin.register_mcp({"servers": [boxed(time_image)]})
    order = {"tool_id": mcp["id"], "config": {"resources": resources}}
    refused = await eventually(
        lambda: admin.post("/api/v1/deployments", json=order), lambda answer: answer.status_code == 422
    )
    (problem,) = refused.json()["detail"]
    assert problem["loc"] == ["body", "config", "resources", field]
    assert "is more than any machine of the docker driver has" in problem["msg"]
