"""Cancellations that libraries swallow.

Until Python 3.12 `asyncio.wait_for` returns as if nothing had happened when a cancellation comes together
with the result (cpython#86296). The drivers of the database and the cache wait by it: whoever asks them
counts before and afterwards.
"""

import asyncio


def cancellations() -> int:
    """Count how often the present task was cancelled."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0
