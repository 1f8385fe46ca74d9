"""Roll-outs on doubles: whatever comes between, the places end with one revision, and nothing is left."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from mcp_platform.contracts.deployments import (
    Autoscaling,
    DeploymentConfig,
    DeploymentOrder,
    DeploymentState,
    Driver,
    ReplicaLost,
    ReplicaOrder,
    ReplicaOutcome,
    RevisionCause,
    RevisionContent,
    RevisionState,
    RolloutOrder,
    ScaleDeployment,
)
from mcp_platform.contracts.loads import ObserveOrder, ScaleDecision
from tests.services.temporal import dev_server, new_namespace
from tests.waiting import PATIENCE, eventually
from tests.workflows.fleet import (
    Fleet,
    Handle,
    becomes_healthy,
    cannot_start,
    deployed,
    never_starts,
    stays_healthy,
)
from workflows.deployments import DeploymentWorkflow


@pytest.fixture
async def client(temporal: Client) -> Client:
    """Give a client of a namespace without workers."""
    return await new_namespace(temporal)


def rollout(replicas: int | None = None, **changes: Any) -> RolloutOrder:
    """Ask for another version."""
    content = RevisionContent(
        cause=RevisionCause.ROLLOUT,
        version="2.0.0",
        config_key="two",
        driver=Driver.PROCESS,
        config=DeploymentConfig(),
    )
    values = {"deployment_id": uuid4(), "slug": "test", "driver": Driver.PROCESS, "replicas": 1}
    values |= {"patience": 5.0, "check_interval": 0.1, "content": content}
    return RolloutOrder(order=DeploymentOrder.model_validate(values | changes), replicas=replicas)


async def is_running(deployment: Handle) -> None:
    """Wait until every replica answers."""
    await eventually(
        lambda: deployment.query(DeploymentWorkflow.status),
        lambda report: report.status is DeploymentState.RUNNING,
    )


async def roll_out(deployment: Handle, request: RolloutOrder) -> int:
    """Begin a roll-out; the number of its revision."""
    return (await deployment.execute_update(DeploymentWorkflow.roll_out, request)).number


async def is_settled(deployment: Handle, state: RevisionState) -> None:
    """Wait until the roll-out has ended so, and the record says it."""
    await eventually(
        lambda: deployment.query(DeploymentWorkflow.status),
        lambda report: report.rollout is not None and report.rollout.state is state,
    )


async def standing(fleet: Fleet, *wished: tuple[int, int]) -> None:
    """Wait until these replicas, by place and revision, stand, and no other."""

    async def now() -> set[tuple[int, int]]:
        return set(fleet.standing)

    await eventually(now, lambda seen: seen == set(wished))


async def ended(deployment: Handle, fleet: Fleet) -> None:
    """Stop it, and see that nothing stands any more."""
    await deployment.signal(DeploymentWorkflow.stop)
    async with asyncio.timeout(PATIENCE):
        await deployment.result()
    assert fleet.standing == set()


async def test_each_replica_starts_before_the_one_in_its_place_ends(client: Client) -> None:
    least: list[int] = []

    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        least.append(len({place for place, _ in fleet.standing}))
        return await becomes_healthy(order)

    fleet = Fleet(start)
    async with deployed(client, fleet, replicas=3) as deployment:
        await is_running(deployment)
        least.clear()
        assert await roll_out(deployment, rollout()) == 2
        await is_settled(deployment, RevisionState.ACTIVE)
        await standing(fleet, (0, 2), (1, 2), (2, 2))
        assert least == [3, 3, 3]
        assert [(outcome.number, outcome.state) for outcome in fleet.outcomes] == [(2, RevisionState.ACTIVE)]
        statuses = [report.status for report in fleet.reports]
        assert DeploymentState.UPDATING in statuses
        assert DeploymentState.DEGRADED not in statuses
        await ended(deployment, fleet)


async def test_a_rollout_that_fails_half_way_puts_every_place_back(client: Client) -> None:
    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        bad = order.revision == 2 and order.ordinal == 2
        return await (cannot_start if bad else becomes_healthy)(order)

    fleet = Fleet(start)
    async with deployed(client, fleet, replicas=3) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout())
        await is_settled(deployment, RevisionState.FAILED)
        await standing(fleet, (0, 1), (1, 1), (2, 1))
        report = await deployment.query(DeploymentWorkflow.status)
        assert report.status is DeploymentState.ROLLED_BACK
        assert "replica 2 of it did not become healthy: it does not want to" in (report.reason or "")
        # The number is used up; the next roll-out is another revision.
        assert await roll_out(deployment, rollout()) == 3
        await is_settled(deployment, RevisionState.ACTIVE)
        await standing(fleet, (0, 3), (1, 3), (2, 3))
        await ended(deployment, fleet)


async def test_a_version_that_dies_right_after_it_answered_is_rolled_back(client: Client) -> None:
    async def watch(order: ReplicaOrder) -> ReplicaLost:
        if order.revision == 2:
            return ReplicaLost(reason="it fell over", last_words="out of luck")
        return await stays_healthy(order)

    fleet = Fleet(watch=watch)
    async with deployed(client, fleet, replicas=2) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout(check_interval=5.0))
        await is_settled(deployment, RevisionState.FAILED)
        await standing(fleet, (0, 1), (1, 1))
        report = await deployment.query(DeploymentWorkflow.status)
        told = "did not stay healthy: it fell over; it last wrote: out of luck"
        assert told in (report.reason or "")
        await ended(deployment, fleet)


async def test_a_rollout_may_change_the_number_of_replicas_both_ways(client: Client) -> None:
    fleet = Fleet()
    async with deployed(client, fleet, replicas=2) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout(replicas=3))
        await is_settled(deployment, RevisionState.ACTIVE)
        await standing(fleet, (0, 2), (1, 2), (2, 2))
        await roll_out(deployment, rollout(replicas=1))
        await standing(fleet, (0, 3))
        await is_running(deployment)
        assert (await deployment.query(DeploymentWorkflow.status)).replicas == 1
        await ended(deployment, fleet)


@pytest.mark.parametrize("place", [0, 1])
async def test_a_rollout_that_is_called_off_leaves_no_trace(client: Client, place: int) -> None:
    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        stuck = order.revision == 2 and order.ordinal == place
        return await (never_starts if stuck else becomes_healthy)(order)

    fleet = Fleet(start)
    async with deployed(client, fleet, replicas=2) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout())
        await standing(fleet, (0, max(place + 1, 1)), (1, 1), (place, 2))
        with pytest.raises(WorkflowUpdateFailedError):
            await deployment.execute_update(DeploymentWorkflow.scale, ScaleDeployment(replicas=1))
        with pytest.raises(WorkflowUpdateFailedError):
            await roll_out(deployment, rollout())
        await deployment.execute_update(DeploymentWorkflow.call_off, "somebody")
        await is_settled(deployment, RevisionState.FAILED)
        await standing(fleet, (0, 1), (1, 1))
        with pytest.raises(WorkflowUpdateFailedError):
            await deployment.execute_update(DeploymentWorkflow.call_off, "somebody")
        await ended(deployment, fleet)


@pytest.mark.parametrize("place", [0, 1])
async def test_a_stop_in_the_middle_of_a_rollout_ends_both_revisions(client: Client, place: int) -> None:
    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        stuck = order.revision == 2 and order.ordinal == place
        return await (never_starts if stuck else becomes_healthy)(order)

    fleet = Fleet(start)
    async with deployed(client, fleet, replicas=2) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout())
        await standing(fleet, (0, max(place + 1, 1)), (1, 1), (place, 2))
        await ended(deployment, fleet)


async def test_a_failing_deployment_is_mended_by_a_rollout(client: Client) -> None:
    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        return await (cannot_start if order.revision == 1 else becomes_healthy)(order)

    fleet = Fleet(start)
    async with deployed(client, fleet) as deployment:
        await eventually(
            lambda: deployment.query(DeploymentWorkflow.status),
            lambda report: report.status is DeploymentState.FAILED,
        )
        await roll_out(deployment, rollout())
        await is_running(deployment)
        await standing(fleet, (0, 2))
        await ended(deployment, fleet)


@pytest.fixture
async def forgetful() -> AsyncIterator[WorkflowEnvironment]:
    """Give a server that soon suggests to continue as new."""
    async with await dev_server({"limit.historyCount.suggestContinueAsNew": "40"}) as environment:
        yield environment


async def test_the_revision_outlives_continuing_as_new(forgetful: WorkflowEnvironment) -> None:
    fleet = Fleet()
    async with deployed(forgetful.client, fleet, replicas=2) as deployment:
        await is_running(deployment)
        first = (await deployment.describe()).run_id
        for number in (2, 3, 4):
            assert await roll_out(deployment, rollout()) == number
            await is_settled(deployment, RevisionState.ACTIVE)
            await is_running(deployment)
        await standing(fleet, (0, 4), (1, 4))

        async def run() -> str | None:
            return (await deployment.describe()).run_id

        await eventually(run, lambda found: found != first)
        await ended(deployment, fleet)
    assert {outcome.state for outcome in fleet.outcomes} == {RevisionState.ACTIVE}


class Load:
    """Doubles the observing activity: it decides what a test says."""

    def __init__(self) -> None:
        self.decisions: asyncio.Queue[ScaleDecision] = asyncio.Queue()
        self.asked: list[ObserveOrder] = []

    @activity.defn(name="deployments.observe")
    async def observe(self, order: ObserveOrder) -> ScaleDecision:
        """Wait for the test's word."""
        self.asked.append(order)
        while self.decisions.empty():
            activity.heartbeat()
            await asyncio.sleep(0.02)
        return self.decisions.get_nowait()


async def test_it_follows_the_load_sleeps_and_wakes(client: Client) -> None:
    fleet, load = Fleet(), Load()
    fleet.others.append(load.observe)
    scaling = Autoscaling(min=1, max=3, calls_in_flight=5, idle_after=60)
    async with deployed(client, fleet, replicas=1) as deployment:
        await is_running(deployment)
        await deployment.execute_update(DeploymentWorkflow.scale, ScaleDeployment(autoscaling=scaling))
        for replicas, wished in (
            (3, {(0, 1), (1, 1), (2, 1)}),
            (1, {(0, 1)}),
            (0, set()),
            (2, {(0, 1), (1, 1)}),
        ):
            load.decisions.put_nowait(ScaleDecision(replicas=replicas, reason="the test says so"))
            await standing(fleet, *wished)
            status = DeploymentState.RUNNING if replicas else DeploymentState.IDLE
            await eventually(
                lambda: deployment.query(DeploymentWorkflow.status),
                lambda report, status=status: report.status is status,  # type: ignore[misc]
            )
        assert [order.replicas for order in load.asked[:4]] == [1, 3, 1, 0]
        assert [order.asleep for order in load.asked[:4]] == [False, False, False, True]
        assert load.asked[1].cool_down_left > 50
        await deployment.execute_update(DeploymentWorkflow.scale, ScaleDeployment(fixed=True))
        await eventually(
            lambda: deployment.query(DeploymentWorkflow.status), lambda report: report.autoscaling is None
        )
        await ended(deployment, fleet)


async def test_a_sleeping_deployment_is_woken_by_a_rollout(client: Client) -> None:
    fleet, load = Fleet(), Load()
    fleet.others.append(load.observe)
    scaling = Autoscaling(min=1, max=1, idle_after=60)
    async with deployed(client, fleet, replicas=1) as deployment:
        await is_running(deployment)
        await deployment.execute_update(DeploymentWorkflow.scale, ScaleDeployment(autoscaling=scaling))
        load.decisions.put_nowait(ScaleDecision(replicas=0, reason="nobody calls"))
        await standing(fleet)
        await roll_out(deployment, rollout(autoscaling=scaling))
        await is_running(deployment)
        await standing(fleet, (0, 2))
        await ended(deployment, fleet)


async def test_what_has_taken_over_is_not_called_off_any_more(client: Client) -> None:
    fleet = Fleet()
    leaving = asyncio.Event()
    async with deployed(client, fleet, replicas=2) as deployment:
        await is_running(deployment)
        fleet.before_take_down = leaving.wait
        # The surplus replica drains while the roll-out is being concluded.
        await roll_out(deployment, rollout(replicas=1))
        fleet_is_down_to = {(0, 2), (1, 1), (0, 1)}
        await eventually(lambda: _now(fleet), lambda seen: (0, 2) in seen and seen <= fleet_is_down_to)
        with pytest.raises(WorkflowUpdateFailedError):
            await _call_off_until_refused(deployment, leaving)
        await is_running(deployment)
        await standing(fleet, (0, 2))
        await ended(deployment, fleet)


async def test_ending_the_autoscaling_of_a_sleeping_deployment_wakes_it(client: Client) -> None:
    fleet, load = Fleet(), Load()
    fleet.others.append(load.observe)
    async with deployed(client, fleet, replicas=1) as deployment:
        await is_running(deployment)
        scaling = Autoscaling(min=1, max=1, idle_after=60)
        await deployment.execute_update(DeploymentWorkflow.scale, ScaleDeployment(autoscaling=scaling))
        load.decisions.put_nowait(ScaleDecision(replicas=0, reason="nobody calls"))
        await standing(fleet)
        await deployment.execute_update(DeploymentWorkflow.scale, ScaleDeployment(fixed=True))
        await is_running(deployment)
        await ended(deployment, fleet)


async def test_each_replica_is_ended_by_the_driver_that_started_it(client: Client) -> None:
    fleet = Fleet()
    async with deployed(client, fleet, replicas=3) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout(replicas=1, driver=Driver.DOCKER))
        await is_settled(deployment, RevisionState.ACTIVE)
        await standing(fleet, (0, 2))
        await ended(deployment, fleet)
    assert {(revision, driver) for _, revision, driver in fleet.ended_by} == {
        (1, Driver.PROCESS),
        (2, Driver.DOCKER),
    }


async def _now(fleet: Fleet) -> set[tuple[int, int]]:
    return set(fleet.standing)


async def _call_off_until_refused(deployment: Handle, leaving: asyncio.Event) -> None:
    """Call off while the new revision concludes; then let what leaves leave."""
    try:
        report = await eventually(
            lambda: deployment.query(DeploymentWorkflow.status),
            lambda report: report.rollout is not None and report.replicas == 1,
        )
        assert report.rollout is not None
        await deployment.execute_update(DeploymentWorkflow.call_off, "somebody")
    finally:
        leaving.set()
