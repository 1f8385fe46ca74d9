"""Tasks as their owners read and cancel them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from activities.feasibility_rules import RuleAnalyst
from mcp_platform.settings import ApiSettings
from tests.platform import Caller, RunningPlatform, free_port, running_platform
from tests.services.temporal import new_namespace
from tests.tasks.states import LAST_STEP, Deliberation
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("patient_queries")


async def list_tasks(caller: Caller, **query: Any) -> dict[str, Any]:
    """List tasks."""
    answer = await caller.get("/api/v1/tasks", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_finished_task_has_the_contracts_fields(platform: RunningPlatform) -> None:
    member = await platform.member()
    task_id = await member.start_analysis()
    done = await member.task_is(task_id, "completed")
    assert set(done) == {
        *("task_id", "kind", "status", "progress", "message", "result", "stale"),
        *("created_at", "completed_at"),
    }
    assert (done["task_id"], done["kind"], done["progress"]) == (task_id, "feasibility", 100)
    assert done["stale"] is False
    assert done["created_at"].endswith("Z")
    assert done["created_at"] < done["completed_at"]


async def test_a_running_task_tells_what_it_does_now_and_has_no_result(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    member = await platform.member()
    task_id = await deliberation.start_task(member)
    seen = (await member.get(f"/api/v1/tasks/{task_id}")).json()
    assert (seen["status"], seen["progress"], seen["message"]) == ("running", 65, LAST_STEP)
    assert "result" not in seen
    assert "completed_at" not in seen
    deliberation.end()
    assert (await member.task_is(task_id, "completed"))["progress"] == 100


async def test_many_readers_at_once_all_see_the_true_state(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    member = await platform.member()
    task_id = await deliberation.start_task(member)

    answers = await asyncio.gather(*(member.get(f"/api/v1/tasks/{task_id}") for _ in range(50)))
    assert {(seen.json()["status"], seen.json()["stale"]) for seen in answers} == {("running", False)}


async def test_a_task_that_fails_says_why(platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    async def judge(self: RuleAnalyst, *_args: object) -> None:
        raise ApplicationError("the analyst is on holiday", non_retryable=True)

    monkeypatch.setattr(RuleAnalyst, "judge", judge)
    member = await platform.member()
    failed = await member.task_is(await member.start_analysis(), "failed", "completed")
    assert failed["status"] == "failed"
    assert failed["error"] == "the analyst is on holiday"
    assert "result" not in failed
    assert failed["completed_at"]


async def test_everybody_lists_their_own_tasks_and_an_administrator_lists_all(
    platform: RunningPlatform,
) -> None:
    one, other, admin = await platform.member(), await platform.member(), await platform.admin()
    mine = [await one.start_analysis() for _ in range(3)]
    theirs = await other.start_analysis()
    assert [task["task_id"] for task in (await list_tasks(one))["items"]] == mine[::-1]
    assert [task["task_id"] for task in (await list_tasks(other))["items"]] == [theirs]
    newest = [task["task_id"] for task in (await list_tasks(admin, page_size=4))["items"]]
    assert newest == [theirs, *mine[::-1]]


async def test_a_list_is_filtered_and_paged(platform: RunningPlatform) -> None:
    member = await platform.member()
    tasks = [await member.start_analysis() for _ in range(3)]
    for task_id in tasks:
        await member.task_is(task_id, "completed")
    pages = [await list_tasks(member, page=page, page_size=2, status="completed") for page in (1, 2, 3)]
    assert [len(page["items"]) for page in pages] == [2, 1, 0]
    assert all((page["total"], page["pages"], page["page_size"]) == (3, 2, 2) for page in pages)
    assert [task["task_id"] for page in pages for task in page["items"]] == tasks[::-1]
    assert (await list_tasks(member, status="failed"))["total"] == 0
    assert (await list_tasks(member, kind="feasibility"))["total"] == 3
    for wrong in ({"status": "done"}, {"kind": "magic"}, {"page": 0}, {"page_size": 101}):
        assert (await member.get("/api/v1/tasks", params=wrong)).status_code == 422


async def test_a_cancelled_task_ends_cancelled_and_cannot_be_cancelled_again(
    platform: RunningPlatform, deliberation: Deliberation, temporal: Client
) -> None:
    member = await platform.member()
    task_id = await deliberation.start_task(member)
    accepted = await member.post(f"/api/v1/tasks/{task_id}/cancel")
    assert accepted.status_code == 202
    assert accepted.json() == {
        "task_id": task_id,
        "status": "running",
        "message": "Cancellation requested",
    }
    ended = await member.task_is(task_id, "cancelled")
    assert ended["completed_at"]
    assert ended["progress"] == 65
    again = await member.post(f"/api/v1/tasks/{task_id}/cancel")
    assert again.status_code == 409
    assert (again.json()["error_code"], again.json()["status"]) == ("CONFLICT", "cancelled")
    # The record is final a moment before the workflow is.
    closed = await eventually(
        temporal.get_workflow_handle(task_id).describe,
        lambda seen: seen.status is not WorkflowExecutionStatus.RUNNING,
    )
    assert closed.status is WorkflowExecutionStatus.CANCELED


async def test_a_task_that_is_finished_cannot_be_cancelled(platform: RunningPlatform) -> None:
    member = await platform.member()
    task_id = await member.start_analysis()
    await member.task_is(task_id, "completed")
    refused = await member.post(f"/api/v1/tasks/{task_id}/cancel")
    assert (refused.status_code, refused.json()["status"]) == (409, "completed")


async def test_somebody_elses_task_looks_like_one_that_does_not_exist(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    owner, other, admin = await platform.member(), await platform.member(), await platform.admin()
    task_id = await deliberation.start_task(owner)
    asked: list[Callable[[str], Awaitable[Any]]] = [
        lambda wanted: other.get(f"/api/v1/tasks/{wanted}"),
        lambda wanted: other.post(f"/api/v1/tasks/{wanted}/cancel"),
    ]
    for ask in asked:
        for wanted in (task_id, str(uuid4())):
            answer = await ask(wanted)
            assert answer.status_code == 404
            assert answer.json()["resource_type"] == "task"
            assert answer.json()["detail"] == "Task not found"
    assert (await admin.get(f"/api/v1/tasks/{task_id}")).status_code == 200
    assert (await owner.task_is(task_id, "running"))["task_id"] == task_id


async def test_a_viewer_neither_starts_nor_cancels_tasks(platform: RunningPlatform) -> None:
    viewer = await platform.member("viewer")
    started = await viewer.post("/api/v1/analyze/feasibility", json={"config": {"name": "An idea"}})
    assert (started.status_code, started.json()["required_permission"]) == (403, "analysis:run")
    cancelled = await viewer.post(f"/api/v1/tasks/{uuid4()}/cancel")
    assert (cancelled.status_code, cancelled.json()["required_permission"]) == (403, "tasks:cancel")


async def test_a_result_stays_when_temporal_has_forgotten_the_workflow(
    platform: RunningPlatform, temporal: Client
) -> None:
    member = await platform.member()
    task_id = await member.start_analysis()
    done = await member.task_is(task_id, "completed")
    settings = platform.settings.model_copy(update={"api": ApiSettings(port=free_port())})
    async with running_platform(settings, await new_namespace(temporal), with_worker=False) as forgetful:
        caller = forgetful.caller()
        caller.headers["Authorization"] = f"Bearer {member.token}"
        assert (await caller.get(f"/api/v1/tasks/{task_id}")).json() == done
