"""Deployments without a workflow, and workflows that were ended from outside."""

from datetime import timedelta
from uuid import UUID

from mcp_platform.names import deployment_workflow_id
from tests.deployments.servers import TIME
from tests.platform import Caller, RunningPlatform
from tests.worker.states import reconcile, record_wish

LONG_AGO = timedelta(minutes=5)


async def stop(caller: Caller, deployment_id: str) -> None:
    """Stop a deployment."""
    answer = await caller.delete(f"/api/v1/deployments/{deployment_id}")
    assert answer.status_code == 200, answer.text


async def test_a_wish_whose_workflow_was_never_started_is_fulfilled(platform: RunningPlatform) -> None:
    admin = await platform.admin()
    deployment_id = await record_wish(platform, admin, TIME, LONG_AGO)
    await reconcile(platform)
    running = await admin.deployment_is(deployment_id, "running")
    assert [replica["state"] for replica in running["replicas"]] == ["healthy"]
    again = await reconcile(platform)
    assert UUID(deployment_id) not in [order.deployment_id for order in again.deployments_to_start]
    await stop(admin, deployment_id)


async def test_a_wish_that_was_just_recorded_is_left_to_its_request(platform: RunningPlatform) -> None:
    admin = await platform.admin()
    deployment_id = await record_wish(platform, admin, TIME, timedelta(0))
    found = await reconcile(platform)
    assert UUID(deployment_id) not in [order.deployment_id for order in found.deployments_to_start]
    assert (await admin.deployment(deployment_id))["status"] == "starting"


async def test_a_deployment_terminated_in_temporal_is_recorded_as_stopped_with_the_reason(
    platform: RunningPlatform,
) -> None:
    admin = await platform.admin()
    deployment_id = await record_wish(platform, admin, TIME, LONG_AGO)
    await reconcile(platform)
    await admin.deployment_is(deployment_id, "running")
    workflow_id = deployment_workflow_id(UUID(deployment_id))
    await platform.parts.temporal.get_workflow_handle(workflow_id).terminate("by an operator")
    await reconcile(platform)
    stopped = await admin.deployment_is(deployment_id, "stopped")
    assert stopped["reason"] == "its workflow was ended from outside (terminated)"
    slug_is_free = await admin.post("/api/v1/deployments", json={"tool_id": stopped["tool_id"]})
    assert slug_is_free.status_code == 202
    await stop(admin, slug_is_free.json()["deployment_id"])
