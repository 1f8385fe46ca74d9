"""Reads the log book: searches it, and follows it; in threads, as both read files."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar
from uuid import UUID

import structlog

from mcp_platform.contracts.logs import LogQuery
from mcp_platform.errors import Unavailable
from storage.logs.files import Listing, listed
from storage.logs.follow import Follower, Told
from storage.logs.search import Cursor, Found, Sieve, search
from storage.logs.turns import Turns

logger = structlog.get_logger(__name__)

T = TypeVar("T")

_THREADS: Final = 4
_TICK: Final = 0.1
"""Seconds between looks at the sizes of files that somebody follows."""
_Sizes = frozenset[tuple[Path, int]]


class Run(Protocol):
    """Does work in a thread."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Do it, and give what came of it."""
        ...


class LookBack(Protocol):
    """Does work in a thread, when it is somebody's turn, and tells it when nobody waits any more."""

    async def __call__(self, work: Callable[[Callable[[], bool]], T]) -> T:
        """Do it, and give what came of it."""
        ...


class LogReader:
    """What replicas wrote, as an API reads it.

    Args:
        folder: The log book's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # For what is done all the time; who follows is not to wait for those who look back.
        self._threads = ThreadPoolExecutor(_THREADS, "log-followers")
        self._turns = Turns()
        self._followed: dict[UUID, list[Callable[[], None]]] = {}
        self._watch: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Read while the body runs."""
        async with self._turns.open():
            try:
                yield
            finally:
                await self._stop_watching()
                await asyncio.to_thread(self._threads.shutdown)

    async def search(
        self, deployment_id: UUID, query: LogQuery, limit: int, asker: UUID, cursor: Cursor | None = None
    ) -> Found:
        """Find the newest lines of a deployment; when it is cancelled, the work ends too.

        Raises:
            RateLimited: As many searches of the asker as may be done at once are at work.
            Unavailable: The folder is not there.
        """

        def work(abandoned: Callable[[], bool]) -> Found:
            sieve = Sieve(deployment_id, query)
            return search(self._listed(deployment_id), sieve, limit, cursor, abandoned=abandoned)

        self._turns.check(asker, query)
        return await self._turns.take(asker, query, work)

    def _listed(self, deployment_id: UUID) -> Listing:
        self._check_folder()
        return listed(self._folder / str(deployment_id))

    async def check(self) -> None:
        """Return if there is a log book to read.

        Raises:
            Unavailable: The folder is not there.
        """
        await self._run(self._check_folder)

    def _check_folder(self) -> None:
        if not self._folder.is_dir():
            raise Unavailable(
                f"There is no folder {self._folder}, where workers keep what replicas write;"
                " API and worker have to share it (MCP_PLATFORM_REPLICA_LOGS__FOLDER)",
                part="replica-logs",
            )

    @asynccontextmanager
    async def following(
        self, deployment_id: UUID, query: LogQuery, asker: UUID, wake: Callable[[], None]
    ) -> AsyncIterator["Following"]:
        """Follow a deployment's log while the body runs.

        Args:
            deployment_id: Whose.
            query: Which of its lines.
            asker: For whom; what looks back waits for this person's turn.
            wake: Called when there may be something new to take.
        """
        wakers = self._followed.setdefault(deployment_id, [])
        wakers.append(wake)
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())
        try:
            folder = self._folder / str(deployment_id)
            look_back = partial(self._turns.take, asker, query)
            yield Following(Follower(folder, Sieve(deployment_id, query)), self._run, look_back)
        finally:
            wakers.remove(wake)
            if not wakers:
                self._followed.pop(deployment_id, None)
            if not self._followed:
                await self._stop_watching()

    async def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _look(self) -> None:
        """Wake whoever follows a deployment whose files have changed; one look for all of them."""
        known: dict[UUID, _Sizes] = {}
        while True:
            followed = list(self._followed)
            try:
                sizes = await self._run(partial(self._sizes, followed))
            except OSError as error:
                logger.warning("replica_logs_not_read", error=str(error))
                sizes = {}
            for deployment_id, seen in sizes.items():
                if known.get(deployment_id) != seen:
                    for wake in self._followed.get(deployment_id, ()):
                        wake()
            known = sizes
            await asyncio.sleep(_TICK)

    def _sizes(self, deployments: Iterable[UUID]) -> dict[UUID, _Sizes]:
        return {
            deployment_id: frozenset(
                (file.path, file.size)
                for files in listed(self._folder / str(deployment_id)).values()
                for file in files
            )
            for deployment_id in deployments
        }

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class Following:
    """One follower, whose reading is done in threads."""

    def __init__(self, follower: Follower, run: Run, look_back: LookBack) -> None:
        self._follower = follower
        self._run = run
        self._look_back = look_back

    async def begin(self, history: int) -> Told:
        """Begin at the end, with so many lines of what was before it."""
        return await self._look_back(partial(self._follower.begin, history))

    async def resume(self, position: str) -> None:
        """Go on where an earlier follower was.

        Raises:
            ValueError: That is no position.
        """
        await self._run(lambda: self._follower.resume(position))

    async def take(self) -> Told:
        """Read on, without waiting for more."""
        return await self._run(self._follower.step)
