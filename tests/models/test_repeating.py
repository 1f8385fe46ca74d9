"""An activity may run twice: it asks once, and what it asked counts once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import delete, update
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker

from activities.clients.models.chain import ModelChain
from activities.clients.models.masking import AccountMasks
from activities.models import ModelActivities
from mcp_platform.contracts.models import CallOutcome, ModelInput, ModelOrder, ModelOutcome
from mcp_platform.model_settings import ModelSettings
from mcp_platform.names import Collection, TaskQueue
from storage.sql.tables import DocumentRow, ModelCallRow
from tests.models.ask_workflow import AskWorkflow, Impatient
from tests.models.asking import CLEAR, WEATHER, Rig
from tests.models.provider import Provider


async def asked_twice(rig: Rig, settings: ModelSettings, between: Any) -> list[ModelOutcome]:
    """Run the same activity twice, as Temporal does when it did not hear of its end."""
    task_id = str(uuid4())
    told = ModelInput(sections={"place": "Oslo"}).model_dump(mode="json")
    await rig.stores.documents.put(Collection.MODEL_INPUTS, f"{task_id}/1", told)
    order = ModelOrder(task_id=task_id, owner_id=uuid4(), prompt=WEATHER.name, input_key=f"{task_id}/1")
    chain = ModelChain(settings, rig.secrets)
    room = ModelActivities(rig.stores, chain, AccountMasks(rig.secrets, ()), settings)
    environment = ActivityEnvironment()
    environment.info = replace(
        environment.info, heartbeat_timeout=timedelta(seconds=10), scheduled_time=datetime.now(UTC)
    )
    try:
        first = await environment.run(room.ask, order)
        await between()
        return [first, await environment.run(room.ask, order)]
    finally:
        await chain.close()


async def test_an_answer_that_nobody_heard_of_is_given_again(rig: Rig, provider: Provider) -> None:
    async def nothing() -> None:
        pass

    first, second = await asked_twice(rig, provider.settings(), nothing)
    assert first == second
    assert first.answer == CLEAR
    assert len(provider.requests) == 1
    assert await rig.outcomes() == ["answered"]


async def test_an_end_before_the_record_of_the_answer_is_made_up_for(rig: Rig, provider: Provider) -> None:
    async def as_it_was_before() -> None:
        async with rig.stores.database.write() as session:
            await session.execute(
                update(ModelCallRow).values(outcome=CallOutcome.IN_FLIGHT, input_tokens=9, output_tokens=9)
            )

    first, second = await asked_twice(rig, provider.settings(), as_it_was_before)
    assert first == second
    assert len(provider.requests) == 1
    [call] = await rig.calls()
    assert (call.outcome, call.input_tokens, call.output_tokens) == (CallOutcome.ANSWERED, 100, 20)


async def test_a_call_whose_worker_was_killed_counts_as_set_aside(rig: Rig, provider: Provider) -> None:
    async def as_after_a_kill() -> None:
        async with rig.stores.database.write() as session:
            await session.execute(update(ModelCallRow).values(outcome=CallOutcome.IN_FLIGHT, input_tokens=9))
            await session.execute(
                delete(DocumentRow)
                .where(DocumentRow.collection == Collection.MODEL_INPUTS)
                .where(DocumentRow.key.contains("answer"))
            )

    await asked_twice(rig, provider.settings(), as_after_a_kill)
    assert len(provider.requests) == 2
    assert [(call.outcome, call.input_tokens) for call in await rig.calls()] == [
        (CallOutcome.LOST, 9),
        (CallOutcome.ANSWERED, 100),
    ]


async def test_without_a_worker_for_models_the_rules_have_to_do_in_the_end(namespace: Client) -> None:
    order = ModelOrder(task_id="task", owner_id=uuid4(), prompt=WEATHER.name, input_key="task/1")
    queue = TaskQueue.ORCHESTRATION
    async with Worker(namespace, task_queue=queue, workflows=[AskWorkflow], interceptors=[Impatient()]):
        outcome = await namespace.execute_workflow(AskWorkflow.run, order, id=str(uuid4()), task_queue=queue)
    assert outcome == ModelOutcome(reason="no model answered in time")
