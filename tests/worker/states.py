"""Deployments as a crash would have left them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentConfig,
    DeploymentState,
    Driver,
    Findings,
    Health,
)
from mcp_platform.names import TaskQueue
from tests.platform import Caller, RunningPlatform
from tests.storage.samples import content
from workflows.monitoring import ReconcileWorkflow


async def record_wish(
    platform: RunningPlatform, caller: Caller, server: dict[str, Any], age: timedelta
) -> str:
    """Record the wish for a deployment some time ago, and start no workflow; its id."""
    parts = platform.parts
    created = await caller.register_mcp({"servers": [server]})
    async with parts.stores.read() as rows:
        mcp = await rows.mcps.get(UUID(created["id"]))
    assert mcp is not None
    deployment = Deployment(
        id=uuid4(),
        mcp_id=mcp.id,
        slug=mcp.slug,
        tool_name=mcp.name,
        version=mcp.version,
        owner_id=mcp.author_id,
        driver=Driver.PROCESS if "command" in server else Driver.REMOTE,
        config=DeploymentConfig(server=server["name"]),
        config_key=mcp.config_key,
        status=DeploymentState.STARTING,
        health_status=Health.UNKNOWN,
        deployed_at=datetime.now(UTC) - age,
    )
    async with parts.stores.write() as rows:
        await rows.deployments.add(deployment, content(deployment))
    return str(deployment.id)


async def reconcile(platform: RunningPlatform) -> Findings:
    """Compare records and truth, as the schedule does each minute."""
    return await platform.parts.temporal.execute_workflow(
        ReconcileWorkflow.run, id=f"test-{uuid4()}", task_queue=TaskQueue.ORCHESTRATION
    )
