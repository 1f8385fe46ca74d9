"""What failed activities say to people."""

from temporalio.exceptions import ApplicationError, FailureError


def reason_of(error: BaseException) -> str:
    """Give the message of what made an activity fail, without the names of exceptions around it."""
    cause = error.__cause__
    return cause.message if isinstance(cause, FailureError) else str(error)


def refusal(reason: str, kind: str) -> ApplicationError:
    """Make the error with which a validator refuses an update."""
    return ApplicationError(reason, type=kind, non_retryable=True)
