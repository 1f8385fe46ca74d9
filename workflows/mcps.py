"""Deleting an MCP that is deployed: its deployment first."""

from typing import Any

from temporalio import workflow

from activities.mcps import McpActivities
from mcp_platform.contracts.mcps import DeleteMcpOrder
from mcp_platform.contracts.tasks import TaskStatus
from workflows.policies import READING, STOPPING
from workflows.tasks import TaskWorkflow


@workflow.defn(name="mcps.delete")
class DeleteMcpWorkflow(TaskWorkflow):
    """Stop the deployment, wait until it is gone, delete the MCP.

    While this runs no deployment of the MCP can begin. A failure or a cancellation leaves the MCP.
    """

    @workflow.run
    async def run(self, order: DeleteMcpOrder) -> TaskStatus:
        """Answer with the final status, whose result names the MCP."""
        return await self._carry_out(lambda: self._steps(order))

    async def _steps(self, order: DeleteMcpOrder) -> dict[str, Any]:
        self._advance(10, "Stopping the deployment")
        await workflow.execute_activity_method(McpActivities.stop_deployment, order.mcp_id, **STOPPING)
        self._advance(90, "Deleting the MCP")
        await workflow.execute_activity_method(McpActivities.delete, order.mcp_id, **READING)
        return {"id": str(order.mcp_id)}
