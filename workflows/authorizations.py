"""An authorization of the platform at a remote server, from the wish for it until its end."""

from datetime import timedelta
from typing import Final

from temporalio import workflow

from activities.authorizations import AuthorizationActivities
from mcp_platform.contracts.oauth import AuthorizationOrder, AuthorizationState, AuthorizationStep
from workflows.policies import QUICK, REFRESHING

_PATIENCE: Final = timedelta(minutes=15)
"""How long somebody has to agree."""
_LOOK_EVERY: Final = 86_400.0
"""Seconds after which it is looked whether a token that lasts for long is still wanted."""
_OPEN: Final = frozenset({AuthorizationState.PREPARING, AuthorizationState.PENDING})


@workflow.defn(name="authorizations.keep")
class AuthorizationWorkflow:
    """Prepare it, wait until somebody agrees, then refresh its token for as long as that goes.

    It alone refreshes: a refresh token that two used would end the authorization.
    """

    @workflow.init
    def __init__(self, order: AuthorizationOrder) -> None:
        self._step = order.refreshed or AuthorizationStep(state=AuthorizationState.PREPARING)
        self._answered = False
        self._ended = False

    @workflow.query(name="authorizations.step")
    def step(self) -> AuthorizationStep:
        """Tell where it stands."""
        return self._step

    @workflow.update
    async def prepared(self) -> AuthorizationStep:
        """Wait until the remote authorization server is known, or cannot be."""
        await workflow.wait_condition(lambda: self._step.state is not AuthorizationState.PREPARING)
        return self._step

    @workflow.update
    async def settled(self) -> AuthorizationStep:
        """Hear that somebody agreed, or refused, and wait until it is clear what came of it."""
        self._answered = True
        await workflow.wait_condition(lambda: self._step.state not in _OPEN)
        return self._step

    @workflow.signal(name="authorizations.end")
    def end(self) -> None:
        """Hear that it is not wanted any more."""
        self._ended = True

    @workflow.run
    async def run(self, order: AuthorizationOrder) -> AuthorizationStep:
        """Answer with how it ended."""
        if order.refreshed is None:
            await self._begin(order)
        while self._step.state is AuthorizationState.ACTIVE and await self._goes_on():
            left = self._step.refresh_in
            due = left is not None and left <= _LOOK_EVERY
            self._step = await workflow.execute_activity_method(
                AuthorizationActivities.refresh if due else AuthorizationActivities.look,
                order.authorization_id,
                **REFRESHING,
            )
            if workflow.info().is_continue_as_new_suggested() and not self._ended:
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(
                    AuthorizationOrder(authorization_id=order.authorization_id, refreshed=self._step)
                )
        if self._ended:
            await workflow.execute_activity_method(
                AuthorizationActivities.give_back, order.authorization_id, **QUICK
            )
            self._step = AuthorizationStep(state=AuthorizationState.ENDED)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._step

    async def _begin(self, order: AuthorizationOrder) -> None:
        self._step = await workflow.execute_activity_method(
            AuthorizationActivities.prepare, order.authorization_id, **REFRESHING
        )
        if self._step.state is not AuthorizationState.PENDING:
            return
        try:
            await workflow.wait_condition(lambda: self._answered or self._ended, timeout=_PATIENCE)
        except TimeoutError:
            await workflow.execute_activity_method(
                AuthorizationActivities.give_up, order.authorization_id, **QUICK
            )
            self._step = AuthorizationStep(state=AuthorizationState.FAILED, detail="Nobody agreed in time")
            return
        if not self._ended:
            self._step = await workflow.execute_activity_method(
                AuthorizationActivities.exchange, order.authorization_id, **REFRESHING
            )
        for number in self._step.replaced:
            await workflow.execute_activity_method(AuthorizationActivities.give_back, number, **QUICK)
        if self._step.state in _OPEN and not self._ended:
            self._step = AuthorizationStep(state=AuthorizationState.FAILED, detail="No code came back")

    async def _goes_on(self) -> bool:
        """Wait until the token is to be refreshed, or looked at; false when it is ended before."""
        left = self._step.refresh_in
        seconds = _LOOK_EVERY if left is None else min(left, _LOOK_EVERY)
        try:
            await workflow.wait_condition(lambda: self._ended, timeout=timedelta(seconds=seconds))
        except TimeoutError:
            return True
        return False
