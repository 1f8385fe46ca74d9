"""What is asked of a deployment while it does something else: doubles in place of replicas."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from mcp_platform.contracts.deployments import (
    DeploymentState,
    ReplicaOrder,
    ReplicaOutcome,
    ScaleDeployment,
)
from tests.services.temporal import dev_server, new_namespace
from tests.waiting import PATIENCE, eventually
from tests.workflows.fleet import (
    Fleet,
    Handle,
    becomes_healthy,
    cannot_start,
    deployed,
    never_starts,
)
from workflows.deployments import DeploymentWorkflow


@pytest.fixture
async def client(temporal: Client) -> Client:
    """Give a client of a namespace without workers."""
    return await new_namespace(temporal)


async def is_in(deployment: Handle, state: DeploymentState) -> None:
    """Wait until the deployment is in this state."""
    await eventually(
        lambda: deployment.query(DeploymentWorkflow.status), lambda report: report.status is state
    )


async def has_attempts(fleet: Fleet, *ordinals: int) -> None:
    """Wait until each of these replicas is being started, and no other."""

    async def tried() -> set[int]:
        return {attempt.ordinal for attempt in fleet.attempts}

    await eventually(tried, lambda seen: seen == set(ordinals))


async def ended(deployment: Handle) -> DeploymentState:
    """Wait for the end, with a bound; the final state."""
    async with asyncio.timeout(PATIENCE):
        return (await deployment.result()).status


async def test_a_stop_while_replicas_start_calls_that_off_and_takes_them_down(client: Client) -> None:
    fleet = Fleet(never_starts)
    async with deployed(client, fleet, replicas=3) as deployment:
        await has_attempts(fleet, 0, 1, 2)
        await deployment.signal(DeploymentWorkflow.stop)
        assert await ended(deployment) is DeploymentState.STOPPED
    assert sorted(fleet.taken_down) == [0, 1, 2]
    assert fleet.running == set()
    assert [report.status for report in fleet.reports[-2:]] == [
        DeploymentState.STOPPING,
        DeploymentState.STOPPED,
    ]


async def test_a_start_that_succeeds_just_when_it_is_called_off_leaves_nothing_behind(client: Client) -> None:
    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        try:
            return await never_starts(order)
        except asyncio.CancelledError:
            return ReplicaOutcome(healthy=True)

    fleet = Fleet(start)
    async with deployed(client, fleet, replicas=2) as deployment:
        await has_attempts(fleet, 0, 1)
        await deployment.signal(DeploymentWorkflow.stop)
        assert await ended(deployment) is DeploymentState.STOPPED
    assert fleet.running == set()
    assert len(fleet.attempts) == 2


async def test_stopping_twice_is_the_same_as_stopping_once(client: Client) -> None:
    fleet = Fleet()
    async with deployed(client, fleet, replicas=2) as deployment:
        await is_in(deployment, DeploymentState.RUNNING)
        await asyncio.gather(*(deployment.signal(DeploymentWorkflow.stop) for _ in range(2)))
        assert await ended(deployment) is DeploymentState.STOPPED
    assert sorted(fleet.taken_down) == [0, 1]


@pytest.mark.parametrize("start", [becomes_healthy, never_starts, cannot_start])
async def test_a_cancellation_from_outside_is_a_stop(client: Client, start: object) -> None:
    fleet = Fleet(start)  # type: ignore[arg-type]
    async with deployed(client, fleet, replicas=2) as deployment:
        await has_attempts(fleet, 0, 1)
        await deployment.cancel()
        assert await ended(deployment) is DeploymentState.STOPPED
        assert (await deployment.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert sorted(fleet.taken_down) == [0, 1]
    assert fleet.running == set()


async def test_a_cancellation_before_the_first_step_still_ends_as_stopped(client: Client) -> None:
    fleet = Fleet()
    async with deployed(client, fleet) as deployment:
        await deployment.cancel()
        assert await ended(deployment) is DeploymentState.STOPPED
    assert fleet.running == set()
    assert fleet.reports[-1].status is DeploymentState.STOPPED


async def scale(deployment: Handle, replicas: int) -> int:
    """Scale; how many replicas are wished then."""
    async with asyncio.timeout(PATIENCE):
        order = ScaleDeployment(replicas=replicas)
        return (await deployment.execute_update(DeploymentWorkflow.scale, order)).replicas


async def test_growing_while_a_replica_starts_waits_for_none(client: Client) -> None:
    fleet = Fleet(never_starts)
    async with deployed(client, fleet) as deployment:
        await has_attempts(fleet, 0)
        assert await scale(deployment, 3) == 3
        await has_attempts(fleet, 0, 1, 2)
        assert len(fleet.attempts) == 3
        await deployment.signal(DeploymentWorkflow.stop)
        await ended(deployment)


async def test_shrinking_calls_starts_off_and_answers_when_the_surplus_is_gone(client: Client) -> None:
    fleet = Fleet(never_starts)
    async with deployed(client, fleet, replicas=3) as deployment:
        await has_attempts(fleet, 0, 1, 2)
        assert await scale(deployment, 1) == 1
        assert sorted(fleet.taken_down) == [1, 2]
        assert fleet.running == {0}
        assert fleet.reports[-1].replicas == 1
        # Back again: they start anew, and the first one was never disturbed.
        assert await scale(deployment, 2) == 2
        await eventually(lambda: _count(fleet, 1), lambda number: number == 2)
        assert len(fleet.attempts_of(0)) == 1
        await deployment.signal(DeploymentWorkflow.stop)
        await ended(deployment)
    assert fleet.running == set()


async def _count(fleet: Fleet, ordinal: int) -> int:
    return len(fleet.attempts_of(ordinal))


async def test_a_deployment_that_is_being_stopped_cannot_be_scaled(client: Client) -> None:
    fleet = Fleet()
    held = asyncio.Event()

    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        try:
            return await never_starts(order)
        finally:
            await held.wait()

    fleet.start = start
    async with deployed(client, fleet) as deployment:
        await has_attempts(fleet, 0)
        await deployment.signal(DeploymentWorkflow.stop)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await scale(deployment, 2)
        assert "being stopped" in str(refused.value.cause)
        held.set()
        await ended(deployment)


@pytest.fixture(scope="module")
async def forgetful() -> AsyncIterator[WorkflowEnvironment]:
    """Give a server that soon suggests to continue as new."""
    async with await dev_server({"limit.historyCount.suggestContinueAsNew": "20"}) as environment:
        yield environment


async def first_run(deployment: Handle) -> str | None:
    """Give the id of the present run."""
    return (await deployment.describe()).run_id


async def test_a_new_run_keeps_the_places_and_disturbs_no_healthy_replica(
    forgetful: WorkflowEnvironment,
) -> None:
    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        return await (becomes_healthy if order.ordinal == 0 else cannot_start)(order)

    fleet = Fleet(start)
    async with deployed(forgetful.client, fleet, replicas=2) as deployment:
        first = await first_run(deployment)
        await eventually(lambda: first_run(deployment), lambda run: run != first)
        tried = len(fleet.attempts_of(1))
        await eventually(lambda: _count(fleet, 1), lambda number: number > tried)
        report = await deployment.query(DeploymentWorkflow.status)
        assert (report.status, report.healthy, report.replicas) == (DeploymentState.DEGRADED, 1, 2)
        assert report.reason is not None
        assert "replica 1: it does not want to" in report.reason
        assert fleet.taken_down == []
        await deployment.signal(DeploymentWorkflow.stop)
        assert await ended(deployment) is DeploymentState.STOPPED
    assert len(fleet.attempts_of(0)) == 1
    # Watched by the first run, and by the one that took it over.
    assert fleet.watched.count(0) >= 2
    assert [attempt.restarts for attempt in fleet.attempts_of(1)] == list(range(len(fleet.attempts_of(1))))
    assert fleet.running == set()


async def test_no_update_is_lost_between_two_runs(forgetful: WorkflowEnvironment) -> None:
    fleet = Fleet()
    async with deployed(forgetful.client, fleet) as deployment:
        first = await first_run(deployment)
        for replicas in (2, 4, 1, 3, 2, 5, 1, 2):
            assert await scale(deployment, replicas) == replicas
        answers = await asyncio.gather(*(scale(deployment, number) for number in (3, 1, 4, 2)))
        assert set(answers) <= {1, 2, 3, 4}
        await eventually(lambda: first_run(deployment), lambda run: run != first)
        assert await scale(deployment, 3) == 3
        await is_in(deployment, DeploymentState.RUNNING)
        assert fleet.running == {0, 1, 2}
        assert len(fleet.attempts_of(0)) == 1
        await deployment.signal(DeploymentWorkflow.stop)
        assert await ended(deployment) is DeploymentState.STOPPED
    assert fleet.running == set()
