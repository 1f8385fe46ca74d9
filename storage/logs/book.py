"""Keeps what replicas write: lines in files, rotated by size and age, within bounds."""

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

import structlog

from mcp_platform.contracts.deployments import ReplicaOrder
from mcp_platform.contracts.logs import LogLine, Stream
from mcp_platform.settings import ReplicaLogSettings
from storage.logs import files
from storage.logs.files import LogFile, Place, blocks_before, lines_in
from storage.logs.lines import TIME_WIDTH, as_written, stamp

logger = structlog.get_logger(__name__)

T = TypeVar("T")

_THREADS = 4
_DAY = 86_400.0
_FILE_MODE = 0o640
_FOLDER_MODE = 0o750


class LogBook:
    """The logs of all replicas of one platform, as a worker writes them."""

    def __init__(self, folder: Path, settings: ReplicaLogSettings) -> None:
        self.folder = folder
        self.settings = settings
        self._threads = ThreadPoolExecutor(_THREADS, "replica-logs")
        self._logs: WeakValueDictionary[tuple[UUID, Place], FileLog] = WeakValueDictionary()
        self._unchecked = 0
        """Bytes written since the whole was last measured."""
        self._counting = threading.Lock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["LogBook"]:
        """Keep lines while the body runs; at its end all that was handed over is written."""
        await self.run(lambda: self.folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True))
        try:
            yield self
        finally:
            await asyncio.to_thread(self._threads.shutdown)

    def of(self, order: ReplicaOrder) -> "FileLog":
        """Give the log of one replica: a new one, or the one that was begun before."""
        place = Place(order.ordinal, order.revision)
        log = self._logs.get((order.deployment_id, place))
        if log is None:
            log = self._logs[order.deployment_id, place] = FileLog(self, order.deployment_id, place)
        return log

    async def deployments(self) -> list[UUID]:
        """List the deployments of which something is kept."""
        return await self.run(lambda: files.deployments_in(self.folder))

    async def forget(self, deployment_id: UUID) -> None:
        """Remove all that is kept of a deployment that is gone."""
        folder = self.folder / str(deployment_id)

        def work() -> None:
            for own in files.listed(folder).values():
                files.remove(own)
            files.remove_folder(folder)

        await self.run(work)

    async def prune(self) -> int:
        """Remove what is too old, and what is too much, first where most is kept; count the files."""
        return await self.run(self._prune)

    async def run(self, work: Callable[[], T]) -> T:
        """Work on files, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def wrote(self, size: int) -> None:
        """Count what was written, and measure the whole now and then."""
        with self._counting:
            self._unchecked += size
            if self._unchecked < self.settings.file_bytes:
                return
            self._unchecked = 0
        self._prune()

    def _prune(self) -> int:
        days = self.settings.retention_days
        removed = files.prune(self.folder, self.settings.total_bytes, days * _DAY)
        if removed:
            logger.info("replica_logs_removed", files=removed)
        return removed


class FileLog:
    """The log of one replica; who writes waits until the lines are in the file.

    Two workers may write it at once, while one does not know yet that the other took over: whole
    batches then follow each other, as each is written under the file's lock.
    """

    def __init__(self, book: LogBook, deployment_id: UUID, place: Place) -> None:
        self._book = book
        self._settings = book.settings
        self._folder = book.folder / str(deployment_id)
        self._deployment_id = deployment_id
        self._place = place
        self._turn = asyncio.Lock()
        # A write that was cancelled may still be at work in its thread.
        self._writing = threading.Lock()
        self._current: Path | None = None
        self._begun = ""
        """When the present file was begun, if by this worker."""
        self._end = 0
        self._last = ""
        self._not_kept = 0

    @property
    def last_at(self) -> datetime | None:
        """The time of the newest line that is kept; reads the end of one file."""
        at = self._last_written()
        return datetime.fromisoformat(at) if at else None

    async def write(self, lines: Sequence[LogLine]) -> None:
        """Keep lines, in their order; returns when they are in the file.

        A full disk does not stop the replica: what could not be kept is counted in the log.
        """
        if lines:
            async with self._turn:
                await self._book.run(lambda: self._keep(lines))

    def _keep(self, lines: Sequence[LogLine]) -> None:
        with self._writing:
            try:
                self._append(lines)
            except OSError as error:
                if not self._not_kept:
                    logger.warning(
                        "replica_log_not_kept", deployment_id=str(self._deployment_id), error=str(error)
                    )
                self._not_kept += len(lines)
            else:
                self._not_kept = 0

    def _append(self, lines: Sequence[LogLine]) -> None:
        self._last = self._last or self._last_written()
        if self._not_kept:
            text = f"WARNING: the platform could not keep about {self._not_kept} lines"
            lines = [LogLine(lines[0].at, Stream.STDERR, text), *lines]
        for batch in self._batches(lines):
            descriptor = self._opened(len(batch))
            try:
                written = 0
                while written < len(batch):
                    written += os.write(descriptor, batch[written:])
            finally:
                os.close(descriptor)
            self._book.wrote(len(batch))

    def _batches(self, lines: Sequence[LogLine]) -> Iterator[bytes]:
        """Put lines together as they go into one file."""
        batch: list[bytes] = []
        size = 0
        for line in lines:
            # Searches rely on the order of times, also when a clock goes back.
            self._last = max(self._last, stamp(line.at))
            written = as_written(line, self._last, self._settings.line_bytes)
            if batch and size + len(written) > self._settings.file_bytes:
                yield b"".join(batch)
                batch, size = [], 0
            batch.append(written)
            size += len(written)
        yield b"".join(batch)

    def _opened(self, size: int) -> int:
        """Open the file that takes the next bytes, and lock it; closing gives the lock back."""
        while True:
            path = self._current = self._current or self._newest()
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            except FileNotFoundError:
                # Removed, with all before it, to make room; or never begun.
                self._current = None
                if not self._files():
                    self._begin()
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if self._takes(descriptor, path, size):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _takes(self, descriptor: int, path: Path, size: int) -> bool:
        """Tell whether this file takes the next bytes; if not, see to it that another one does."""
        status = os.fstat(descriptor)
        if status.st_nlink == 0:
            self._current = None
            return False
        held = status.st_size
        if held and os.pread(descriptor, 1, held - 1) != b"\n":
            # Somebody died while writing.
            held += os.write(descriptor, b"\n")
        end = _base_of(path) + held
        following = files.file_of(self._folder, self._place, end)
        if held and (following.exists() or self._is_full(descriptor, held, size)):
            self._end, self._current = end, following
            self._begin()
            return False
        self._end = end + size
        return True

    def _is_full(self, descriptor: int, held: int, size: int) -> bool:
        if held + size > self._settings.file_bytes:
            return True
        limit = datetime.now(UTC) - timedelta(seconds=self._settings.file_seconds)
        # One that was begun before we came is as old as its first line.
        begun = self._begun or os.pread(descriptor, TIME_WIDTH, 0).decode(errors="replace")
        return begun < stamp(limit)

    def _begin(self) -> None:
        """Begin a file where the log ends, and remove the oldest that are too much."""
        self._folder.mkdir(_FOLDER_MODE, exist_ok=True)
        path = files.file_of(self._folder, self._place, self._end)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        self._begun = stamp(datetime.now(UTC))
        kept = self._end + self._settings.file_bytes - self._settings.replica_bytes
        files.remove([file for file in self._files() if file.base < min(kept, self._end)])

    def _newest(self) -> Path:
        own = self._files()
        return own[-1].path if own else files.file_of(self._folder, self._place, self._end)

    def _files(self) -> list[LogFile]:
        return files.listed(self._folder).get(self._place, [])

    def _last_written(self) -> str:
        own = self._files()
        for at, block in blocks_before(own, own[-1].end if own else 0):
            for line in reversed(list(lines_in(block, at, self._place))):
                return line.at
        return ""


def _base_of(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
