"""Asking the models of the chain, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

import structlog
from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.heartbeat import beating
from activities.models.failures import REASONS, STEPS, ModelFailure, Step, pause
from activities.models.fencing import Masking, Messages, fenced, plain_parts
from activities.models.journal import BudgetTaken, Journal, Tokens, estimate
from activities.prompts import PROMPTS
from activities.prompts.reading import Prompt, read_prompt
from mcp_platform.contracts.models import CallOutcome, ModelCall, ModelInput, ModelOrder, ModelOutcome
from mcp_platform.names import Collection

if TYPE_CHECKING:
    from mcp_platform.model_settings import ModelSettings
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

NOT_CONFIGURED: Final = "no model is configured"
_RESERVED_PAUSE: Final = 1.0
"""Seconds until it is asked again whether the budget has room."""


@dataclass(frozen=True)
class Reply:
    """What a model answered: a valid answer, or what is wrong with it."""

    answer: dict[str, Any] | None
    problem: str
    text: str
    """As it was given, for the repair."""
    input_tokens: int | None
    output_tokens: int | None


class Models(Protocol):
    """The models of the chain."""

    async def ask(self, place: int, messages: Messages, schema: type[BaseModel]) -> Reply:
        """Ask the model in this place once.

        Raises:
            ModelFailure: There is no answer at all.
        """
        ...


class Masks(Protocol):
    """Knows what must not be seen."""

    async def of(self, owner_id: UUID) -> Masking:
        """Give what takes the secrets out of this account's texts."""
        ...


@dataclass(frozen=True)
class Question:
    """What is asked, ready to be sent."""

    prompt: Prompt
    schema: type[BaseModel]
    parts: Mapping[str, str]
    masking: Masking
    most_input: int

    def repair(self, reply: Reply) -> Mapping[str, str]:
        """Show an answer and what is wrong with it; both are data like all else."""
        shown = {"former_answer": reply.text, "what_is_wrong_with_it": reply.problem}
        return plain_parts(shown, self.masking, self.most_input // 4)

    def messages(self, repair: Mapping[str, str]) -> Messages:
        """Fence it anew, with what is wrong with the answer before, if there is one."""
        instructions = self.prompt.text
        if repair:
            instructions += (
                "\n\nYour former answer was not valid. The parts former_answer and what_is_wrong_with_it"
                " show it. Answer the whole task again, without these faults."
            )
        return fenced(instructions, {**self.parts, **repair})


class ModelActivities:
    """Asks models.

    Args:
        stores: Where questions, answers and their costs are.
        models: The chain.
        masks: Takes secrets out of what is sent.
        settings: Of the chain.
    """

    def __init__(self, stores: Stores, models: Models, masks: Masks, settings: ModelSettings) -> None:
        self._stores = stores
        self._models = models
        self._masks = masks
        self._settings = settings

    @activity.defn(name="models.ask")
    async def ask(self, order: ModelOrder) -> ModelOutcome:
        """Give a valid answer of the first model of the chain that has one, or say why there is none."""
        if not self._settings.chain:
            return ModelOutcome(reason=NOT_CONFIGURED)
        async with beating():
            prompt = _prompt(order.prompt)
            journal = Journal(self._stores, order, prompt.label, self._settings)
            if (known := await journal.open()) is not None:
                return known
            question = await self._question(order, prompt)
            for place in range(len(self._settings.chain)):
                outcome = await self._ask_one(place, question, journal)
                if outcome is not None:
                    return outcome
            return journal.outcome(journal.calls, reason=self._why_none(journal))

    async def _question(self, order: ModelOrder, prompt: Prompt) -> Question:
        stored = await self._stores.documents.get(Collection.MODEL_INPUTS, order.input_key)
        if stored is None:
            raise _mistake(f"what the model is to be told, {order.input_key}, is gone")
        masking = await self._masks.of(order.owner_id)
        sections, most = ModelInput.model_validate(stored).sections, self._settings.most_input
        try:
            # In a thread: there may be many texts, and many secrets to look for.
            parts = await asyncio.to_thread(plain_parts, sections, masking, most)
        except ValueError as error:
            raise _mistake(str(error)) from None
        return Question(prompt, PROMPTS[order.prompt], parts, masking, most)

    async def _ask_one(self, place: int, question: Question, journal: Journal) -> ModelOutcome | None:
        """Ask one model until it answers, or is given up."""
        repair: Mapping[str, str] = {}
        while self._may_ask(place, journal):
            messages = question.messages(repair)
            call = await self._begin(place, messages, journal)
            try:
                reply = await self._models.ask(place, messages, question.schema)
            except ModelFailure as failure:
                await journal.settle(call, failure.outcome, _used_in_vain(failure, messages))
                delay = self._delay(place, failure, journal)
                if delay is None:
                    return None
                raise _later(delay, f"{call.model}: {REASONS[failure.outcome]}") from None
            except asyncio.CancelledError:
                await journal.lose(call)
                raise
            if reply.answer is not None:
                return await journal.conclude(call, _used(reply, messages), reply.answer)
            await journal.settle(call, CallOutcome.INVALID, _used(reply, messages))
            repair = await asyncio.to_thread(question.repair, reply)
        return None

    def _may_ask(self, place: int, journal: Journal) -> bool:
        """Tell whether this model's turn is not over, by what became of its calls in all attempts."""
        counts = journal.counts(place)
        return not (
            place < journal.reached
            or any(STEPS.get(outcome) is Step.NEXT for outcome in counts)
            or counts[CallOutcome.INVALID] > self._settings.repairs
            or journal.failures(place) > self._settings.retries
        )

    def _delay(self, place: int, failure: ModelFailure, journal: Journal) -> float | None:
        """Give the seconds until this model is asked again, or None if the next one is to be asked."""
        step = STEPS[failure.outcome]
        busy = journal.counts(place)[CallOutcome.RATE_LIMITED]
        earlier = (busy if step is Step.WAIT else journal.failures(place)) - 1
        delay = max(pause(earlier), failure.retry_after or 0.0)
        given_up = not self._may_ask(place, journal) or not self._in_time(delay)
        logger.warning(
            "model_call_failed",
            model=self._settings.chain[place].model,
            outcome=failure.outcome.value,
            detail=failure.detail,
            asked_again_in=None if given_up else delay,
        )
        return None if given_up else delay

    async def _begin(self, place: int, messages: Messages, journal: Journal) -> ModelCall:
        try:
            return await journal.begin(place, messages.bytes)
        except BudgetTaken:
            if self._in_time(_RESERVED_PAUSE):
                raise _later(_RESERVED_PAUSE, "the budget is set aside for calls in flight") from None
            raise

    def _in_time(self, delay: float) -> bool:
        """Tell whether a question of this age may wait so much longer."""
        age = datetime.now(UTC) - activity.info().scheduled_time
        return age.total_seconds() + delay <= self._settings.patience

    def _why_none(self, journal: Journal) -> str:
        last = {call.place: f"{call.model}: {REASONS[call.outcome]}" for call in journal.calls}
        return "no model has a valid answer (" + "; ".join(last[place] for place in sorted(last)) + ")"


def _prompt(name: str) -> Prompt:
    try:
        if name not in PROMPTS:
            raise LookupError(f"there is no schema for answers to the prompt {name!r}")
        return read_prompt(name)
    except LookupError as error:
        raise _mistake(str(error)) from None


def _used(reply: Reply, messages: Messages) -> Tokens:
    if reply.input_tokens is None or reply.output_tokens is None:
        return Tokens(estimate(messages.bytes), estimate(len(reply.text.encode())), estimated=True)
    return Tokens(reply.input_tokens, reply.output_tokens)


def _used_in_vain(failure: ModelFailure, messages: Messages) -> Tokens:
    """Count what was sent where the provider has read it, and nothing where it refused."""
    read = failure.outcome in {CallOutcome.TIMED_OUT, CallOutcome.BROKEN}
    return Tokens(estimate(messages.bytes) if read else 0, 0, estimated=read)


def _later(delay: float, reason: str) -> ApplicationError:
    """Give the slot back, and come again: Temporal waits, and not this worker."""
    return ApplicationError(
        reason,
        type="ModelBusy",
        next_retry_delay=timedelta(seconds=delay),
        category=ApplicationErrorCategory.BENIGN,
    )


def _mistake(reason: str) -> ApplicationError:
    return ApplicationError(reason, type="QuestionUnusable", non_retryable=True)
