"""Many callers at once, for the tests that show that no update is lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def crowd(size: int, call: Callable[[int], Awaitable[T]]) -> list[T | BaseException]:
    """Let all callers begin at the same moment, and give what each of them got or met."""
    start = asyncio.Event()

    async def one(number: int) -> T:
        await start.wait()
        return await call(number)

    async with asyncio.timeout(60):
        tasks = [asyncio.create_task(one(number)) for number in range(size)]
        start.set()
        return await asyncio.gather(*tasks, return_exceptions=True)
