"""The deployments' activities without replicas: they do what a test says, and note what was asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from mcp_platform.contracts.deployments import (
    DeploymentOrder,
    DeploymentReport,
    Driver,
    ReplicaLost,
    ReplicaOrder,
    ReplicaOutcome,
    Revision,
    RevisionOutcome,
)
from mcp_platform.names import TaskQueue, deployment_workflow_id
from workflows.deployments import DeploymentWorkflow

Handle = WorkflowHandle[DeploymentWorkflow, DeploymentReport]


@dataclass(frozen=True)
class Attempt:
    """One start of a replica."""

    ordinal: int
    restarts: int


async def becomes_healthy(order: ReplicaOrder) -> ReplicaOutcome:
    """Start at once."""
    return ReplicaOutcome(healthy=True)


async def cannot_start(order: ReplicaOrder) -> ReplicaOutcome:
    """Fail at once."""
    return ReplicaOutcome(healthy=False, reason="it does not want to")


async def never_starts(order: ReplicaOrder) -> ReplicaOutcome:
    """Start until that is called off."""
    await _until_called_off()
    raise AssertionError


async def stays_healthy(order: ReplicaOrder) -> ReplicaLost:
    """Watch until that is called off."""
    await _until_called_off()
    raise AssertionError


async def _until_called_off() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.02)


class Fleet:
    """Doubles under the registered names.

    Args:
        start: What becomes of a start.
        watch: What becomes of a replica that started.
    """

    def __init__(
        self,
        start: Callable[[ReplicaOrder], Awaitable[ReplicaOutcome]] = becomes_healthy,
        watch: Callable[[ReplicaOrder], Awaitable[ReplicaLost]] = stays_healthy,
    ) -> None:
        self.start = start
        self._watch = watch
        self.attempts: list[Attempt] = []
        self.running: set[int] = set()
        """Replicas that were started and not taken down."""
        self.watched: list[int] = []
        self.taken_down: list[int] = []
        self.ended_by: list[tuple[int, int, Driver]] = []
        """Place, revision and driver of each replica that was taken down."""
        self.before_take_down: Callable[[], Awaitable[object]] | None = None
        """What the ends of all replicas but the first wait for."""
        self.standing: set[tuple[int, int]] = set()
        """Place and revision of the replicas that were started and not taken down."""
        self.reports: list[DeploymentReport] = []
        self.others: list[Callable[..., object]] = []
        """Further activities on the replicas' queue."""
        self.revisions: list[Revision] = []
        self.outcomes: list[RevisionOutcome] = []

    def attempts_of(self, ordinal: int) -> list[Attempt]:
        """Give the starts of one replica, in their order."""
        return [attempt for attempt in self.attempts if attempt.ordinal == ordinal]

    @activity.defn(name="deployments.bring_up")
    async def bring_up(self, order: ReplicaOrder) -> ReplicaOutcome:
        """Note the attempt and its outcome."""
        self.attempts.append(Attempt(order.ordinal, order.restarts))
        self.running.add(order.ordinal)
        self.standing.add((order.ordinal, order.revision))
        outcome = await self.start(order)
        if not outcome.healthy:
            self.running.discard(order.ordinal)
            self.standing.discard((order.ordinal, order.revision))
        return outcome

    @activity.defn(name="deployments.watch")
    async def watch(self, order: ReplicaOrder) -> ReplicaLost:
        """Note the watch and its end."""
        self.watched.append(order.ordinal)
        lost = await self._watch(order)
        self.running.discard(order.ordinal)
        self.standing.discard((order.ordinal, order.revision))
        return lost

    @activity.defn(name="deployments.take_down")
    async def take_down(self, order: ReplicaOrder) -> None:
        """Note that the replica is gone."""
        if self.before_take_down is not None and order.ordinal:
            while not await self._may_go():
                activity.heartbeat()
        self.taken_down.append(order.ordinal)
        self.ended_by.append((order.ordinal, order.revision, order.driver))
        self.running.discard(order.ordinal)
        self.standing.discard((order.ordinal, order.revision))

    async def _may_go(self) -> bool:
        assert self.before_take_down is not None
        try:
            await asyncio.wait_for(self.before_take_down(), 0.02)
        except TimeoutError:
            return False
        return True

    @activity.defn(name="deployments.record")
    async def record(self, report: DeploymentReport) -> bool:
        """Note the report; the deployment is still wanted."""
        self.reports.append(report)
        return True

    @activity.defn(name="deployments.begin_revision")
    async def begin_revision(self, revision: Revision) -> None:
        """Note the revision."""
        self.revisions.append(revision)

    @activity.defn(name="deployments.settle_revision")
    async def settle_revision(self, outcome: RevisionOutcome) -> None:
        """Note what became of it."""
        self.outcomes.append(outcome)


@asynccontextmanager
async def deployed(client: Client, fleet: Fleet, replicas: int = 1) -> AsyncIterator[Handle]:
    """Run a deployment on doubles; terminate it at the end if it still runs.

    The client's namespace must have no other workers.
    """
    order = DeploymentOrder(
        deployment_id=uuid4(), slug="test", driver=Driver.PROCESS, replicas=replicas, patience=5.0
    )
    orchestration = Worker(
        client,
        task_queue=TaskQueue.ORCHESTRATION,
        workflows=[DeploymentWorkflow],
        activities=[fleet.record, fleet.begin_revision, fleet.settle_revision],
    )
    attendants = Worker(
        client,
        task_queue=TaskQueue.REPLICAS,
        activities=[fleet.bring_up, fleet.watch, fleet.take_down, *fleet.others],
        max_heartbeat_throttle_interval=timedelta(milliseconds=20),
        default_heartbeat_throttle_interval=timedelta(milliseconds=20),
    )
    async with orchestration, attendants:
        handle = await client.start_workflow(
            DeploymentWorkflow.run,
            order,
            id=deployment_workflow_id(order.deployment_id),
            task_queue=TaskQueue.ORCHESTRATION,
        )
        yield client.get_workflow_handle_for(DeploymentWorkflow.run, handle.id)
