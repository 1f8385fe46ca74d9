"""Calls that go on while something happens to a deployment."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

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


@asynccontextmanager
async def steady_calls(
    caller: Caller, slug: str, rate: float = 50.0, tool: str = "say", **arguments: Any
) -> AsyncIterator[Answers]:
    """Call a tool so many times a second while the body runs; at the end all calls have ended."""
    answers, over = Answers(), asyncio.Event()

    async def call() -> None:
        answer = await caller.post(f"/mcp/{slug}/v1/tools/{tool}", json=arguments)
        if answer.status_code == 200:
            answers.words.append(answer.json()["word"])
        else:
            answers.failures.append(f"{answer.status_code}: {answer.text}")

    async def go_on() -> None:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            number = 0
            while not over.is_set():
                number += 1
                calls.create_task(call())
                await asyncio.sleep(max(begun + number / rate - time.monotonic(), 0))

    calling = asyncio.create_task(go_on())
    try:
        yield answers
    finally:
        over.set()
        await calling
