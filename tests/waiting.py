"""Waiting for a condition, with a bound, instead of sleeping."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def in_one_task(context: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context in a task of its own: pytest sets fixtures up and down in two."""
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def own() -> None:
        async with context as value:
            entered.set_result(value)
            await leave.wait()

    owner = asyncio.create_task(own())
    either: set[asyncio.Future[Any]] = {entered, owner}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not entered.done():
            await owner
        yield entered.result()
    finally:
        leave.set()
        await owner


PATIENCE = 30.0


async def eventually(
    ask: Callable[[], Awaitable[T]], good: Callable[[T], object] = bool, within: float = PATIENCE
) -> T:
    """Ask until the answer is good, and give it; else fail and show the last one."""
    began = time.monotonic()
    while True:
        answer = await ask()
        if good(answer):
            return answer
        if time.monotonic() > began + within:
            raise AssertionError(f"not so within {within:g} s; last seen: {answer!r}")
        await pause(began)


async def pause(began: float) -> None:
    """Wait a moment before a condition is looked at again, a longer one the longer it has been waited for.

    To ask without pause takes the time of whatever is waited for: most of it is in this very process.
    """
    await asyncio.sleep(min(0.02 + 0.05 * (time.monotonic() - began), 0.1))
