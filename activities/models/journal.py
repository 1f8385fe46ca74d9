"""The record of a question's calls: it outlives the attempts of the activity that makes them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.models.failures import STEPS, Step
from mcp_platform.contracts.models import (
    NANOS,
    BudgetState,
    CallOutcome,
    ModelCall,
    ModelOrder,
    ModelOutcome,
    next_day,
)
from mcp_platform.errors import BudgetExhausted, PlatformError
from mcp_platform.names import Collection

if TYPE_CHECKING:
    from mcp_platform.model_settings import ChainedModel, ModelSettings
    from storage.stores import Stores

_TOKEN_BYTES: Final = 3
"""Bytes of text that make a token, at least: where a provider does not say, and to set aside before."""


@dataclass(frozen=True)
class Tokens:
    """What a call used."""

    input: int
    output: int
    estimated: bool = False


class BudgetTaken(ApplicationError):
    """What is left of the budget is set aside for other calls in flight."""


class Journal:
    """The calls of one question.

    Args:
        stores: Where they are recorded.
        order: The question.
        prompt: The prompt and its version.
        settings: Prices and budget.
    """

    def __init__(self, stores: Stores, order: ModelOrder, prompt: str, settings: ModelSettings) -> None:
        self._stores = stores
        self._order = order
        self._prompt = prompt
        self._settings = settings
        self.question_id = _question_id()
        self.calls: list[ModelCall] = []

    async def open(self) -> ModelOutcome | None:
        """Read what earlier attempts did, and give the outcome if one of them got it."""
        stored = await self._stores.documents.get(Collection.MODEL_INPUTS, self._outcome_key)
        if stored is not None:
            async with self._stores.write() as rows:
                await rows.model_usage.settle(ModelCall.model_validate(stored["call"]))
            return ModelOutcome.model_validate(stored["outcome"])
        async with self._stores.write() as rows:
            await rows.model_usage.lose(self.question_id)
            self.calls = await rows.model_usage.of_question(self.question_id)
        return None

    def counts(self, place: int) -> Counter[CallOutcome]:
        """Count what came of the calls of the model in this place."""
        return Counter(call.outcome for call in self.calls if call.place == place)

    def failures(self, place: int) -> int:
        """Count the calls of this model after which it is asked again, but for busy ones."""
        return sum(count for outcome, count in self.counts(place).items() if STEPS.get(outcome) is Step.AGAIN)

    @property
    def reached(self) -> int:
        """Tell how far down the chain it is: it never goes back."""
        return max((call.place for call in self.calls), default=0)

    async def begin(self, place: int, size: int) -> ModelCall:
        """Set aside what the next call may use: its input, of so many bytes, and the longest answer.

        Raises:
            BudgetTaken: What is left of the budget is set aside for other calls.
            ApplicationError: The budget of today is used up.
        """
        model = self._settings.chain[place]
        most = Tokens(estimate(size), model.max_output_tokens, estimated=True)
        call = ModelCall(
            question_id=self.question_id,
            number=len(self.calls) + 1,
            user_id=self._order.owner_id,
            task_id=self._order.task_id,
            prompt=self._prompt,
            model=model.model,
            place=place,
            outcome=CallOutcome.IN_FLIGHT,
            started_at=datetime.now(UTC),
            **self._used(place, most),
        )
        async with self._stores.write() as rows:
            state = await rows.model_usage.begin(call, self._settings.budget)
        if state is BudgetState.FREE:
            return call
        error = BudgetExhausted(self._settings.budget.text, next_day(call.started_at))
        kind = BudgetTaken if state is BudgetState.RESERVED else ApplicationError
        raise kind(error.detail, type=error.code, non_retryable=True)

    async def settle(self, call: ModelCall, outcome: CallOutcome, used: Tokens) -> ModelCall:
        """Record what came of a call."""
        settled = call.model_copy(update={"outcome": outcome, **self._used(call.place, used)})
        async with self._stores.write() as rows:
            await rows.model_usage.settle(settled)
        self.calls.append(settled)
        return settled

    async def lose(self, call: ModelCall) -> None:
        """Record that nobody waits for this call any more; the provider goes on, and wants to be paid."""
        # The next attempt does it where this one cannot.
        with suppress(PlatformError):
            await self.settle(call, CallOutcome.LOST, Tokens(call.input_tokens, call.output_tokens, True))

    async def conclude(self, call: ModelCall, used: Tokens, answer: dict[str, Any]) -> ModelOutcome:
        """Keep the answer first: an attempt that comes after this one asks nobody any more."""
        answered = call.model_copy(update={"outcome": CallOutcome.ANSWERED, **self._used(call.place, used)})
        outcome = self.outcome([*self.calls, answered], answer=answer, model=call.model)
        stored = {"outcome": outcome.model_dump(mode="json"), "call": answered.model_dump(mode="json")}
        await self._stores.documents.put(Collection.MODEL_INPUTS, self._outcome_key, stored)
        await self.settle(call, CallOutcome.ANSWERED, used)
        return outcome

    def outcome(self, calls: list[ModelCall], **fields: Any) -> ModelOutcome:
        """Make the outcome of a question that took these calls."""
        costs = [call.cost_nanos for call in calls if call.cost_nanos is not None]
        return ModelOutcome(
            prompt=self._prompt,
            input_tokens=sum(call.input_tokens for call in calls),
            output_tokens=sum(call.output_tokens for call in calls),
            cost=round(sum(costs) / NANOS, 9) if costs else None,
            repairs=sum(call.outcome is CallOutcome.INVALID for call in calls),
            **fields,
        )

    @property
    def _outcome_key(self) -> str:
        return f"{self._order.task_id}/answer-{self.question_id}"

    def _used(self, place: int, used: Tokens) -> dict[str, Any]:
        return {
            "input_tokens": used.input,
            "output_tokens": used.output,
            "estimated": used.estimated,
            "cost_nanos": _cost(self._settings.chain[place], used),
        }


def estimate(size: int) -> int:
    """Estimate how many tokens a text of so many bytes has: rather too many than too few."""
    return -(-size // _TOKEN_BYTES)


def _cost(model: ChainedModel, used: Tokens) -> int | None:
    """Give the price in billionths of a dollar; prices are dollars for a million tokens."""
    if model.input_price is None or model.output_price is None:
        return None
    return round((used.input * model.input_price + used.output * model.output_price) * NANOS / 1_000_000)


def _question_id() -> UUID:
    """Name this activity of this run: the same in each of its attempts, and in no other one."""
    info = activity.info()
    return uuid5(NAMESPACE_URL, f"mcp-platform:question:{info.workflow_run_id}/{info.activity_id}")
