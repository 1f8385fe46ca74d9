"""Log books in a test's folder, and lines to write into them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from mcp_platform.contracts.deployments import Driver, ReplicaOrder
from mcp_platform.contracts.logs import LogLine, LogQuery, Stream
from mcp_platform.settings import ReplicaLogSettings
from storage.logs import LogBook, LogReader
from storage.logs.book import FileLog
from storage.logs.follow import Told
from storage.logs.reader import Following

BEGIN = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SOMEBODY = uuid4()
"""Who reads, where it does not matter who."""
_NEVER = 1_000_000_000
SMALL = ReplicaLogSettings(
    file_bytes=65_536, file_seconds=_NEVER, replica_bytes=131_072, total_bytes=1_048_576
)
ROOMY = ReplicaLogSettings(file_bytes=65_536, file_seconds=_NEVER, replica_bytes=134_217_728)


def order(deployment_id: UUID, ordinal: int = 0, revision: int = 1) -> ReplicaOrder:
    """Give the order for a replica, whose log is asked for with it."""
    return ReplicaOrder(
        deployment_id=deployment_id,
        ordinal=ordinal,
        revision=revision,
        driver=Driver.PROCESS,
        patience=1,
        check_interval=1,
        check_timeout=1,
        failures_allowed=1,
    )


def line(number: int, text: str | None = None, stream: Stream = Stream.STDERR) -> LogLine:
    """Give a line whose time, one millisecond later each, and text tell its number."""
    at = BEGIN + timedelta(milliseconds=number)
    return LogLine(at, stream, f"line {number}" if text is None else text)


def lines(first: int, end: int) -> list[LogLine]:
    """Give the lines of these numbers."""
    return [line(number) for number in range(first, end)]


@asynccontextmanager
async def open_book(folder: Path, settings: ReplicaLogSettings = SMALL) -> AsyncIterator[LogBook]:
    """Open a log book in this folder."""
    async with LogBook(folder, settings).open() as book:
        yield book


@asynccontextmanager
async def open_reader(folder: Path) -> AsyncIterator[LogReader]:
    """Open a reader of the log book in this folder."""
    reader = LogReader(folder)
    async with reader.open():
        yield reader


async def texts(reader: LogReader, deployment_id: UUID, limit: int = 100_000, **asked: Any) -> list[str]:
    """Search, and give the texts of what was found."""
    query = LogQuery(**asked)
    return [found.text for found in (await reader.search(deployment_id, query, limit, SOMEBODY)).lines]


async def drained(following: Following) -> Told:
    """Read on until nothing is left to read now."""
    everything = Told(more=True)
    while everything.more:
        told = await following.take()
        everything.lines += told.lines
        everything.missed += told.missed
        everything.more, everything.position = told.more, told.position
    return everything


async def write_in_batches(log: FileLog, count: int, size: int) -> None:
    """Write so many lines, a few at a time, as a driver does."""
    for first in range(0, count, size):
        await log.write(lines(first, min(first + size, count)))
