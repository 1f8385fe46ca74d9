"""What the errors of providers' libraries mean: each library has its own, and none is imported here."""

import json
from collections.abc import Iterator
from typing import Any, Final

from activities.models.failures import ModelFailure, outcome_of_status, seconds_of
from mcp_platform.contracts.models import CallOutcome

_SPENT: Final = "insufficient_quota"
"""How OpenAI's protocol says 429 when waiting is of no use."""

_BY_NAME: Final = (
    ("Timeout", CallOutcome.TIMED_OUT),
    ("Connect", CallOutcome.AWAY),
    ("RemoteProtocolError", CallOutcome.AWAY),
    ("ReadError", CallOutcome.AWAY),
    ("WriteError", CallOutcome.AWAY),
)
"""Parts of class names by which libraries without a common base tell the same."""


def failure_of(error: Exception) -> ModelFailure:
    """Tell what an error of a provider's library means."""
    status = _status(error)
    if status is not None and status >= 400:
        outcome = outcome_of_status(status)
        if outcome is CallOutcome.RATE_LIMITED and getattr(error, "code", None) == _SPENT:
            outcome = CallOutcome.REFUSED
        return ModelFailure(outcome, f"HTTP {status}", seconds_of(_header(error, "retry-after")))
    causes = list(_causes(error))
    names = [kind.__name__ for cause in causes for kind in type(cause).__mro__]
    # The answer itself is looked at first: a bound of ours ends the connection, too.
    if any(name in {"AnswerTooLarge", json.JSONDecodeError.__name__} for name in names):
        return ModelFailure(CallOutcome.BROKEN, type(causes[-1]).__name__)
    for part, outcome in _BY_NAME:
        if any(part in name for name in names):
            return ModelFailure(outcome, type(causes[-1]).__name__)
    if any(isinstance(cause, OSError) for cause in causes):
        return ModelFailure(CallOutcome.AWAY, type(causes[-1]).__name__)
    return ModelFailure(CallOutcome.BROKEN, type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: Exception) -> int | None:
    for source in (error, getattr(error, "response", None)):
        for name in ("status_code", "code", "http_status"):
            value: Any = getattr(source, name, None)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def _header(error: Exception, name: str) -> str | None:
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    value = headers.get(name)
    return value if isinstance(value, str) else None
