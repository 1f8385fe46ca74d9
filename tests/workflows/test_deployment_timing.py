"""When a deployment tries again: on a server that skips time, with doubles in place of replicas."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from mcp_platform.contracts.deployments import (
    DeploymentState,
    Health,
    ReplicaLost,
    ReplicaOrder,
    ReplicaOutcome,
)
from tests.services.temporal import time_skipping_server
from tests.waiting import eventually
from tests.workflows.fleet import Fleet, Handle, becomes_healthy, cannot_start, deployed
from workflows.deployments import DeploymentWorkflow

LONG = timedelta(seconds=31)
"""For so long a replica must have been healthy to be replaced at once."""
SHORT = timedelta(seconds=20)


@pytest.fixture(scope="module")
async def timeless() -> AsyncIterator[WorkflowEnvironment]:
    """Give a server whose clock jumps from timer to timer."""
    async with await time_skipping_server() as environment:
        yield environment


async def delays(deployment: Handle) -> list[float]:
    """Give the seconds that the workflow waited before each attempt but the first.

    They are those of its own timers that had fired: the attempts' times tell how busy this machine was, too.
    """
    waited: list[float] = []
    timers: dict[str, float] = {}
    delay = 0.0
    for event in (await deployment.fetch_history()).events:
        if event.HasField("timer_started_event_attributes"):
            timer = event.timer_started_event_attributes
            timers[timer.timer_id] = timer.start_to_fire_timeout.ToTimedelta().total_seconds()
        elif event.HasField("timer_fired_event_attributes"):
            delay += timers[event.timer_fired_event_attributes.timer_id]
        elif event.activity_task_scheduled_event_attributes.activity_type.name == "deployments.bring_up":
            waited.append(delay)
            delay = 0.0
    return waited[1:]


def lost_after(well: timedelta) -> Fleet:
    """Give a fleet whose replicas are well for this time, each of them."""

    async def watch(order: ReplicaOrder) -> ReplicaLost:
        # The time goes by between two attempts: while an activity runs, the clock does not jump.
        if activity.info().attempt == 1:
            raise ApplicationError("still well", next_retry_delay=well)
        return ReplicaLost(reason="it went away")

    return Fleet(becomes_healthy, watch)


async def test_a_replica_that_never_starts_is_tried_after_growing_delays_for_ever(
    timeless: WorkflowEnvironment,
) -> None:
    fleet = Fleet(cannot_start)
    async with deployed(timeless.client, fleet) as deployment:
        await timeless.sleep(timedelta(hours=1))
        report = await deployment.query(DeploymentWorkflow.status)
        assert report.status is DeploymentState.FAILED
        assert report.health_status is Health.UNHEALTHY
        assert report.reason is not None
        assert report.reason.startswith("replica 0: it does not want to; trying again after 60 s (attempt ")
        await deployment.signal(DeploymentWorkflow.stop)
        final = await deployment.result()
        waited = await delays(deployment)
    assert final.status is DeploymentState.STOPPED
    assert waited[:6] == [1, 2, 4, 8, 16, 32]
    assert set(waited[6:]) == {60}
    # An hour's worth of them: it never gives up.
    assert len(fleet.attempts) > 60
    assert [attempt.restarts for attempt in fleet.attempts] == list(range(len(fleet.attempts)))


async def test_a_replica_that_was_healthy_for_half_a_minute_is_replaced_at_once(
    timeless: WorkflowEnvironment,
) -> None:
    fleet = lost_after(LONG)
    async with deployed(timeless.client, fleet) as deployment:
        await timeless.sleep(LONG * 10)
        await deployment.signal(DeploymentWorkflow.stop)
        await deployment.result()
        waited = await delays(deployment)
    assert set(waited) == {0}
    assert len(fleet.attempts) >= 9
    assert any(report.reason and "trying again at once" in report.reason for report in fleet.reports)


async def test_a_replica_that_is_lost_soon_each_time_is_replaced_after_growing_delays(
    timeless: WorkflowEnvironment,
) -> None:
    fleet = lost_after(SHORT)
    async with deployed(timeless.client, fleet) as deployment:
        await timeless.sleep(timedelta(minutes=10))
        await deployment.signal(DeploymentWorkflow.stop)
        await deployment.result()
        waited = await delays(deployment)
    assert waited[:8] == [0, 1, 2, 4, 8, 16, 32, 60]
    assert any(report.status is DeploymentState.RUNNING for report in fleet.reports)
    assert any(report.status is DeploymentState.UNHEALTHY for report in fleet.reports)


async def test_the_delays_begin_anew_after_a_healthy_half_minute(timeless: WorkflowEnvironment) -> None:
    fleet = lost_after(LONG)

    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        # Three failures, a success that lasts, three failures, and so on.
        return await (becomes_healthy if len(fleet.attempts) % 4 == 0 else cannot_start)(order)

    fleet.start = start
    async with deployed(timeless.client, fleet) as deployment:
        await timeless.sleep(timedelta(minutes=5))
        await deployment.signal(DeploymentWorkflow.stop)
        await deployment.result()
        waited = await delays(deployment)
    assert waited[:8] == [1, 2, 4, 0, 1, 2, 4, 0]


async def test_stopping_does_not_wait_for_the_next_attempt(timeless: WorkflowEnvironment) -> None:
    fleet = Fleet(cannot_start)
    async with deployed(timeless.client, fleet) as deployment:
        # Half a minute after one attempt, and before the next one.
        await timeless.sleep(timedelta(minutes=10, seconds=33))
        tried = len(fleet.attempts)
        before = await timeless.get_current_time()
        await deployment.signal(DeploymentWorkflow.stop)

        async def stopped() -> bool:
            return (await deployment.describe()).close_time is not None

        await eventually(stopped)
        assert await timeless.get_current_time() - before < timedelta(seconds=20)
    assert len(fleet.attempts) == tried
    assert fleet.taken_down == [0]
    assert fleet.reports[-1].status is DeploymentState.STOPPED
