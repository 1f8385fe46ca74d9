"""The replicas of one deployment: each place has a keeper that brings its replica up and watches it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.deployments import ReplicaActivities
from mcp_platform.contracts.deployments import (
    DeploymentOrder,
    HealthCheck,
    ReplicaOrder,
    ReplicaOutcome,
    ReplicaState,
    Slot,
)
from workflows.cancelling import end_if
from workflows.deployments.reports import delay_after
from workflows.failures import reason_of
from workflows.policies import WATCHING, bringing_up, taking_down

_STEADY = timedelta(seconds=30)
"""A replica that was healthy for so long is replaced at once when it is lost."""
_ATTEMPTS = 3
"""How often the replica of a new revision may fail to start before the revision counts as bad."""


class Fleet:
    """Places, what stands in them, and who keeps it.

    Checks are made inside the watching activity, so that a quiet deployment adds nothing to the
    history; only what happens to it does.
    """

    def __init__(self, order: DeploymentOrder) -> None:
        self.order = order
        """What replicas run and how they are checked, from now on."""
        self.slots = {slot.ordinal: slot for slot in order.slots}
        self.candidates: dict[int, Slot] = {}
        """Replicas of a revision that is to take over, which stand in no place yet."""
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._released: set[int] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    def keep(self, wished: int) -> None:
        """See to it that each of the wished places has a keeper."""
        for ordinal in range(wished):
            if ordinal not in self._keepers:
                self.slots.setdefault(ordinal, self._new_slot(ordinal))
                self._keepers[ordinal] = asyncio.create_task(self._keep(ordinal))

    def is_kept(self, wished: int) -> bool:
        """Whether each of the wished places has a keeper."""
        return all(ordinal in self._keepers for ordinal in range(wished))

    async def release(self, *ordinals: int) -> None:
        """End keepers, and wait until they have: what they start must not appear after a take-down.

        The replicas live on: they are taken down, replaced, or taken over by the next run.
        """
        keepers = {ordinal: self._keepers[ordinal] for ordinal in ordinals if ordinal in self._keepers}
        for ordinal, keeper in keepers.items():
            # The flag too: a start that succeeds just when it is cancelled swallows the cancellation.
            self._released.add(ordinal)
            keeper.cancel()
        await asyncio.gather(*keepers.values(), return_exceptions=True)
        for ordinal in keepers:
            self._keepers.pop(ordinal, None)
            self._released.discard(ordinal)

    async def release_all(self) -> None:
        """End every keeper."""
        await self.release(*self._keepers)

    async def empty(self, *ordinals: int, drain: float) -> None:
        """End the replicas in these places, and forget the places."""
        await self.release(*ordinals)
        await asyncio.gather(*[self.take_down(self.slots[ordinal], drain) for ordinal in ordinals])
        for ordinal in ordinals:
            del self.slots[ordinal]

    async def take_down(self, slot: Slot, drain: float) -> None:
        """End one replica; its calls get `drain` seconds to finish. What was begun is done in any case."""
        leaving = asyncio.create_task(self._take_down(self._replica_order(slot, drain)))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        await asyncio.shield(leaving)

    async def take_all_down(self, drain: float) -> None:
        """End everything, and what was to take over too; return once all that was ever to end has ended."""
        slots = [self.slots[ordinal] for ordinal in sorted(self.slots)] + list(self.candidates.values())
        await asyncio.gather(*(self.take_down(slot, drain) for slot in slots))
        await asyncio.gather(*self._leaving)
        self.slots.clear()
        self.candidates.clear()

    async def _take_down(self, order: ReplicaOrder) -> None:
        await workflow.execute_activity_method(ReplicaActivities.take_down, order, **taking_down(order.drain))

    async def start_candidate(
        self, slot: Slot, patience: float, ended: Callable[[], object]
    ) -> ReplicaOutcome:
        """Bring up a replica beside the one in its place; a few attempts, within its patience.

        Args:
            slot: What it is to be.
            patience: Seconds within which it has to answer.
            ended: Whether it was called off, which an attempt that is done just then swallows.
        """
        self.candidates[slot.ordinal] = slot
        patient_until = workflow.now() + timedelta(seconds=patience)
        for attempt in range(_ATTEMPTS):
            if attempt:
                await workflow.sleep(delay_after(attempt))
            outcome = await self._try(slot.model_copy(update={"restarts": attempt}), patience)
            end_if(ended())
            if outcome.healthy or workflow.now() >= patient_until:
                break
        return outcome

    async def replace(self, slot: Slot, drain: float) -> None:
        """Put a replica that was started beside it into its place, and end the one that stood there."""
        ordinal = slot.ordinal
        old = self.slots.get(ordinal)
        await self.release(ordinal)
        self.slots[ordinal] = slot
        self.candidates.pop(ordinal, None)
        self.keep_one(ordinal)
        if old is not None:
            await self.take_down(old, drain)

    async def dismiss(self, ordinal: int) -> None:
        """End a replica that was to take over and does not."""
        slot = self.candidates.get(ordinal)
        if slot is not None:
            await self.take_down(slot, 0.0)
            self.candidates.pop(ordinal, None)

    def fix_drivers(self) -> None:
        """Note in each place what runs its replica, before the deployment's driver becomes another."""
        for ordinal, slot in self.slots.items():
            self.slots[ordinal] = slot.model_copy(update={"driver": slot.driver or self.order.driver})

    def keep_one(self, ordinal: int) -> None:
        """Give one place a keeper."""
        if ordinal not in self._keepers:
            self._keepers[ordinal] = asyncio.create_task(self._keep(ordinal))

    def _new_slot(self, ordinal: int) -> Slot:
        return Slot(ordinal=ordinal, revision=self.order.revision, driver=self.order.driver)

    async def _keep(self, ordinal: int) -> None:
        while ordinal not in self._released:
            try:
                if self.slots[ordinal].state is ReplicaState.HEALTHY:
                    await self._watch(ordinal)
                else:
                    await self._bring_up(ordinal)
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                self._fail(ordinal, reason_of(error), self.slots[ordinal].failures + 1)

    async def _bring_up(self, ordinal: int) -> None:
        if delay := delay_after(self.slots[ordinal].failures):
            await workflow.sleep(delay)
        outcome = await self._try(self.slots[ordinal], self.order.patience)
        if outcome.healthy:
            self._set(ordinal, state=ReplicaState.HEALTHY, ever_healthy=True, reason=None)
        else:
            # What runs replicas is away, and waiting longer each time would not bring it back sooner.
            failures = 1 if outcome.unavailable else self.slots[ordinal].failures + 1
            self._fail(ordinal, outcome.reason, failures, outcome.last_words)

    async def _try(self, slot: Slot, patience: float) -> ReplicaOutcome:
        order = self._replica_order(slot).model_copy(update={"patience": patience})
        return await workflow.execute_activity_method(
            ReplicaActivities.bring_up, order, **bringing_up(patience)
        )

    async def _watch(self, ordinal: int) -> None:
        healthy_since = workflow.now()
        lost = await workflow.execute_activity_method(
            ReplicaActivities.watch, self._replica_order(self.slots[ordinal]), **WATCHING
        )
        steady = workflow.now() - healthy_since >= _STEADY
        slot = self.slots[ordinal]
        failures = 0 if steady else slot.failures + 1
        if failures == 1 and not slot.lost and workflow.patched("first-loss-at-once"):
            # Once may be an accident; only a replica that goes on dying has to wait.
            failures = 0
        self._set(ordinal, lost=not steady)
        self._fail(ordinal, lost.reason, failures, lost.last_words)

    def _fail(self, ordinal: int, reason: str | None, failures: int, last_words: str | None = None) -> None:
        self._set(
            ordinal,
            state=ReplicaState.UNHEALTHY,
            reason=reason,
            last_words=last_words,
            failures=failures,
            restarts=self.slots[ordinal].restarts + 1,
        )

    def _set(self, ordinal: int, **changes: object) -> None:
        self.slots[ordinal] = self.slots[ordinal].model_copy(update=changes)

    def _replica_order(self, slot: Slot, drain: float = 0.0) -> ReplicaOrder:
        return ReplicaOrder(
            deployment_id=self.order.deployment_id,
            ordinal=slot.ordinal,
            driver=slot.driver or self.order.driver,
            restarts=slot.restarts,
            patience=self.order.patience,
            check_interval=self.order.check_interval,
            check_timeout=self.order.check_timeout,
            failures_allowed=self.order.failures_allowed,
            revision=slot.revision,
            drain=drain,
        )


def checks_of(order: DeploymentOrder) -> tuple[float, float, int]:
    """Give how replicas are checked."""
    return order.check_interval, order.check_timeout, order.failures_allowed


def with_checks(order: DeploymentOrder, health: HealthCheck) -> DeploymentOrder:
    """Give the same order with other checks; what is not given stays."""
    changes = {
        "check_interval": health.interval,
        "check_timeout": health.timeout,
        "failures_allowed": health.failures_allowed,
        "patience": health.patience,
    }
    return order.model_copy(update={name: value for name, value in changes.items() if value is not None})
