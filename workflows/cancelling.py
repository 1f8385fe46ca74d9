"""Cancellations that get lost, and how they are heard all the same."""

import asyncio
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, ChildWorkflowError

_HEARD: Final = "lost-cancellations-are-heard"

CANCELLATIONS: Final = (ActivityError, ChildWorkflowError, asyncio.CancelledError)
"""What is raised where something is cancelled; the first two have other causes too."""


def are_heard() -> bool:
    """Tell whether lost cancellations are heard: a run that lost one before this was so goes its old way."""
    return workflow.patched(_HEARD)


def is_cancelled() -> bool:
    """Tell whether this was cancelled, also where that ended nothing.

    An activity whose end is waited for learns of its cancellation at a heartbeat. If it is done before, it
    is done as if nothing had been, and so may a child be.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def end_if(cancelled: object) -> None:
    """Raise a cancellation that was lost.

    Args:
        cancelled: Whether there was one.
    """
    if cancelled and are_heard():
        raise asyncio.CancelledError
