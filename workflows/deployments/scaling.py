"""Following the load: as many replicas as it needs, none where nobody calls."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from temporalio import workflow

from activities.autoscaling import AutoscalingActivities
from mcp_platform.contracts.deployments import DeploymentOrder
from mcp_platform.contracts.loads import ObserveOrder, ScaleDecision
from workflows.policies import OBSERVING


class LoadFollower:
    """Asks an observing activity what the number of replicas should be, and has it carried out.

    Args:
        apply: Carries out a decision; what was begun is done, also when the following is ended.
    """

    def __init__(self, apply: Callable[[ScaleDecision], Awaitable[None]]) -> None:
        self._apply = apply
        self._observer: asyncio.Task[None] | None = None
        self._applying: asyncio.Task[None] | None = None
        self._scaled_at: datetime | None = None

    @property
    def observes(self) -> bool:
        """Whether the load is being followed."""
        return self._observer is not None

    @property
    def applies(self) -> bool:
        """Whether a decision is being carried out."""
        return self._applying is not None

    def begin(self, order: DeploymentOrder, replicas: Callable[[], int]) -> None:
        """Follow the load of a deployment, which has so many replicas (0: asleep)."""
        self._observer = asyncio.create_task(self._observe(order, replicas))

    async def end(self) -> None:
        """Follow it no more; a decision that is being carried out is carried out."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.cancel()
            await asyncio.gather(observer, return_exceptions=True)

    async def settled(self) -> None:
        """Return once no decision is being carried out."""
        if self._applying is not None:
            await self._applying

    async def _observe(self, order: DeploymentOrder, replicas: Callable[[], int]) -> None:
        autoscaling = order.autoscaling
        assert autoscaling is not None
        while True:
            now = workflow.now()
            since = (now - self._scaled_at).total_seconds() if self._scaled_at else autoscaling.cool_down
            asked = ObserveOrder(
                deployment_id=order.deployment_id,
                replicas=replicas(),
                autoscaling=autoscaling,
                cool_down_left=max(autoscaling.cool_down - since, 0.0),
                asleep=replicas() == 0,
            )
            decision = await workflow.execute_activity_method(
                AutoscalingActivities.observe, asked, **OBSERVING
            )
            self._applying = asyncio.create_task(self._carry_out(decision))
            await asyncio.shield(self._applying)

    async def _carry_out(self, decision: ScaleDecision) -> None:
        workflow.logger.info("scaling to %d: %s", decision.replicas, decision.reason)
        try:
            await self._apply(decision)
            self._scaled_at = workflow.now()
        finally:
            self._applying = None
