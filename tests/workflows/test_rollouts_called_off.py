"""What calls a roll-out off just when one of its steps is done: it is heard all the same."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from mcp_platform.contracts.deployments import (
    DeploymentReport,
    ReplicaOrder,
    ReplicaOutcome,
    Revision,
    RevisionState,
)
from tests.services.temporal import new_namespace
from tests.waiting import PATIENCE, eventually
from tests.workflows.fleet import Fleet, becomes_healthy, cannot_start, deployed, never_starts
from tests.workflows.test_rollouts import ended, is_running, is_settled, roll_out, rollout, standing
from workflows.deployments import DeploymentWorkflow

Start = Callable[[ReplicaOrder], Awaitable[ReplicaOutcome]]


@pytest.fixture
async def client(temporal: Client) -> Client:
    """Give a client of a namespace without workers."""
    return await new_namespace(temporal)


def heedless(then: Start) -> Start:
    """Start until that is called off, and then end as if it had not been."""

    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        try:
            return await never_starts(order)
        except asyncio.CancelledError:
            return await then(order)

    return start


class Starts:
    """What becomes of the starts, by place and revision.

    Args:
        others: Those that do not succeed at once.
    """

    def __init__(self, others: dict[tuple[int, int], Start]) -> None:
        self.others = others
        self.seen: list[tuple[int, int]] = []
        self.fleet = Fleet(self._start)

    async def _start(self, order: ReplicaOrder) -> ReplicaOutcome:
        which = (order.ordinal, order.revision)
        self.seen.append(which)
        return await self.others.get(which, becomes_healthy)(order)

    async def have(self, which: tuple[int, int]) -> None:
        """Wait until this one has begun."""

        async def seen() -> bool:
            return which in self.seen

        await eventually(seen)


class SlowRecord(Fleet):
    """Doubles whose record of a roll-out takes until a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.recording = asyncio.Event()
        self.may_go_on = asyncio.Event()

    @activity.defn(name="deployments.record")
    async def record(self, report: DeploymentReport) -> bool:
        """Record it once that is allowed."""
        if report.rollout is not None:
            self.recording.set()
            await self.may_go_on.wait()
        return await super().record(report)


class RefusedRecord(Fleet):
    """Doubles that record no first roll-out, once a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_refuse = asyncio.Event()

    @activity.defn(name="deployments.begin_revision")
    async def begin_revision(self, revision: Revision) -> None:
        """Refuse the first one."""
        if self.asked.is_set():
            return await super().begin_revision(revision)
        self.asked.set()
        await self.may_refuse.wait()
        raise ApplicationError("no room for it", non_retryable=True)


@pytest.mark.parametrize("outcome", [becomes_healthy, cannot_start])
@pytest.mark.parametrize("place", [0, 1])
async def test_a_start_that_is_done_just_when_the_rollout_is_called_off_takes_nothing_over(
    client: Client, place: int, outcome: Start
) -> None:
    starts = Starts({(place, 2): heedless(outcome)})
    async with deployed(client, starts.fleet, replicas=3) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout())
        await starts.have((place, 2))
        await deployment.execute_update(DeploymentWorkflow.call_off, "somebody")
        await is_settled(deployment, RevisionState.FAILED)
        await standing(starts.fleet, (0, 1), (1, 1), (2, 1))
        report = await deployment.query(DeploymentWorkflow.status)
        assert report.rollout is not None
        assert report.rollout.reason == "called off by somebody"
        assert starts.seen.count((place, 2)) == 1
        assert (place + 1, 2) not in starts.seen
        await ended(deployment, starts.fleet)


@pytest.mark.parametrize("outcome", [becomes_healthy, cannot_start])
async def test_a_stop_just_when_a_start_is_done_waits_for_no_other_one(
    client: Client, outcome: Start
) -> None:
    starts = Starts({(0, 2): heedless(outcome)})
    async with deployed(client, starts.fleet, replicas=2) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout())
        await starts.have((0, 2))
        await ended(deployment, starts.fleet)
    assert [which for which in starts.seen if which[1] == 2] == [(0, 2)]


async def test_a_stop_on_the_way_back_waits_for_no_other_start(client: Client) -> None:
    starts = Starts({(2, 2): cannot_start})
    async with deployed(client, starts.fleet, replicas=3) as deployment:
        await is_running(deployment)
        starts.seen.clear()
        # The last place fails when the others have changed, and of those place 1 is put back first.
        starts.others[1, 1] = heedless(becomes_healthy)
        await roll_out(deployment, rollout())
        await starts.have((1, 1))
        await ended(deployment, starts.fleet)
    assert [which for which in starts.seen if which[1] == 1] == [(1, 1)]


async def test_a_rollout_is_answered_once_it_is_recorded(client: Client) -> None:
    """Or a rollback right behind it would find none to call off."""
    fleet = SlowRecord()
    async with deployed(client, fleet) as deployment:
        await is_running(deployment)
        asking = asyncio.create_task(roll_out(deployment, rollout()))
        await fleet.recording.wait()
        events = (await deployment.fetch_history()).events
        assert not any(
            event.HasField("workflow_execution_update_completed_event_attributes") for event in events
        )
        fleet.may_go_on.set()
        assert await asking == 2
        assert any(report.rollout and report.rollout.revision == 2 for report in fleet.reports)
        await ended(deployment, fleet)


async def test_a_rollout_is_answered_too_where_the_deployment_is_stopped_meanwhile(client: Client) -> None:
    fleet = SlowRecord()
    async with deployed(client, fleet) as deployment:
        await is_running(deployment)
        asking = asyncio.create_task(roll_out(deployment, rollout()))
        await fleet.recording.wait()
        await deployment.signal(DeploymentWorkflow.stop)
        async with asyncio.timeout(PATIENCE):
            assert await asking == 2
        fleet.may_go_on.set()
        await ended(deployment, fleet)


async def test_a_call_off_of_what_could_not_be_recorded_does_not_hit_the_next_rollout(client: Client) -> None:
    fleet = RefusedRecord()
    async with deployed(client, fleet, replicas=1) as deployment:
        await is_running(deployment)
        refused = asyncio.create_task(roll_out(deployment, rollout()))
        await fleet.asked.wait()
        await deployment.execute_update(DeploymentWorkflow.call_off, "somebody")
        fleet.may_refuse.set()
        with pytest.raises(WorkflowUpdateFailedError):
            await refused
        await roll_out(deployment, rollout())
        await is_settled(deployment, RevisionState.ACTIVE)
        await ended(deployment, fleet)
