"""Connecting a repository, and changing a connection: all of it, or nothing."""

import asyncio
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.github_sync.connections import ConnectionActivities
from mcp_platform.contracts.connecting import ConnectOrder, ConnectOutcome
from mcp_platform.contracts.repositories import FaultKind
from workflows.cancelling import is_cancelled
from workflows.failures import reason_of
from workflows.policies import CONNECTING, LEAVING, QUICK

_CALLED_OFF: Final = ConnectOutcome(fault=FaultKind.UNAVAILABLE, message="It was called off")


@workflow.defn(name="github.connect")
class ConnectWorkflow:
    """Ask GitHub, install the webhook, then show the connection; what fails is taken back."""

    @workflow.init
    def __init__(self, order: ConnectOrder) -> None:
        self._outcome: ConnectOutcome | None = None
        self._hook = False
        """Whether a webhook may have been made."""

    @workflow.update
    async def answered(self) -> ConnectOutcome:
        """Wait until it is connected, or cannot be: what is taken back then is not waited for."""
        await workflow.wait_condition(lambda: self._outcome is not None)
        assert self._outcome is not None
        return self._outcome

    @workflow.run
    async def run(self, order: ConnectOrder) -> ConnectOutcome:
        """Answer with what came of it."""
        try:
            outcome = await self._steps(order)
            if is_cancelled():
                raise asyncio.CancelledError
            self._outcome = outcome
        except (ActivityError, asyncio.CancelledError) as error:
            if is_cancelled_exception(error):
                self._outcome = _CALLED_OFF
                await self._take_back(order)
                await workflow.wait_condition(workflow.all_handlers_finished)
                raise
            self._outcome = ConnectOutcome(fault=FaultKind.UNAVAILABLE, message=reason_of(error))
        if not self._outcome.good:
            await self._take_back(order)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._outcome

    async def _steps(self, order: ConnectOrder) -> ConnectOutcome:
        examined = await workflow.execute_activity_method(ConnectionActivities.examine, order, **CONNECTING)
        if not examined.good:
            return examined
        # Also where none is seen to be: its answer may be lost.
        self._hook = order.replaces is None
        made = await workflow.execute_activity_method(ConnectionActivities.complete, order, **CONNECTING)
        return made.model_copy(update={"warnings": examined.warnings})

    async def _take_back(self, order: ConnectOrder) -> None:
        if self._hook:
            try:
                await workflow.execute_activity_method(
                    ConnectionActivities.remove_hook, order.connection_id, **LEAVING
                )
            except ActivityError as error:
                workflow.logger.warning("webhook_not_taken_back: %s", reason_of(error))
        await workflow.execute_activity_method(ConnectionActivities.forget, order.connection_id, **QUICK)
