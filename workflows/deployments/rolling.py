"""Roll-outs: replicas of one revision take over from those of another, place by place, start-first."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from enum import Enum, auto

from temporalio import workflow

from activities.deployments import DeploymentActivities
from mcp_platform.contracts.deployments import (
    DeploymentOrder,
    DeploymentReport,
    ReplicaState,
    Revision,
    RevisionOutcome,
    RevisionState,
    Rollout,
    RolloutOrder,
    Slot,
)
from mcp_platform.last_words import with_last_words
from workflows.cancelling import end_if
from workflows.deployments.fleet import Fleet
from workflows.deployments.preparing import build_image, lacks_image
from workflows.policies import QUICK


class Phase(Enum):
    """Where a roll-out stands; it can be called off until its replicas have taken over."""

    WAITING = auto()
    FORWARD = auto()
    ADOPTING = auto()
    BACK = auto()


class RolloutFailed(Exception):
    """Why a revision cannot take over."""


class Rolling:
    """One roll-out of a fleet.

    Args:
        fleet: Whose replicas are replaced.
        order: What takes over, with the number of its revision.
        places: How many places there are to be.
    """

    def __init__(self, fleet: Fleet, order: DeploymentOrder, rollout: Rollout, places: int) -> None:
        self.rollout = rollout
        self._fleet = fleet
        self._order = order
        self._places = places
        self._before: dict[int, Slot | None] = {}
        """What stood in the places that were taken over."""
        self._step: asyncio.Task[None] | None = None
        """A replacement that is going on, and is not left half-done when the roll-out is called off."""

    async def build(self, ended: Callable[[], object]) -> None:
        """Build the image, unless there is one.

        Args:
            ended: Whether the roll-out was called off, which the end of a build may swallow.

        Raises:
            ChildWorkflowError: It could not be built, or was called off.
        """
        if lacks_image(self._order):
            self._advance(building=True)
            await build_image(self._order)
            self._advance(building=False)
            end_if(ended())

    async def forward(self, ended: Callable[[], object]) -> None:
        """Replace the replica in each place.

        Args:
            ended: Whether the roll-out was called off, which the end of a step may swallow.

        Raises:
            RolloutFailed: A new replica did not become healthy, or did not stay so.
        """
        self._advance(total=self._places)
        for ordinal in range(self._places):
            await self._take_over(ordinal, ended)
            self._advance(replaced=ordinal + 1)
            # The first one shows whether the revision is any good, and the last one may yet fail.
            if ordinal in (0, self._places - 1):
                await self._stay_healthy()
            self._check()
            end_if(ended())

    async def back(self, ended: Callable[[], object]) -> None:
        """Put the earlier revision's replicas back, start-first; they are kept whether they start or not.

        Args:
            ended: Whether that is called off itself: the deployment is being stopped.
        """
        if self._step is not None:
            await self._step
        for ordinal in list(self._fleet.candidates):
            await self._fleet.dismiss(ordinal)
        for ordinal, before in sorted(self._before.items(), reverse=True):
            if before is None:
                await self._fleet.empty(ordinal, drain=self._fleet.order.drain_timeout)
                continue
            slot = Slot(
                ordinal=ordinal,
                revision=before.revision,
                driver=before.driver,
                restarts=before.restarts,
                ever_healthy=before.ever_healthy,
            )
            outcome = await self._fleet.start_candidate(slot, self._fleet.order.patience, ended)
            state = ReplicaState.HEALTHY if outcome.healthy else ReplicaState.UNHEALTHY
            await self._fleet.replace(
                slot.model_copy(update={"state": state, "reason": outcome.reason}),
                self._fleet.order.drain_timeout,
            )
            self._advance(replaced=self.rollout.replaced - 1)

    async def settle(self, state: RevisionState, reason: str | None = None) -> None:
        """Record what came of it."""
        outcome = RevisionOutcome(
            deployment_id=self._order.deployment_id,
            number=self.rollout.revision,
            state=state,
            reason=reason,
        )
        await workflow.execute_activity_method(DeploymentActivities.settle_revision, outcome, **QUICK)
        self._advance(state=state, reason=reason, building=False)

    async def _take_over(self, ordinal: int, ended: Callable[[], object]) -> None:
        slot = Slot(ordinal=ordinal, revision=self.rollout.revision, driver=self._order.driver)
        outcome = await self._fleet.start_candidate(slot, self._order.patience, ended)
        if not outcome.healthy:
            why = with_last_words(outcome.reason, outcome.last_words)
            raise RolloutFailed(f"replica {ordinal} of it did not become healthy: {why}")
        self._before[ordinal] = self._fleet.slots.get(ordinal)
        slot = slot.model_copy(update={"state": ReplicaState.HEALTHY, "ever_healthy": True})
        self._step = asyncio.create_task(self._fleet.replace(slot, self._fleet.order.drain_timeout))
        await asyncio.shield(self._step)

    async def _stay_healthy(self) -> None:
        """See that what took over is still well one check later."""
        try:
            await workflow.wait_condition(
                lambda: self._broken() is not None, timeout=timedelta(seconds=self._order.check_interval)
            )
        except TimeoutError:
            return

    def _check(self) -> None:
        broken = self._broken()
        if broken is not None:
            why = with_last_words(broken.reason, broken.last_words)
            raise RolloutFailed(f"replica {broken.ordinal} of it did not stay healthy: {why}")

    def _broken(self) -> Slot | None:
        for slot in self._fleet.slots.values():
            if slot.revision == self.rollout.revision and slot.state is ReplicaState.UNHEALTHY:
                return slot
        return None

    def _advance(self, **changes: object) -> None:
        self.rollout = self.rollout.model_copy(update=changes)


def begun(revision: Revision) -> Rollout:
    """Give the state of a roll-out that begins now."""
    return Rollout(
        revision=revision.number,
        version=revision.version,
        cause=revision.cause,
        state=RevisionState.PENDING,
        started_at=workflow.now(),
    )


def tells_of(report: DeploymentReport | None, revision: Revision) -> bool:
    """Whether a report tells of the roll-out of a revision, however that stands, or of a later one."""
    return report is not None and report.rollout is not None and report.rollout.revision >= revision.number


def planned(order: DeploymentOrder, number: int) -> tuple[DeploymentOrder, Revision]:
    """Give what is asked for its number: the order of the new revision, and its record."""
    assert order.content is not None
    revision = Revision(
        **order.content.model_dump(),
        deployment_id=order.deployment_id,
        number=number,
        state=RevisionState.PENDING,
        created_at=workflow.now(),
    )
    changes = {"revision": number, "latest_revision": number, "slots": []}
    return order.model_copy(update=changes), revision


def going_on(request: RolloutOrder) -> str:
    """Say which roll-out is in the way of another change."""
    version = request.order.content.version if request.order.content else "?"
    return f"a roll-out of version {version} is going on"
