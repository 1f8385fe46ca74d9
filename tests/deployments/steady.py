"""Calls that go on while something happens to a deployment."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.platform import Caller


@dataclass
class Answers:
    """What came of the calls so far."""

    words: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many calls have ended."""
        return len(self.words) + len(self.failures)


async def paced(rate: float) -> AsyncIterator[None]:
    """Go on so many times a second; what a machine that stood still has missed is not made up for."""
    due = time.monotonic()
    while True:
        yield
        due = max(due + 1 / rate, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


@asynccontextmanager
async def steady_calls(
    caller: Caller, slug: str, rate: float = 50.0, tool: str = "say", **arguments: Any
) -> AsyncIterator[Answers]:
    """Call a tool so many times a second while the body runs; at the end all calls have ended."""
    answers, over = Answers(), asyncio.Event()
    address = f"{str(caller.base_url).rstrip('/')}/mcp/{slug}/v1/tools/{tool}"

    async def call(http: aiohttp.ClientSession) -> None:
        async with http.post(address, json=arguments) as answer:
            if answer.status == 200:
                answers.words.append((await answer.json())["word"])
            else:
                answers.failures.append(f"{answer.status}: {await answer.text()}")

    async def go_on() -> None:
        # Not httpx, which takes longer for a call than the platform does.
        headers = {"Authorization": caller.headers["Authorization"]}
        async with aiohttp.ClientSession(headers=headers) as http, asyncio.TaskGroup() as calls:
            async for _ in paced(rate):
                if over.is_set():
                    return
                calls.create_task(call(http))

    calling = asyncio.create_task(go_on())
    try:
        yield answers
    finally:
        over.set()
        await calling
