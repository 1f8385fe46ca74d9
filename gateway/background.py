"""Small pieces of work beside the requests: none of them ends the gateway, whatever happens in it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Background:
    """Runs what is spawned, while it is open."""

    def __init__(self) -> None:
        self._tasks: asyncio.TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Be open while the body runs; wait for what was spawned."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            yield

    @asynccontextmanager
    async def looping(self, loops: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
        """Run these while the body runs."""
        running = [self._tasks.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in running:
                task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something small; what goes wrong with it is logged."""

        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("background_work_failed")

        self._tasks.create_task(guarded())
