"""Tasks whose workflow was ended from outside, never began, or has nobody to run it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from mcp_platform.contracts.tasks import TaskRecord, TaskState
from tests.platform import RunningPlatform, quick_settings, running_platform
from tests.services.temporal import new_namespace
from tests.tasks.sockets import open_socket
from tests.tasks.states import Deliberation, record_task
from tests.waiting import eventually, in_one_task
from tests.worker.states import reconcile
from worker.app import running_worker

LONG_AGO = timedelta(minutes=5)


@pytest.fixture
async def workless(tmp_path: Path, temporal: Client) -> AsyncIterator[RunningPlatform]:
    """Give a platform without a worker, in a namespace of its own."""
    client = await new_namespace(temporal)
    settings = quick_settings(tmp_path)
    async with in_one_task(running_platform(settings, client, with_worker=False)) as running:
        yield running


async def recorded(platform: RunningPlatform, task_id: str) -> TaskRecord:
    """Read a task's record."""
    async with platform.parts.stores.read() as rows:
        record = await rows.tasks.get(task_id)
    assert record is not None
    return record


async def test_a_task_terminated_in_temporal_shows_failed_at_once_and_is_settled(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    member = await platform.member()
    task_id = await record_task(platform, member, LONG_AGO, start=True)
    seen = await eventually(
        lambda: member.task_is(task_id, "running", "failed"), lambda task: task["progress"] == 65
    )
    assert seen["status"] == "running"
    await platform.parts.temporal.get_workflow_handle(task_id).terminate("by an operator")
    failed = await member.task_is(task_id, "failed")
    assert failed["error"] == "its workflow was ended from outside (terminated)"
    assert failed["progress"] == 65
    await reconcile(platform)
    record = await recorded(platform, task_id)
    assert record.status is TaskState.FAILED
    assert record.completed_at is not None
    settled = (await member.get(f"/api/v1/tasks/{task_id}")).json()
    assert settled["error"] == failed["error"]
    assert (await member.post(f"/api/v1/tasks/{task_id}/cancel")).status_code == 409


async def test_a_task_that_was_never_started_is_settled_as_failed(platform: RunningPlatform) -> None:
    member = await platform.member()
    task_id = await record_task(platform, member, LONG_AGO, start=False)
    await reconcile(platform)
    failed = await member.task_is(task_id, "failed")
    assert failed["error"] == "it was never started"


async def test_a_task_that_is_just_being_started_is_left_alone(platform: RunningPlatform) -> None:
    member = await platform.member()
    task_id = await record_task(platform, member, timedelta(0), start=False)
    findings = await reconcile(platform)
    assert task_id not in findings.tasks_settled
    assert (await recorded(platform, task_id)).status is TaskState.PENDING


async def test_without_a_worker_the_last_state_is_shown_as_stale_until_one_comes(
    workless: RunningPlatform,
) -> None:
    member = await workless.member()
    task_id = await member.start_analysis()
    seen = (await member.get(f"/api/v1/tasks/{task_id}")).json()
    assert (seen["status"], seen["message"], seen["stale"]) == ("pending", "Queued", True)
    parts = workless.parts
    async with running_worker(workless.settings, parts.temporal, parts.stores):
        done = await member.task_is(task_id, "completed")
    assert done["stale"] is False
    # And what is final stays true, with or without a worker.
    assert (await member.get(f"/api/v1/tasks/{task_id}")).json() == done


async def test_a_task_cancelled_before_it_began_ends_cancelled(workless: RunningPlatform) -> None:
    member = await workless.member()
    task_id = await member.start_analysis()
    assert (await member.post(f"/api/v1/tasks/{task_id}/cancel")).status_code == 202
    parts = workless.parts
    async with running_worker(workless.settings, parts.temporal, parts.stores):
        await member.task_is(task_id, "cancelled")
        await eventually(
            lambda: recorded(workless, task_id), lambda record: record.status is TaskState.CANCELLED
        )


async def test_a_socket_is_told_a_stale_state_and_the_true_ones_once_a_worker_comes(
    workless: RunningPlatform,
) -> None:
    member = await workless.member()
    task_id = await member.start_analysis()
    parts = workless.parts
    async with open_socket(workless, member.token) as socket:
        await socket.send("subscribe", task_id)
        first = await socket.next()
        assert (first["status"], first["stale"]) == ("pending", True)
        async with running_worker(workless.settings, parts.temporal, parts.stores):
            last = (await socket.until_final(task_id))[-1]
    assert (last["status"], last["stale"]) == ("completed", False)
