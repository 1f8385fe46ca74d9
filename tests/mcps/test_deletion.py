"""Deleting MCPs that are deployed: the deployment first, and nothing new in between."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.deployments.servers import IGNORES_SIGTERM, TIME
from tests.deployments.test_deployments import processes_of
from tests.platform import Caller, RunningPlatform


@pytest.fixture
async def admin(platform: RunningPlatform) -> AsyncIterator[Caller]:
    """Give the administrator, whose deployments are stopped after the test."""
    async with platform.deployer() as caller:
        yield caller


async def test_a_forced_deletion_stops_the_deployment_and_then_deletes(admin: Caller) -> None:
    started = await admin.deploy(TIME)
    running = await admin.deployment_is(started["deployment_id"], "running")
    path = f"/api/v1/mcps/{started['tool_id']}"
    refused = await admin.delete(path)
    assert (refused.status_code, refused.json()["deployment_id"]) == (409, started["deployment_id"])
    assert started["deployment_id"] in refused.json()["detail"]
    accepted = await admin.delete(path, params={"force": True})
    assert accepted.status_code == 202
    assert set(accepted.json()) == {"message", "id", "task_id"}
    task = await admin.task_is(accepted.json()["task_id"], "completed")
    assert task["result"] == {"id": started["tool_id"]}
    assert (await admin.get(path)).status_code == 404
    assert processes_of(running) == []
    assert (await admin.deployment(started["deployment_id"]))["status"] == "stopped"


async def test_without_a_deployment_force_just_deletes(platform: RunningPlatform) -> None:
    member = await platform.member()
    mcp = await member.register_mcp({})
    answer = await member.delete(f"/api/v1/mcps/{mcp['id']}", params={"force": True})
    assert answer.status_code == 200
    assert answer.json() == {"message": "MCP tool deleted successfully", "id": mcp["id"]}


async def test_while_an_mcp_is_being_deleted_it_is_not_deployed_again(admin: Caller) -> None:
    # It takes its time to end, so that there is an in between.
    started = await admin.deploy(IGNORES_SIGTERM)
    await admin.deployment_is(started["deployment_id"], "running")
    path = f"/api/v1/mcps/{started['tool_id']}"
    accepted = await admin.delete(path, params={"force": True})
    again, deployed = await asyncio.gather(
        admin.delete(path, params={"force": True}),
        admin.post("/api/v1/deployments", json={"tool_id": started["tool_id"]}),
    )
    assert (again.status_code, again.json()["task_id"]) == (202, accepted.json()["task_id"])
    assert deployed.status_code == 409
    assert deployed.json()["task_id"] == accepted.json()["task_id"]
    await admin.task_is(accepted.json()["task_id"], "completed")
    after = await admin.post("/api/v1/deployments", json={"tool_id": started["tool_id"]})
    assert (after.status_code, after.json()["resource_type"]) == (404, "mcp_tool")


async def test_a_cancelled_deletion_leaves_the_mcp_to_be_deployed_again(admin: Caller) -> None:
    started = await admin.deploy(IGNORES_SIGTERM)
    await admin.deployment_is(started["deployment_id"], "running")
    accepted = await admin.delete(f"/api/v1/mcps/{started['tool_id']}", params={"force": True})
    task_id = accepted.json()["task_id"]
    await admin.deployment_is(started["deployment_id"], "stopping")
    cancelled = await admin.post(f"/api/v1/tasks/{task_id}/cancel")
    assert cancelled.status_code == 202, cancelled.text
    await admin.task_is(task_id, "cancelled")
    await admin.deployment_is(started["deployment_id"], "stopped")
    again = await admin.post("/api/v1/deployments", json={"tool_id": started["tool_id"]})
    assert again.status_code == 202, again.text


async def test_only_who_may_stop_the_deployment_may_force(platform: RunningPlatform, admin: Caller) -> None:
    author = await platform.member()
    mcp = await author.register_mcp({"servers": [TIME]})
    started = await admin.post("/api/v1/deployments", json={"tool_id": mcp["id"]})
    await admin.deployment_is(started.json()["deployment_id"], "running")
    answer = await author.delete(f"/api/v1/mcps/{mcp['id']}", params={"force": True})
    assert (answer.status_code, answer.json()["required_permission"]) == (403, "deployments:process")
    assert (await admin.deployment(started.json()["deployment_id"]))["status"] == "running"
