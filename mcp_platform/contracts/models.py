"""Asking language models: what is asked, what came of it, and what it may cost."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment

NANOS = 1_000_000_000
"""Of a US dollar: costs are added up as whole numbers."""


class EngineChoice(StrEnum):
    """What an order may say of who is to judge."""

    AUTO = "auto"
    """A model where one is configured, and rules."""
    RULES = "rules"
    """Rules alone: nothing is sent to a model, and nothing is paid."""


class ModelOrder(Contract):
    """A question to the model. What it is about is a document, so that histories stay small.

    The document, of `Collection.MODEL_INPUTS`, is a `ModelInput`.
    """

    task_id: str
    owner_id: UUID
    """Whose budget it is."""
    prompt: str
    """A folder of `activities/prompts`, whose newest version is used."""
    input_key: str


class ModelInput(Contract):
    """What a model is told beside its instructions: all of it is data, and none of it is obeyed."""

    sections: dict[str, Any]
    """By name: texts of users, repositories and servers, or JSON."""


class ModelOutcome(Contract):
    """What came of a question. Without an answer, `reason` says why, and rules have to do."""

    answer: dict[str, Any] | None = None
    """Valid by the schema that belongs to the prompt."""
    reason: str | None = None
    model: str | None = None
    """Which model of the chain answered, as `provider:name`."""
    prompt: str | None = None
    """The prompt and its version: `feasibility/v1`."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    """In US dollars, where the price of the model is set."""
    repairs: int = 0
    """How often it was sent what was wrong with its answer."""


class CallOutcome(StrEnum):
    """What came of one call of a model."""

    IN_FLIGHT = "in_flight"
    """Nothing yet: what it may cost at most is set aside."""
    ANSWERED = "answered"
    INVALID = "invalid"
    """The answer does not fit the schema."""
    RATE_LIMITED = "rate_limited"
    AWAY = "away"
    """It cannot be reached, or has troubles of its own."""
    TIMED_OUT = "timed_out"
    BROKEN = "broken"
    """What came is no answer of the protocol, or has no end."""
    REFUSED = "refused"
    """The key, or what is left of its quota, is not enough."""
    UNKNOWN = "unknown"
    """There is no such model."""
    REJECTED = "rejected"
    """The provider does not take the request."""
    UNUSABLE = "unusable"
    """Something is missing here: the provider's package, or the secret with the key."""
    LOST = "lost"
    """Whoever asked ended before the answer came; what was set aside counts as used."""


class ModelCall(Contract):
    """One call of a model, as it is recorded."""

    question_id: UUID
    """The same for all calls that one question took."""
    number: int
    """Of the call within its question, from 1."""
    user_id: UUID
    task_id: str
    prompt: str
    model: str
    place: int
    """Of the model in the chain, from 0."""
    outcome: CallOutcome
    input_tokens: int
    output_tokens: int
    estimated: bool
    """Whether the provider did not say how many."""
    cost_nanos: int | None
    """Billionths of a US dollar; None where the model has no price."""
    started_at: Moment


class Spent(Contract):
    """What somebody's calls of a day come to."""

    tokens: int = 0
    nanos: int = 0
    reserved_tokens: int = 0
    """Set aside for calls in flight."""
    reserved_nanos: int = 0


class BudgetState(StrEnum):
    """Whether another call may begin."""

    FREE = "free"
    RESERVED = "reserved"
    """What is left is set aside for calls in flight: some of it will be free again."""
    USED_UP = "used_up"


class Budget(Contract):
    """What one account's calls may come to in a day; 0 is no bound."""

    tokens: int = 0
    nanos: int = 0

    @property
    def bounded(self) -> bool:
        """Whether there is a bound at all."""
        return bool(self.tokens or self.nanos)

    @property
    def text(self) -> str:
        """Say it to a person."""
        limits = [f"{self.tokens} tokens"] if self.tokens else []
        limits += [f"{self.nanos / NANOS:g} US dollars"] if self.nanos else []
        return " or ".join(limits)

    def state(self, spent: Spent) -> BudgetState:
        """Tell whether another call may begin."""
        pairs = (
            (self.tokens, spent.tokens, spent.reserved_tokens),
            (self.nanos, spent.nanos, spent.reserved_nanos),
        )
        bounds = [(limit, used, reserved) for limit, used, reserved in pairs if limit]
        if any(used >= limit for limit, used, _ in bounds):
            return BudgetState.USED_UP
        if any(used + reserved >= limit for limit, used, reserved in bounds):
            return BudgetState.RESERVED
        return BudgetState.FREE


def next_day(now: datetime) -> str:
    """Tell when the next day's budget begins: midnight, UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


class ModelUsage(Contract):
    """What one account's calls of one model came to on one day."""

    day: str
    """In UTC: `2026-11-21`."""
    model: str
    user_id: UUID
    calls: int
    answered: int
    """Of these, those with a valid answer."""
    input_tokens: int
    output_tokens: int
    cost: float | None
    """In US dollars; None where the model has no price."""
