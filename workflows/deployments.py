"""A deployment's life: the wish that an MCP runs with N replicas, kept true until it is stopped."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.deployments import DeploymentActivities
from mcp_platform.contracts.deployments import (
    DeploymentOrder,
    DeploymentReport,
    DeploymentState,
    Health,
    ReplicaOrder,
    ReplicaState,
    ScaleDeployment,
    Slot,
)
from workflows.failures import reason_of
from workflows.policies import QUICK, TAKING_DOWN, WATCHING, bringing_up

LONGEST_DELAY = 60.0
_STEADY = timedelta(seconds=30)
"""A replica that was healthy for so long is replaced at once when it is lost."""


def delay_after(failures: int) -> float:
    """Seconds to wait after this many failures in a row: 0, 1, 2, 4 … 60."""
    return 0.0 if failures == 0 else min(2.0 ** (failures - 1), LONGEST_DELAY)


@workflow.defn(name="deployments.run")
class DeploymentWorkflow:
    """One keeper for each wished replica: brings it up, watches it, replaces it, for ever.

    Checks are made inside the watching activity, so that a quiet deployment adds nothing to the
    history; only what happens to it does.
    """

    @workflow.init
    def __init__(self, order: DeploymentOrder) -> None:
        self._order = order
        self._wished = order.replicas
        self._slots = {slot.ordinal: slot for slot in order.slots}
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._released: set[int] = set()
        self._recorded: DeploymentReport | None = None
        self._stopping = False
        self._scaling = asyncio.Lock()

    @workflow.run
    async def run(self, order: DeploymentOrder) -> DeploymentReport:
        """Return only when the deployment was stopped and nothing of it runs any more."""
        try:
            await self._serve_until_due()
        except (asyncio.CancelledError, ActivityError) as error:
            if not is_cancelled_exception(error):
                raise
            # Cancelled in Temporal's own UI: the same as a stop. Delivered once, so the rest runs.
            self._stopping = True
        if not self._stopping:
            workflow.continue_as_new(
                order.model_copy(update={"replicas": self._wished, "slots": list(self._slots.values())})
            )
        await self._release_keepers()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return await self._wind_up()

    @workflow.signal
    def stop(self) -> None:
        """End all replicas and then this workflow; asking twice is the same as asking once."""
        self._stopping = True

    @workflow.update
    async def scale(self, order: ScaleDeployment) -> DeploymentReport:
        """Wish for another number of replicas; surplus ones are gone when this answers."""
        async with self._scaling:
            self._wished = order.replicas
            surplus = sorted(ordinal for ordinal in self._slots if ordinal >= order.replicas)
            await self._release(*surplus)
            await asyncio.gather(*[self._take_down(ordinal) for ordinal in surplus])
            for ordinal in surplus:
                del self._slots[ordinal]
        await workflow.wait_condition(
            lambda: self._stopping or (self._recorded is not None and self._recorded.replicas == self._wished)
        )
        return self._report()

    @scale.validator
    def _may_scale(self, order: ScaleDeployment) -> None:
        if self._stopping:
            raise ApplicationError("the deployment is being stopped", type="Stopping", non_retryable=True)

    @workflow.query
    def status(self) -> DeploymentReport:
        """Tell what is true now."""
        return self._report()

    async def _serve_until_due(self) -> None:
        """Serve until told to stop, or until this run may hand over to the next one."""
        while not self._stopping:
            await self._serve()
            await self._release_keepers()
            # An update that came in the meantime is carried out by this run.
            if workflow.all_handlers_finished():
                return

    async def _serve(self) -> None:
        """Keep the replicas kept and the record true, until told to stop or the history is long."""
        while not self._stopping:
            for ordinal in range(self._wished):
                if ordinal not in self._keepers:
                    self._slots.setdefault(ordinal, Slot(ordinal=ordinal))
                    self._keepers[ordinal] = asyncio.create_task(self._keep(ordinal))
            report = self._report()
            if report != self._recorded:
                wanted = await workflow.execute_activity_method(DeploymentActivities.record, report, **QUICK)
                self._recorded = report
                self._stopping = self._stopping or not wanted
                continue
            if self._should_hand_over():
                return
            await workflow.wait_condition(self._has_news)

    def _should_hand_over(self) -> bool:
        return workflow.info().is_continue_as_new_suggested() and workflow.all_handlers_finished()

    def _has_news(self) -> bool:
        return (
            self._stopping
            or self._report() != self._recorded
            or len(self._keepers) < self._wished
            or self._should_hand_over()
        )

    async def _keep(self, ordinal: int) -> None:
        while ordinal not in self._released:
            try:
                if self._slots[ordinal].state is ReplicaState.HEALTHY:
                    await self._watch(ordinal)
                else:
                    await self._bring_up(ordinal)
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                self._fail(ordinal, reason_of(error), self._slots[ordinal].failures + 1)

    async def _bring_up(self, ordinal: int) -> None:
        if delay := delay_after(self._slots[ordinal].failures):
            await workflow.sleep(delay)
        outcome = await workflow.execute_activity_method(
            DeploymentActivities.bring_up,
            self._replica_order(ordinal),
            **bringing_up(self._order.patience),
        )
        if outcome.healthy:
            self._set(ordinal, state=ReplicaState.HEALTHY, ever_healthy=True, reason=None)
        else:
            self._fail(ordinal, outcome.reason, self._slots[ordinal].failures + 1)

    async def _watch(self, ordinal: int) -> None:
        healthy_since = workflow.now()
        lost = await workflow.execute_activity_method(
            DeploymentActivities.watch, self._replica_order(ordinal), **WATCHING
        )
        steady = workflow.now() - healthy_since >= _STEADY
        self._fail(ordinal, lost.reason, 0 if steady else self._slots[ordinal].failures + 1)

    def _fail(self, ordinal: int, reason: str | None, failures: int) -> None:
        self._set(
            ordinal,
            state=ReplicaState.UNHEALTHY,
            reason=reason,
            failures=failures,
            restarts=self._slots[ordinal].restarts + 1,
        )

    def _set(self, ordinal: int, **changes: object) -> None:
        self._slots[ordinal] = self._slots[ordinal].model_copy(update=changes)

    def _replica_order(self, ordinal: int) -> ReplicaOrder:
        return ReplicaOrder(
            deployment_id=self._order.deployment_id,
            ordinal=ordinal,
            driver=self._order.driver,
            restarts=self._slots[ordinal].restarts,
            patience=self._order.patience,
            check_interval=self._order.check_interval,
            check_timeout=self._order.check_timeout,
            failures_allowed=self._order.failures_allowed,
        )

    async def _take_down(self, ordinal: int) -> None:
        await workflow.execute_activity_method(
            DeploymentActivities.take_down, self._replica_order(ordinal), **TAKING_DOWN
        )

    async def _release_keepers(self) -> None:
        """End the keepers, not the replicas: those are taken down, or taken over by the next run."""
        await self._release(*self._keepers)

    async def _release(self, *ordinals: int) -> None:
        """End keepers, and wait until they have: what they start must not appear after a take-down."""
        keepers = {ordinal: self._keepers[ordinal] for ordinal in ordinals if ordinal in self._keepers}
        for ordinal, keeper in keepers.items():
            # The flag too: a start that succeeds just when it is cancelled swallows the cancellation.
            self._released.add(ordinal)
            keeper.cancel()
        await asyncio.gather(*keepers.values(), return_exceptions=True)
        for ordinal in keepers:
            self._keepers.pop(ordinal, None)
            self._released.discard(ordinal)

    async def _wind_up(self) -> DeploymentReport:
        await workflow.execute_activity_method(DeploymentActivities.record, self._report(), **QUICK)
        await asyncio.gather(*(self._take_down(ordinal) for ordinal in sorted(self._slots)))
        self._slots.clear()
        final = self._report().model_copy(update={"status": DeploymentState.STOPPED})
        await workflow.execute_activity_method(DeploymentActivities.record, final, **QUICK)
        return final

    def _report(self) -> DeploymentReport:
        slots = [slot for slot in self._slots.values() if slot.ordinal < self._wished]
        healthy = sum(slot.state is ReplicaState.HEALTHY for slot in slots)
        status = DeploymentState.STOPPING if self._stopping else _state_of(slots, healthy, self._wished)
        return DeploymentReport(
            deployment_id=self._order.deployment_id,
            slug=self._order.slug,
            status=status,
            health_status=_health_of(status, healthy),
            replicas=self._wished,
            healthy=healthy,
            reason=None if self._stopping else _reason_of(slots),
        )


def _state_of(slots: list[Slot], healthy: int, wished: int) -> DeploymentState:
    if healthy == wished:
        return DeploymentState.RUNNING
    trouble = any(slot.state is ReplicaState.UNHEALTHY for slot in slots)
    if healthy:
        return DeploymentState.DEGRADED if trouble else DeploymentState.STARTING
    if any(slot.ever_healthy for slot in slots):
        return DeploymentState.UNHEALTHY
    return DeploymentState.FAILED if trouble else DeploymentState.STARTING


def _health_of(status: DeploymentState, healthy: int) -> Health:
    if status is DeploymentState.STARTING:
        return Health.DEGRADED if healthy else Health.UNKNOWN
    return {
        DeploymentState.RUNNING: Health.HEALTHY,
        DeploymentState.DEGRADED: Health.DEGRADED,
        DeploymentState.UNHEALTHY: Health.UNHEALTHY,
        DeploymentState.FAILED: Health.UNHEALTHY,
    }.get(status, Health.UNKNOWN)


def _reason_of(slots: list[Slot]) -> str | None:
    """Give the first trouble, with what comes next, for whoever looks at the deployment."""
    for slot in sorted(slots, key=lambda slot: slot.ordinal):
        if slot.state is ReplicaState.UNHEALTHY and slot.reason:
            delay = delay_after(slot.failures)
            following = f"trying again after {delay:g} s" if delay else "trying again at once"
            return f"replica {slot.ordinal}: {slot.reason}; {following} (attempt {slot.restarts + 1})"
    return None
