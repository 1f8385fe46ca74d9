"""A build's workflow tells how far it is, and what came of it."""

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from mcp_platform.contracts.tasks import TaskState, TaskStatus
from tests.images.rehearsal import BUILDING, Rehearsal, fails, goes_on, rehearsed, succeeds
from tests.services.temporal import new_namespace
from tests.waiting import eventually
from workflows.images import BuildImageWorkflow


async def test_a_build_that_succeeds_gives_the_image(temporal: Client) -> None:
    rehearsal = Rehearsal(succeeds)
    async with rehearsed(await new_namespace(temporal), rehearsal) as handle:
        status = await handle.result()
    assert status.status is TaskState.COMPLETED
    assert status.result is not None
    assert status.result["image"].startswith("sha256:")
    assert [outcome.status for outcome in rehearsal.outcomes] == [TaskState.COMPLETED]


async def test_a_build_that_fails_gives_the_reason_and_is_not_repeated(temporal: Client) -> None:
    rehearsal = Rehearsal(fails)
    async with rehearsed(await new_namespace(temporal), rehearsal) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert "No matching distribution found for x" in failed.value.cause.message
    assert [outcome.error for outcome in rehearsal.outcomes] == [failed.value.cause.message]


async def test_a_build_shows_the_step_that_it_is_at_until_it_is_called_off(temporal: Client) -> None:
    rehearsal = Rehearsal(goes_on)
    async with rehearsed(await new_namespace(temporal), rehearsal) as handle:

        async def status() -> TaskStatus:
            return await handle.query(BuildImageWorkflow.status)

        seen = await eventually(status, lambda found: found.message == BUILDING)
        assert (seen.status, seen.progress) == (TaskState.RUNNING, 70)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as ended:
            await handle.result()
    assert isinstance(ended.value.cause, CancelledError)
    assert [outcome.status for outcome in rehearsal.outcomes] == [TaskState.CANCELLED]
