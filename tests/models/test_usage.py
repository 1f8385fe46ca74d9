"""What calls cost, who pays, and where it ends."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from mcp_platform.contracts.models import (
    Budget,
    BudgetState,
    CallOutcome,
    ModelCall,
    Spent,
    next_day,
)
from mcp_platform.model_settings import ModelSettings
from storage.sql.engine import Database
from storage.sql.model_usage import LONGEST_CALL, ModelUsageRepository
from tests.models.asking import CLEAR, Rig
from tests.models.provider import Provider, answering, failing, silent, waiting
from tests.storage.samples import stored_user
from tests.waiting import eventually

NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
USER = UUID(int=7)


def a_call(**changes: Any) -> ModelCall:
    """Describe a call that is in flight."""
    values = {
        "question_id": uuid4(),
        "number": 1,
        "user_id": USER,
        "task_id": "task",
        "prompt": "weather/v1",
        "model": "openai:test-model",
        "place": 0,
        "outcome": CallOutcome.IN_FLIGHT,
        "input_tokens": 60,
        "output_tokens": 40,
        "estimated": True,
        "cost_nanos": 5_000,
        "started_at": NOON,
    }
    return ModelCall.model_validate(values | changes)


async def begin(database: Database, call: ModelCall, budget: Budget) -> BudgetState:
    """Begin a call."""
    async with database.write() as session:
        return await ModelUsageRepository(session).begin(call, budget)


async def settle(database: Database, call: ModelCall, **changes: Any) -> bool:
    """Settle a call."""
    settled = {"outcome": CallOutcome.ANSWERED, "estimated": False, **changes}
    async with database.write() as session:
        return await ModelUsageRepository(session).settle(call.model_copy(update=settled))


async def spent(database: Database, now: datetime = NOON) -> Spent:
    """Add up what the account used."""
    async with database.read() as session:
        return await ModelUsageRepository(session).spent(USER, now)


async def test_a_call_is_set_aside_and_then_counted_once(database: Database) -> None:
    call = a_call()
    await begin(database, call, Budget())
    await begin(database, call, Budget())
    assert await spent(database) == Spent(reserved_tokens=100, reserved_nanos=5_000)
    assert await settle(database, call, input_tokens=50, output_tokens=1, cost_nanos=700)
    assert not await settle(database, call, input_tokens=9, output_tokens=9, cost_nanos=9)
    assert await spent(database) == Spent(tokens=51, nanos=700)


async def test_a_day_is_utc_and_others_pay_for_themselves(database: Database) -> None:
    await begin(database, a_call(started_at=NOON.replace(hour=0)), Budget())
    await begin(database, a_call(started_at=NOON - timedelta(days=1)), Budget())
    await begin(database, a_call(started_at=NOON + timedelta(hours=12)), Budget())
    await begin(database, a_call(user_id=uuid4()), Budget())
    assert (await spent(database)).tokens == 100


async def test_what_was_set_aside_by_who_is_gone_counts_as_used(database: Database) -> None:
    await begin(database, a_call(), Budget())
    later = NOON + LONGEST_CALL
    assert await spent(database, later) == Spent(tokens=100, nanos=5_000)
    async with database.read() as session:
        page = await ModelUsageRepository(session).list(
            later, since="2026-11-20", user_id=USER, page=1, page_size=5
        )
    assert [(item.calls, item.answered, item.input_tokens) for item in page.items] == [(1, 0, 60)]


@pytest.mark.parametrize("budget", [Budget(tokens=250), Budget(nanos=12_500)], ids=["tokens", "dollars"])
async def test_twenty_at_once_overrun_by_one_call_at_most(database: Database, budget: Budget) -> None:
    await stored_user(database, id=USER)
    calls = [a_call() for _ in range(20)]
    states = await asyncio.gather(*(begin(database, call, budget) for call in calls))
    assert states.count(BudgetState.FREE) == 3, "250 tokens are 100, 100 and a part of the third"
    assert states.count(BudgetState.RESERVED) == 17
    begun = [call for call, state in zip(calls, states, strict=True) if state is BudgetState.FREE]
    for call in begun:
        await settle(database, call)
    assert await begin(database, a_call(), budget) is BudgetState.USED_UP
    assert (await spent(database)).tokens == 300


async def test_what_was_set_aside_in_vain_is_free_again(database: Database) -> None:
    budget = Budget(tokens=100)
    call = a_call()
    assert await begin(database, call, budget) is BudgetState.FREE
    assert await begin(database, a_call(), budget) is BudgetState.RESERVED
    await settle(database, call, outcome=CallOutcome.AWAY, input_tokens=0, output_tokens=0)
    assert await begin(database, a_call(), budget) is BudgetState.FREE


async def test_usage_is_listed_by_day_model_and_account(database: Database) -> None:
    other = UUID(int=9)
    for call in (
        a_call(),
        a_call(model="openai:other", cost_nanos=None),
        a_call(started_at=NOON - timedelta(days=1)),
        a_call(started_at=NOON - timedelta(days=40)),
        a_call(user_id=other),
    ):
        await begin(database, call, Budget())
        await settle(database, call)
    second = a_call()
    await begin(database, second, Budget())
    await settle(database, second, outcome=CallOutcome.INVALID)
    async with database.read() as session:
        usage = ModelUsageRepository(session)
        mine = await usage.list(NOON, since="2026-10-22", user_id=USER, page=1, page_size=50)
        all_of_it = await usage.list(NOON, since="2026-10-22", user_id=None, page=2, page_size=3)
    assert [(item.day, item.model, item.calls, item.answered, item.cost) for item in mine.items] == [
        ("2026-11-20", "openai:other", 1, 1, None),
        ("2026-11-20", "openai:test-model", 2, 1, 0.00001),
        ("2026-11-19", "openai:test-model", 1, 1, 0.000005),
    ]
    assert all_of_it.total == 4
    assert [item.day for item in all_of_it.items] == ["2026-11-19"]


def test_a_day_ends_at_midnight() -> None:
    assert next_day(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == "2027-01-01T00:00:00Z"


def test_a_budget_in_dollars_needs_prices() -> None:
    chain = [{"model": "openai:x", "input_price": 1, "output_price": 2}, {"model": "openai:y"}]
    with pytest.raises(ValueError, match="openai:y"):
        ModelSettings.model_validate({"chain": chain, "daily_dollars": 1})
    assert (
        ModelSettings.model_validate({"chain": chain[:1], "daily_dollars": 1.5}).budget.nanos == 1_500_000_000
    )


async def test_a_budget_that_is_used_up_fails_the_question_and_asks_nobody(
    rig: Rig, provider: Provider
) -> None:
    owner, other = uuid4(), uuid4()
    async with rig.worker(provider.settings(daily_tokens=120)):
        assert (await rig.ask(owner_id=owner)).answer == CLEAR
        with pytest.raises(WorkflowFailureError) as caught:
            await rig.ask(owner_id=owner)
        assert (await rig.ask(owner_id=other)).answer == CLEAR
    cause = caught.value.cause.__cause__
    assert isinstance(cause, ApplicationError)
    assert cause.type == "BUDGET_EXHAUSTED"
    assert "120 tokens a day" in cause.message
    assert next_day(datetime.now(UTC)) in cause.message
    assert len(provider.requests) == 2


async def test_a_question_waits_for_what_others_have_set_aside(rig: Rig, provider: Provider) -> None:
    gate, owner = asyncio.Event(), uuid4()
    provider.next(waiting(gate, answering(CLEAR)))
    chain = [provider.model(max_output_tokens=1000)]
    async with rig.worker(provider.settings(chain, daily_tokens=900)):
        first = await rig.start(owner_id=owner)
        await eventually(lambda: asyncio.sleep(0, provider.requests))
        second = await rig.start(owner_id=owner)

        async def attempts() -> int:
            pending = (await second.describe()).raw_description.pending_activities
            return max((each.attempt for each in pending), default=0)

        await eventually(attempts, lambda seen: seen > 1)
        assert len(provider.requests) == 1
        gate.set()
        assert (await first.result()).answer == CLEAR
        assert (await second.result()).answer == CLEAR
    assert [call.input_tokens + call.output_tokens for call in await rig.calls()] == [120, 120]


async def test_a_provider_that_counts_nothing_does_not_escape_the_budget(
    rig: Rig, provider: Provider
) -> None:
    provider.next(answering(CLEAR, usage=None))
    async with rig.worker(provider.settings()):
        outcome = await rig.ask({"place": "x" * 3000})
    assert outcome.input_tokens > 1000
    assert [call.estimated for call in await rig.calls()] == [True]


async def test_failures_count_as_what_was_read(rig: Rig, provider: Provider) -> None:
    provider.always(failing(500), "first")
    provider.always(silent, "second")
    # Only the model that never answers is short of time: the others have it, however slow the machine is.
    chain = [provider.model("first"), provider.model("second", timeout=0.3), provider.model("third")]
    async with rig.worker(provider.settings(chain, retries=0)):
        await rig.ask({"place": "x" * 3000})
    refused, timed_out, answered = await rig.calls()
    assert refused.input_tokens == 0
    assert timed_out.input_tokens > 1000
    assert timed_out.output_tokens == 0
    assert (answered.input_tokens, answered.estimated) == (100, False)


async def test_a_task_that_is_cancelled_pays_for_what_is_under_way(rig: Rig, provider: Provider) -> None:
    provider.next(silent)
    async with rig.worker(provider.settings([provider.model(max_output_tokens=500)])):
        handle = await rig.start()
        await eventually(lambda: asyncio.sleep(0, provider.requests))
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await eventually(rig.outcomes, lambda seen: seen == ["lost"])
    assert [call.output_tokens for call in await rig.calls()] == [500]
