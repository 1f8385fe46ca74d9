"""An authorization's workflow: it waits for a person, refreshes for months, and ends when told."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from mcp_platform.contracts.oauth import AuthorizationState, AuthorizationStep
from tests.oauth.rehearsal import EXPIRED, Rehearsal, rehearsed
from tests.services.temporal import dev_server, new_namespace, time_skipping_server
from tests.waiting import eventually
from workflows.authorizations import AuthorizationWorkflow


@pytest.fixture(scope="module")
async def timeless() -> AsyncIterator[WorkflowEnvironment]:
    """Give a server whose clock jumps from timer to timer."""
    async with await time_skipping_server() as environment:
        yield environment


async def test_nobody_who_agrees_in_time_ends_it(timeless: WorkflowEnvironment) -> None:
    async with rehearsed(timeless.client, Rehearsal()) as handle:
        step = await handle.result()
    assert step.state is AuthorizationState.FAILED
    assert step.detail == "Nobody agreed in time"


async def test_a_token_without_an_end_is_looked_after_until_it_is_not_wanted_any_more(
    timeless: WorkflowEnvironment,
) -> None:
    rehearsal = Rehearsal()
    rehearsal.first = AuthorizationStep(state=AuthorizationState.ACTIVE, replaced=[uuid4()])
    async with rehearsed(timeless.client, rehearsal) as handle:
        await handle.execute_update(AuthorizationWorkflow.settled)
        step = await handle.result()
    assert step.state is AuthorizationState.ENDED
    assert (rehearsal.given_back, rehearsal.refreshed) == (1, 0)


async def test_it_goes_on_in_another_run_and_still_ends_when_told() -> None:
    async with await dev_server({"limit.historyCount.suggestContinueAsNew": "20"}) as environment:
        rehearsal = Rehearsal()
        async with rehearsed(environment.client, rehearsal) as handle:
            await handle.execute_update(AuthorizationWorkflow.settled)
            first = (await handle.describe()).run_id
            found = environment.client.get_workflow_handle(handle.id, result_type=AuthorizationStep)

            async def run() -> str | None:
                return (await found.describe()).run_id

            await eventually(run, lambda number: number != first)
            assert (await found.query(AuthorizationWorkflow.step)).state is AuthorizationState.ACTIVE
            await found.signal(AuthorizationWorkflow.end)
            assert (await found.result()).state is AuthorizationState.ENDED
    assert rehearsal.given_back == 1


async def test_a_refused_refresh_ends_it(temporal_environment: WorkflowEnvironment) -> None:
    namespace = await new_namespace(temporal_environment.client)
    async with rehearsed(namespace, Rehearsal([EXPIRED])) as handle:
        assert (await handle.execute_update(AuthorizationWorkflow.settled)).state is not None
        assert await handle.result() == EXPIRED
        assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
