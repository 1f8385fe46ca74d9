"""What an activity says to Temporal when GitHub does not do what it was asked."""

from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.exceptions import ApplicationError

from mcp_platform.contracts.repositories import FaultKind, GitHubFault

ANOTHER_REPOSITORY: Final = (
    "Another repository has taken this name at GitHub; to follow that one, end this connection and connect it"
)
NOT_ALLOWED: Final = frozenset({FaultKind.NO_ACCESS, FaultKind.NOT_FOUND, FaultKind.REFUSED})
"""What a credential without the right to write meets: GitHub hides from some what they may not change."""
_LONGEST: Final = timedelta(hours=1)
_AFTER: Final = timedelta(seconds=1)


def failure_of(fault: GitHubFault) -> ApplicationError:
    """Make the error of a fault: a rate limit is waited for, what needs a person is not repeated.

    Its type is the fault's kind.
    """
    delay = None
    if fault.kind is FaultKind.RATE_LIMITED and fault.reset_at is not None:
        delay = min(max(fault.reset_at - datetime.now(UTC), timedelta()) + _AFTER, _LONGEST)
    return ApplicationError(
        fault.message, type=fault.kind.value, non_retryable=not fault.passing, next_retry_delay=delay
    )
