"""Ending a connection: what runs for it, its webhook, its token."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.github_sync.connections import ConnectionActivities
from mcp_platform.contracts.connecting import DisconnectOrder, HookRemoval
from mcp_platform.contracts.tasks import TaskStatus
from workflows.policies import LEAVING, QUICK
from workflows.tasks import TaskWorkflow


@workflow.defn(name="github.disconnect")
class DisconnectWorkflow(TaskWorkflow):
    """Stop the syncs, remove the webhook as far as GitHub lets us, forget the token; the MCPs stay.

    The token is forgotten whatever GitHub says, and also when the task is cancelled.
    """

    @workflow.run
    async def run(self, order: DisconnectOrder) -> TaskStatus:
        """Answer with the final status, whose result says what is left to do by hand."""
        return await self._carry_out(lambda: self._steps(order))

    async def _steps(self, order: DisconnectOrder) -> dict[str, Any]:
        try:
            removal = await self._at_github(order)
        except (ActivityError, asyncio.CancelledError) as error:
            if is_cancelled_exception(error):
                await self._forget(order)
            raise
        await self._forget(order)
        return {"connection_id": str(order.connection_id), "left": removal.left}

    async def _at_github(self, order: DisconnectOrder) -> HookRemoval:
        self._advance(10, "Stopping what runs for it")
        await workflow.execute_activity_method(ConnectionActivities.stop_syncs, order.connection_id, **QUICK)
        self._advance(40, "Removing the webhook")
        try:
            return await workflow.execute_activity_method(
                ConnectionActivities.remove_hook, order.connection_id, **LEAVING
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return await workflow.execute_activity_method(
                ConnectionActivities.left_hook, order.connection_id, **QUICK
            )

    async def _forget(self, order: DisconnectOrder) -> None:
        self._advance(80, "Forgetting the token")
        await workflow.execute_activity_method(ConnectionActivities.forget, order.connection_id, **QUICK)
