"""What operators see of deployments in Temporal, and what gateways see of replicas counts at once."""

import os
import signal
from typing import Any

import psutil
from temporalio.api.sdk.v1 import WorkflowMetadata

from mcp_platform.names import Channel
from tests.deployments.servers import LEAVES_AT_ONCE, tiny
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually


async def found(platform: RunningPlatform, query: str) -> list[str]:
    """List the ids of the workflows that a search of Temporal's web UI shows."""
    return [run.id async for run in platform.parts.temporal.list_workflows(query)]


async def test_temporal_lists_deployments_by_status_environment_driver_and_owner(
    admin: Caller, platform: RunningPlatform
) -> None:
    mcp = await admin.register_mcp({"servers": [LEAVES_AT_ONCE]})
    order = {"tool_id": mcp["id"], "config": {"environment": "staging"}}
    failing = (await admin.post("/api/v1/deployments", json=order)).json()["deployment_id"]
    well = await admin.deploy(tiny("one"))
    await admin.deployment_is(failing, "failed")
    await admin.deployment_is(well["deployment_id"], "running")
    owner = (await admin.get("/api/v1/auth/me")).json()["id"]
    common = f"WorkflowType = 'deployments.run' AND McpDriver = 'process' AND McpOwner = '{owner}'"
    await eventually(
        lambda: found(platform, f"{common} AND McpStatus = 'failed' AND McpEnvironment = 'staging'"),
        lambda ids: ids == [f"deployment-{failing}"],
    )
    await eventually(
        lambda: found(platform, f"{common} AND McpStatus = 'running' AND McpSlug = '{well['slug']}'"),
        lambda ids: ids == [f"deployment-{well['deployment_id']}"],
    )
    await admin.delete(f"/api/v1/deployments/{failing}")
    await eventually(
        lambda: found(platform, f"McpStatus = 'stopped' AND McpSlug = '{mcp['slug']}'"),
        lambda ids: ids == [f"deployment-{failing}"],
    )


async def test_a_workflows_details_say_the_state_in_words(admin: Caller, platform: RunningPlatform) -> None:
    started = await admin.deploy(tiny("one"), replicas=2)
    await admin.deployment_is(started["deployment_id"], "running")
    handle = platform.parts.temporal.get_workflow_handle(f"deployment-{started['deployment_id']}")
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    details = metadata.current_details
    assert f"**{started['slug']}** in production: **running**, 2 of 2 replicas answer." in details
    assert "- replica 1, revision 1: healthy" in details
    description = await handle.describe()
    assert await description.static_summary() == f"{started['slug']} in production, by the process driver"


async def test_a_failed_call_brings_the_next_check_about_and_counts_as_one(
    admin: Caller, platform: RunningPlatform
) -> None:
    mcp = await admin.register_mcp({"servers": [tiny("one")]})
    # By itself the platform would notice after two minutes.
    health = {"interval": 60, "timeout": 1, "failures_allowed": 2}
    answer = await admin.post(
        "/api/v1/deployments", json={"tool_id": mcp["id"], "config": {"health": health}}
    )
    deployment_id = answer.json()["deployment_id"]
    seen = await admin.deployment_is(deployment_id, "running")
    (replica,) = seen["replicas"]
    server = psutil.Process(replica["pid"]).children()[0]
    os.kill(server.pid, signal.SIGSTOP)
    trouble = {"replica_id": replica["id"], "kind": "timeout"}
    healed = await eventually(
        lambda: _after(platform, trouble, admin, deployment_id),
        lambda seen: seen["status"] == "running" and seen["replicas"][0]["pid"] != replica["pid"],
    )
    assert healed["replicas"][0]["restarts"] == 1
    entries = (await admin.get("/api/v1/audit", params={"resource_id": deployment_id})).json()["entries"]
    reasons = [str(entry["details"].get("reason")) for entry in entries]
    assert any("2 checks in a row failed: no answer to tools/list" in reason for reason in reasons), reasons
    assert any("calls to it were timeout" in reason for reason in reasons), reasons


async def _after(
    platform: RunningPlatform, trouble: dict[str, str], admin: Caller, deployment_id: str
) -> dict[str, Any]:
    """Tell what gateways tell, and read the deployment."""
    seen = await admin.deployment(deployment_id)
    if seen["replicas"][0]["id"] == trouble["replica_id"] and not seen["replicas"][0]["restarts"]:
        await platform.parts.stores.publish(Channel.TROUBLE, trouble)
    return seen
