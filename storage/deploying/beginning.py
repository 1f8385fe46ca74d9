"""Beginning a deployment, and rolling one out: the record first, then the workflow that owns it."""

from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid4

from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentOrder,
    DeploymentState,
    Health,
    Revision,
    RevisionContent,
    RolloutOrder,
)
from mcp_platform.contracts.mcps import Mcp
from mcp_platform.errors import Conflict
from mcp_platform.names import Channel
from mcp_platform.settings import Settings
from storage.stores import Stores


class Keeper(Protocol):
    """Starts the workflows that own deployments, and asks them for changes."""

    async def start(self, order: DeploymentOrder, summary: str) -> None:
        """Start the workflow of a deployment; one that runs already is success."""
        ...

    async def roll_out(self, deployment_id: UUID, request: RolloutOrder) -> Revision:
        """Have a deployment rolled out.

        Raises:
            Conflict: Another change goes on, or the deployment is stopped.
            Unavailable: No worker has carried it out yet.
        """
        ...


async def begin(
    stores: Stores,
    settings: Settings,
    keeper: Keeper,
    caller: Principal,
    mcp: Mcp,
    content: RevisionContent,
    deployment_id: UUID | None = None,
) -> Deployment:
    """Run an MCP that is not deployed; its workflow keeps the replicas alive from now on.

    Args:
        stores: Where the wish is recorded.
        settings: How replicas are started and checked.
        keeper: Starts the workflow.
        caller: Whose deployment it will be.
        mcp: What is deployed.
        content: What its first revision runs.
        deployment_id: The id it gets, so that doing it twice is done once.

    Raises:
        Conflict: Its slug is deployed already, or it is being deleted.
    """
    deployment = _wish(caller, mcp, content, deployment_id or uuid4())
    # The row is the wish: if we die before the workflow starts, the reconciliation starts it.
    async with stores.write() as rows:
        await rows.deployments.add(deployment, content)
    await keeper.start(
        settings.replicas.order_for(deployment, content),
        f"{mcp.slug} in {content.config.environment}, by the {content.driver} driver",
    )
    # Or a call within the next moments would be told that there is no such MCP.
    await stores.publish(Channel.ROUTES, {"slug": mcp.slug})
    return deployment


async def roll_out(
    stores: Stores,
    settings: Settings,
    keeper: Keeper,
    deployment: Deployment,
    content: RevisionContent,
    replicas: int | None = None,
) -> Revision:
    """Begin to replace a deployment's replicas by ones that run this.

    Raises:
        Conflict: Another change goes on, the deployment is stopped, or its MCP is being deleted.
        Unavailable: No worker has carried it out yet.
    """
    async with stores.read() as rows:
        task_id = await rows.mcps.being_deleted(deployment.mcp_id)
    if task_id:
        raise Conflict("The MCP is being deleted", resource_type="mcp_tool", task_id=task_id)
    wish = deployment.model_copy(update={"driver": content.driver, "config": content.config})
    request = RolloutOrder(order=settings.replicas.order_for(wish, content), replicas=replicas)
    return await keeper.roll_out(deployment.id, request)


def _wish(caller: Principal, mcp: Mcp, content: RevisionContent, deployment_id: UUID) -> Deployment:
    return Deployment(
        id=deployment_id,
        mcp_id=mcp.id,
        slug=mcp.slug,
        tool_name=mcp.name,
        version=mcp.version,
        owner_id=caller.user_id,
        driver=content.driver,
        config=content.config,
        config_key=mcp.config_key,
        status=DeploymentState.STARTING,
        health_status=Health.UNKNOWN,
        deployed_at=datetime.now(UTC),
    )
