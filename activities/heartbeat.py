"""Supervised heartbeats for activities that take longer than a few seconds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

_SHARE = 0.3
"""Of the heartbeat timeout, between two beats. Each costs Temporal a write: a hundred replicas that beat
each second keep it busy, and two that are late or lost in a row are still in time."""


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Beat while the body runs, several times in every heartbeat timeout.

    When the worker shuts down, the SDK cancels its activities and would report them to their
    workflows as cancelled, as if the workflows had asked for that. Here they fail in a way that is
    retried, so that the next worker goes on with them.
    """
    timeout = activity.info().heartbeat_timeout
    if timeout is None:
        raise RuntimeError("an activity that beats needs a heartbeat timeout")
    beats = asyncio.create_task(_beat(timeout.total_seconds() * _SHARE))
    try:
        yield
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        if details is not None and details.worker_shutdown:
            raise ApplicationError(
                "the worker is shutting down",
                type="WorkerShutdown",
                category=ApplicationErrorCategory.BENIGN,
            ) from None
        raise
    finally:
        beats.cancel()


async def _beat(interval: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(interval)
