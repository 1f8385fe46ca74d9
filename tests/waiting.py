"""Waiting for a condition, with a bound, instead of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0


async def eventually(
    ask: Callable[[], Awaitable[T]], good: Callable[[T], object] = bool, within: float = PATIENCE
) -> T:
    """Ask until the answer is good, and give it; else fail and show the last one."""
    deadline = time.monotonic() + within
    while True:
        answer = await ask()
        if good(answer):
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {within:g} s; last seen: {answer!r}")
        await asyncio.sleep(0.02)
