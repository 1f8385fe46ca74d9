"""Deleting MCPs that are deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from activities.heartbeat import beating
from mcp_platform.contracts.deployments import DeploymentReport, DeploymentState
from mcp_platform.names import Channel, deployment_workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client

    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_STOP = "stop"
"""The signal of `deployments.run`; workflows lie above activities, so it is named here."""


class McpActivities:
    """The steps of a deletion; each may be repeated."""

    def __init__(self, stores: Stores, temporal: Client) -> None:
        self._stores = stores
        self._temporal = temporal

    @activity.defn(name="mcps.stop_deployment")
    async def stop_deployment(self, mcp_id: UUID) -> None:
        """Stop the MCP's deployment and wait until nothing of it runs; finding none is success."""
        async with beating():
            async with self._stores.read() as rows:
                deployment_id = await rows.mcps.deployed(mcp_id)
            if deployment_id is None:
                return
            handle = self._temporal.get_workflow_handle(deployment_workflow_id(deployment_id))
            try:
                await handle.signal(_STOP)
                await handle.result()
            except WorkflowFailureError as error:
                logger.warning("deployment_workflow_ended", error=str(error.cause))
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
            # No workflow ran, or it was ended from outside: the record is all there is to stop.
            await self._settle(deployment_id)

    @activity.defn(name="mcps.delete")
    async def delete(self, mcp_id: UUID) -> None:
        """Remove the MCP and its history; finding none is success."""
        async with self._stores.changing_mcp(mcp_id), self._stores.write() as rows:
            await rows.mcps.delete(mcp_id)
        logger.info("mcp_deleted", mcp_id=str(mcp_id))

    async def _settle(self, deployment_id: UUID) -> None:
        async with self._stores.write() as rows:
            deployment = await rows.deployments.get(deployment_id)
            if deployment is None or deployment.status is DeploymentState.STOPPED:
                return
            await rows.deployments.report(
                DeploymentReport.stopped(deployment, "stopped while no workflow was running it")
            )
        await self._stores.publish(Channel.ROUTES, {"slug": deployment.slug})
