"""The workflow that owns one deployment."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ChildWorkflowError, is_cancelled_exception

from activities.deployments import DeploymentActivities
from mcp_platform.contracts.deployments import (
    DeploymentOrder,
    DeploymentReport,
    DeploymentState,
    HealthCheck,
    Revision,
    RevisionState,
    Rollout,
    RolloutOrder,
    ScaleDeployment,
    Slot,
)
from mcp_platform.contracts.loads import ScaleDecision
from workflows.deployments import reports
from workflows.deployments.display import Display
from workflows.deployments.fleet import Fleet, checks_of, with_checks
from workflows.deployments.preparing import Preparation, lacks_image, with_image
from workflows.deployments.rolling import Phase, Rolling, RolloutFailed, begun, going_on, planned, tells_of
from workflows.deployments.scaling import LoadFollower
from workflows.failures import reason_of, refusal
from workflows.policies import QUICK

_BRIEF_DRAIN = 5.0
"""Seconds that calls in flight get when a deployment is deleted, or cancelled in Temporal."""


@workflow.defn(name="deployments.run")
class DeploymentWorkflow:
    """One keeper for each wished replica: brings it up, watches it, replaces it, for ever.

    Two changes never mix: while a roll-out goes on all others but calling it off and stopping are
    refused; other changes follow one another.
    """

    @workflow.init
    def __init__(self, order: DeploymentOrder) -> None:
        self._order = order
        self._wished = order.replicas
        self._fleet = Fleet(order)
        self._recorded: DeploymentReport | None = None
        self._stopping = False
        self._drain = _BRIEF_DRAIN
        self._changing = asyncio.Lock()
        self._latest_revision = max(order.latest_revision, order.revision)
        self._requested: RolloutOrder | None = None
        """What is to be rolled out, until that begins."""
        self._roll: Rolling | None = None
        """The present roll-out, or the last one of this run."""
        self._rolling: asyncio.Task[None] | None = None
        self._called_off: str | None = None
        self._phase = Phase.WAITING
        self._asleep = order.asleep
        self._follower = LoadFollower(self._apply)
        self._preparation = Preparation()
        self._health: HealthCheck | None = None
        self._fixed = False
        self._display = Display()

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
            workflow.continue_as_new(self._successor())
        await self._end_changes()
        await self._fleet.release_all()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return await self._wind_up()

    @workflow.signal
    def stop(self, drain: float | None = None) -> None:
        """End all replicas and then this workflow; asking twice is the same as asking once.

        Args:
            drain: Seconds that calls in flight may take to finish; a few unless given.
        """
        if not self._stopping:
            self._drain = _BRIEF_DRAIN if drain is None else drain
        self._stopping = True

    @workflow.update
    async def scale(self, order: ScaleDeployment) -> DeploymentReport:
        """Change how many replicas there are, or how they are checked; surplus ones are gone then."""
        async with self._changing:
            if order.health is not None:
                await self._check_differently(order.health)
            if order.autoscaling is not None or order.fixed:
                self._order = self._order.model_copy(update={"autoscaling": order.autoscaling})
                self._fixed = order.autoscaling is None
                # Nobody would wake it any more.
                self._asleep = self._asleep and not self._fixed
            if order.replicas is not None:
                await self._scale_to(order.replicas, _BRIEF_DRAIN)
            await self._follower.end()
        await workflow.wait_condition(lambda: self._stopping or self._is_recorded())
        return self._report()

    @scale.validator
    def _may_scale(self, order: ScaleDeployment) -> None:
        self._refuse_while_stopping()
        self._refuse_while_rolling()

    @workflow.update
    async def roll_out(self, request: RolloutOrder) -> Revision:
        """Begin to replace the replicas by ones of a new revision; answers with it once it is recorded."""
        self._latest_revision += 1
        order, revision = planned(request.order, self._latest_revision)
        # From here on no other change comes between.
        self._requested = request.model_copy(update={"order": order})
        async with self._changing:
            try:
                await workflow.execute_activity_method(DeploymentActivities.begin_revision, revision, **QUICK)
            except ActivityError as error:
                self._requested = None
                forgets = workflow.patched("a-refused-roll-out-takes-its-call-off-along")
                self._called_off = None if forgets else self._called_off
                raise refusal(reason_of(error), "NotRecorded") from error
            self._roll = Rolling(self._fleet, order, begun(revision), request.replicas or self._wished)
        # Whoever goes by the record, such as a rollback right behind it, finds the roll-out there.
        if workflow.patched("roll-out-answers-once-recorded"):
            await workflow.wait_condition(lambda: self._stopping or tells_of(self._recorded, revision))
        return revision

    @roll_out.validator
    def _may_roll_out(self, request: RolloutOrder) -> None:
        self._refuse_while_stopping()
        self._refuse_while_rolling()
        if request.order.content is None:
            raise refusal("a roll-out needs a content", "NoContent")

    @workflow.update
    async def call_off(self, by: str) -> None:
        """End the roll-out that goes on, and put back what it replaced."""
        self._called_off = f"called off by {by}"
        if self._rolling is not None and self._phase is Phase.FORWARD:
            self._rolling.cancel()

    @call_off.validator
    def _may_call_off(self, by: str) -> None:
        self._refuse_while_stopping()
        if self._requested is None:
            raise refusal("no roll-out is going on", "NotRollingOut")
        if self._phase is Phase.ADOPTING:
            raise refusal("the new revision has taken over already; roll back to another one", "TakenOver")
        if self._phase is Phase.BACK or self._called_off:
            raise refusal("what the roll-out replaced is being put back already", "GoingBack")

    @workflow.query
    def status(self) -> DeploymentReport:
        """Tell what is true now."""
        return self._report()

    async def _serve_until_due(self) -> None:
        """Serve until told to stop, or until this run may hand over to the next one."""
        while not self._stopping:
            await self._serve()
            await self._follower.end()
            if self._follower.applies and not self._stopping:
                continue  # a decision came just then, and waits for a record that only `_serve` makes
            await self._fleet.release_all()
            # An update that came in the meantime is carried out by this run.
            if workflow.all_handlers_finished() and self._requested is None:
                return

    async def _serve(self) -> None:
        """Keep the replicas kept and the record true, until told to stop or the history is long."""
        while not self._stopping:
            self._begin_what_is_due()
            report = self._report()
            if report != self._recorded:
                self._show(report)
                wanted = await workflow.execute_activity_method(DeploymentActivities.record, report, **QUICK)
                self._recorded = report
                self._stopping = self._stopping or not wanted
                continue
            if self._should_hand_over():
                return
            await workflow.wait_condition(self._has_news)

    def _begin_what_is_due(self) -> None:
        if self._rolling is not None and self._rolling.done() and not self._rolling.cancelled():
            self._rolling.result()  # a fault of ours; what ends as it should takes itself away
        if self._can_roll():
            self._rolling = asyncio.create_task(self._roll_out())
        elif self._can_prepare():
            self._preparation.begin(self._order, self._use_image)
        if self._can_keep():
            self._fleet.keep(self._wished)
        if self._can_observe():
            self._follower.begin(self._order, lambda: 0 if self._asleep else self._wished)

    def _can_roll(self) -> bool:
        pending = self._roll is not None and self._roll.rollout.state is RevisionState.PENDING
        return self._requested is not None and pending and self._rolling is None

    def _can_prepare(self) -> bool:
        begun = self._preparation.goes_on or self._preparation.trouble
        return lacks_image(self._order) and not begun and self._requested is None

    def _can_keep(self) -> bool:
        ready = not self._asleep and not lacks_image(self._order)
        return ready and not self._fleet.is_kept(self._wished)

    def _can_observe(self) -> bool:
        busy = self._requested is not None or lacks_image(self._order)
        return self._order.autoscaling is not None and not self._follower.observes and not busy

    def _use_image(self) -> None:
        self._order = self._fleet.order = with_image(self._order)

    def _should_hand_over(self) -> bool:
        busy = self._requested or self._preparation.goes_on or self._follower.applies
        return (
            not busy and workflow.info().is_continue_as_new_suggested() and workflow.all_handlers_finished()
        )

    def _has_news(self) -> bool:
        return (
            self._stopping
            or self._report() != self._recorded
            or self._can_keep()
            or self._can_roll()
            or self._can_prepare()
            or self._can_observe()
            or self._should_hand_over()
            or (self._rolling is not None and self._rolling.done() and not self._rolling.cancelled())
        )

    def _successor(self) -> DeploymentOrder:
        return self._order.model_copy(
            update={
                "replicas": self._wished,
                "slots": list(self._fleet.slots.values()),
                "latest_revision": self._latest_revision,
                "rollout": self._rollout,
                "asleep": self._asleep,
            }
        )

    async def _roll_out(self) -> None:
        """Carry out what was requested; afterwards either all places have it, or none."""
        request, roll = self._requested, self._roll
        assert request is not None
        assert roll is not None
        await self._follower.end()
        await self._preparation.end()
        async with self._changing:
            reason = await self._try_to_roll(roll)
            # A stop ends the replicas of both revisions.
            if not self._stopping:
                await (self._adopt(roll, request) if reason is None else self._go_back(roll, reason))
        self._called_off, self._requested, self._rolling = None, None, None
        self._phase = Phase.WAITING

    async def _try_to_roll(self, roll: Rolling) -> str | None:
        """Give the reason why the new revision cannot take over; None if it has."""
        if self._called_off:
            return self._called_off
        self._phase = Phase.FORWARD
        try:
            await roll.build(lambda: self._stopping or self._called_off)
            self._asleep = False
            await roll.forward(lambda: self._stopping or self._called_off)
        except RolloutFailed as failed:
            return str(failed)
        except ChildWorkflowError as error:
            return self._called_off or f"its image could not be built: {reason_of(error)}"
        except (asyncio.CancelledError, ActivityError) as error:
            if is_cancelled_exception(error):
                return self._called_off or "the deployment is being stopped"
            return reason_of(error)
        return None

    async def _adopt(self, roll: Rolling, request: RolloutOrder) -> None:
        self._phase = Phase.ADOPTING
        before, order = self._order, request.order
        self._fleet.fix_drivers()
        self._order = self._fleet.order = with_image(order)
        self._health, self._fixed = None, False
        await self._scale_to(request.replicas or self._wished, order.drain_timeout)
        await roll.settle(RevisionState.ACTIVE)
        if checks_of(before) != checks_of(order):
            await self._fleet.release_all()

    async def _go_back(self, roll: Rolling, reason: str) -> None:
        self._phase = Phase.BACK
        await roll.back(lambda: self._stopping)
        await roll.settle(RevisionState.FAILED, reason)

    async def _apply(self, decision: ScaleDecision) -> None:
        async with self._changing:
            if self._requested is not None or self._stopping or self._order.autoscaling is None:
                return
            if decision.replicas == 0:
                await self._fall_asleep()
            else:
                await self._scale_to(decision.replicas, self._order.drain_timeout)

    async def _fall_asleep(self) -> None:
        self._asleep = True
        # First the record, by which a gateway knows that a call has to wake it.
        await workflow.wait_condition(
            lambda: (
                self._stopping
                or (self._recorded is not None and self._recorded.status is DeploymentState.IDLE)
            )
        )
        await self._fleet.empty(*self._fleet.slots, drain=self._order.drain_timeout)

    async def _scale_to(self, replicas: int, drain: float) -> None:
        self._wished, self._asleep = replicas, False
        surplus = sorted(ordinal for ordinal in self._fleet.slots if ordinal >= replicas)
        await self._fleet.empty(*surplus, drain=drain)

    async def _check_differently(self, health: HealthCheck) -> None:
        """Check the replicas in another way from now on; what is not given stays."""
        self._health = health
        self._order = self._fleet.order = with_checks(self._order, health)
        # The keepers begin anew, with these checks.
        await self._fleet.release_all()

    async def _end_changes(self) -> None:
        """Call off what is going on, and wait until it has come to an end."""
        await self._follower.end()
        await self._preparation.end()
        if self._rolling is not None:
            self._rolling.cancel()
            await asyncio.gather(self._rolling, return_exceptions=True)
        await self._follower.settled()

    async def _wind_up(self) -> DeploymentReport:
        await workflow.execute_activity_method(DeploymentActivities.record, self._report(), **QUICK)
        await self._fleet.take_all_down(self._drain)
        final = self._report().model_copy(update={"status": DeploymentState.STOPPED})
        self._show(final)
        await workflow.execute_activity_method(DeploymentActivities.record, final, **QUICK)
        return final

    def _show(self, report: DeploymentReport) -> None:
        self._display.show(report, self._order, list(self._fleet.slots.values()))

    def _refuse_while_stopping(self) -> None:
        if self._stopping:
            raise refusal("the deployment is being stopped", "Stopping")

    def _refuse_while_rolling(self) -> None:
        if self._requested is not None:
            raise refusal(f"{going_on(self._requested)}; wait for its end, or call it off", "RollingOut")

    @property
    def _rollout(self) -> Rollout | None:
        return self._roll.rollout if self._roll else self._order.rollout

    def _is_recorded(self) -> bool:
        wish, known = (self._wished, self._health, self._order.autoscaling), self._recorded
        return known is not None and (known.replicas, known.health, known.autoscaling) == wish

    def _report(self) -> DeploymentReport:
        slots = [slot for slot in self._fleet.slots.values() if slot.ordinal < self._wished]
        healthy = reports.count_healthy(slots)
        status, reason = self._status(slots)
        return DeploymentReport(
            deployment_id=self._order.deployment_id,
            slug=self._order.slug,
            status=status,
            health_status=reports.health_of(status, healthy),
            replicas=self._wished,
            healthy=healthy,
            reason=reason,
            rollout=self._rollout,
            health=self._health,
            autoscaling=self._order.autoscaling,
            fixed=self._fixed,
        )

    def _status(self, slots: list[Slot]) -> tuple[DeploymentState, str | None]:
        if self._stopping:
            return DeploymentState.STOPPING, None
        if self._asleep:
            status = DeploymentState.IDLE
        elif not slots and lacks_image(self._order):
            trouble = None if self._requested else self._preparation.trouble
            return DeploymentState.FAILED if trouble else DeploymentState.BUILDING, trouble
        else:
            status = reports.state_of(slots, self._wished, self._rollout)
        return status, reports.reason_of_status(status, slots, self._rollout)
