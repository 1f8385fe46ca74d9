"""What models and their providers do wrong, and where that leads: the one table of it."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from mcp_platform.contracts.models import CallOutcome


class Step(StrEnum):
    """What comes after a call without a valid answer."""

    REPAIR = "repair"
    """The model is told what is wrong, `repairs` times; then the next model."""
    WAIT = "wait"
    """The provider says how long; the same model is asked again until `patience` is used up."""
    AGAIN = "again"
    """The same model is asked again, `retries` times; then the next model."""
    NEXT = "next"
    """The next model at once: asking again would change nothing."""


STEPS: Final = {
    CallOutcome.INVALID: Step.REPAIR,
    CallOutcome.RATE_LIMITED: Step.WAIT,
    CallOutcome.AWAY: Step.AGAIN,
    CallOutcome.TIMED_OUT: Step.AGAIN,
    CallOutcome.BROKEN: Step.AGAIN,
    CallOutcome.LOST: Step.AGAIN,
    CallOutcome.REFUSED: Step.NEXT,
    CallOutcome.UNKNOWN: Step.NEXT,
    CallOutcome.REJECTED: Step.NEXT,
    CallOutcome.UNUSABLE: Step.NEXT,
}

_BY_STATUS: Final = {
    401: CallOutcome.REFUSED,
    402: CallOutcome.REFUSED,
    403: CallOutcome.REFUSED,
    404: CallOutcome.UNKNOWN,
    408: CallOutcome.TIMED_OUT,
    409: CallOutcome.AWAY,
    425: CallOutcome.AWAY,
    429: CallOutcome.RATE_LIMITED,
    504: CallOutcome.TIMED_OUT,
}

REASONS: Final = {
    CallOutcome.INVALID: "its answers do not fit the schema",
    CallOutcome.RATE_LIMITED: "its provider is too busy",
    CallOutcome.AWAY: "it cannot be reached",
    CallOutcome.TIMED_OUT: "it did not answer in time",
    CallOutcome.BROKEN: "what it sends is no answer",
    CallOutcome.LOST: "asking it was interrupted",
    CallOutcome.REFUSED: "its provider refuses the key",
    CallOutcome.UNKNOWN: "its provider does not know it",
    CallOutcome.REJECTED: "its provider does not take the question",
    CallOutcome.UNUSABLE: "it is not set up",
}
"""What users are told: never a provider's own words, which may quote the key or the data."""


class ModelFailure(Exception):
    """A call brought no answer.

    Args:
        outcome: What is recorded of it.
        detail: What an operator should know; without secrets.
        retry_after: How many seconds the provider wants to be left alone.
    """

    def __init__(self, outcome: CallOutcome, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.retry_after = retry_after


def outcome_of_status(status: int) -> CallOutcome:
    """Tell what an HTTP status that is no success means."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return CallOutcome.AWAY if status >= 500 else CallOutcome.REJECTED


def seconds_of(retry_after: str | None, now: datetime | None = None) -> float | None:
    """Read `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3); None for anything else."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = (until - (now or datetime.now(UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def pause(earlier: int) -> float:
    """Give the seconds before the next try, after so many that failed before this one."""
    return float(min(0.5 * 2**earlier, 30.0))
