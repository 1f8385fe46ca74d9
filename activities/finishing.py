"""What is done to its end, although whoever waits for it is cancelled."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Wait for work that must not be left half done; whoever is cancelled meanwhile is so after it.

    `asyncio.shield` by itself lets whoever is cancelled go on beside the work: what that works with is then
    closed under it, and what it was to take away is still there for whoever comes next.
    """
    doing = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(doing)
    finally:
        # However often he is called off.
        while not doing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({doing})
