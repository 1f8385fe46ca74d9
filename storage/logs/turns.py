"""Looking back in turns: one person's searches hold up neither what others read nor what others search."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from mcp_platform.contracts.logs import LogQuery
from mcp_platform.errors import RateLimited

T = TypeVar("T")

_AT_ONCE: Final = 2
"""Searches of one person that a process does at once; the same for plain reads."""
_THREADS: Final = 2
_RETRY_AFTER: Final = 2
"""Seconds: as long as one search takes at most."""


class Turns:
    """Threads that look back through logs: some for searches, others for plain reads, which are short."""

    def __init__(self) -> None:
        self._searches = ThreadPoolExecutor(_THREADS, "log-searches")
        self._reads = ThreadPoolExecutor(_THREADS, "log-reads")
        self._taken: WeakValueDictionary[tuple[UUID, bool], asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Work while the body runs."""
        try:
            yield
        finally:
            for threads in (self._searches, self._reads):
                await asyncio.to_thread(threads.shutdown)

    def check(self, asker: UUID, query: LogQuery) -> None:
        """Return if this person need not wait for searches of their own.

        Raises:
            RateLimited: As many of them as may be done at once are at work.
        """
        if query.is_search and self._turns_of(asker, query).locked():
            raise RateLimited(
                _RETRY_AFTER,
                f"Only {_AT_ONCE} of your searches in logs are done at once; wait for one to end",
            )

    async def take(self, asker: UUID, query: LogQuery, work: Callable[[Callable[[], bool]], T]) -> T:
        """Do work in a thread, when it is this person's turn.

        Args:
            asker: Who waits for it.
            query: What it looks for.
            work: Is given a function that tells whether nobody waits any more, so that it can end.
        """
        abandoned = threading.Event()
        threads = self._searches if query.is_search else self._reads
        async with self._turns_of(asker, query):
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    threads, lambda: work(abandoned.is_set)
                )
            finally:
                abandoned.set()

    def _turns_of(self, asker: UUID, query: LogQuery) -> asyncio.Semaphore:
        return self._taken.setdefault((asker, query.is_search), asyncio.Semaphore(_AT_ONCE))
