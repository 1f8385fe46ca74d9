"""Looking back through a deployment's log: the newest lines first, over all its replicas."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from typing import Final, NamedTuple
from uuid import UUID

from mcp_platform.contracts.deployments import replica_id
from mcp_platform.contracts.logs import LogQuery
from storage.logs.files import Listing, LogFile, Place, blocks_before, lines_in, seek, whole_end
from storage.logs.lines import KeptLine, read_line, stamp

_PATIENCE: Final = 2.0
"""Seconds that one search may take."""
_MOST_BYTES: Final = 8_388_608
"""Of text in one answer."""
_CURSOR: Final = re.compile(r"(\d{8}T\d{12})Z-(\d{1,9})-(\d{1,9})-(\d{1,18})", re.ASCII)


class Cursor(NamedTuple):
    """What has been looked at: this line, and all that sort after it."""

    at: str
    ordinal: int
    revision: int
    offset: int

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Read a cursor that an answer carried.

        Raises:
            ValueError: It is none.
        """
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise ValueError("is no cursor; give the `next` of an answer as it is, or leave it out")
        day, rest = match[1][:8], match[1][9:]
        moment = f"{day[:4]}-{day[4:6]}-{day[6:]}T{rest[:2]}:{rest[2:4]}:{rest[4:6]}.{rest[6:]}Z"
        return cls(moment, int(match[2]), int(match[3]), int(match[4]))

    def __str__(self) -> str:
        digits = re.sub(r"[-:.]", "", self.at)
        return f"{digits}-{self.ordinal}-{self.revision}-{self.offset}"


@dataclass(frozen=True)
class Found:
    """What a search found: lines in time order, and where to look further."""

    lines: list[KeptLine]
    next: Cursor | None


class Sieve:
    """Lets through the lines that a query asks for."""

    def __init__(self, deployment_id: UUID, query: LogQuery) -> None:
        self._deployment_id = deployment_id
        self._query = query
        self.since = stamp(query.since) if query.since else ""
        self.until = stamp(query.until) if query.until else "~"
        self._levels = query.level.and_graver if query.level else None
        needle = query.search or ""
        self._plain = needle.isascii()
        self._needle = needle.lower()
        self._bytes = self._needle.encode(errors="replace")

    def takes_place(self, place: Place) -> bool:
        """Tell whether the query is about this replica."""
        query = self._query
        if query.ordinal is not None and place.ordinal != query.ordinal:
            return False
        return query.replica_id in {None, replica_id(self._deployment_id, place.ordinal, place.revision)}

    def takes_block(self, block: bytes) -> bool:
        """Tell, cheaply, whether any line of a block can be meant."""
        return not self._plain or self._bytes in block.lower()

    def takes(self, line: KeptLine) -> bool:
        """Tell whether this line is meant."""
        if not self.since <= line.at <= self.until:
            return False
        if self._levels is not None and line.level not in self._levels:
            return False
        return not self._needle or self._needle in line.text.lower()


def search(
    listing: Listing,
    sieve: Sieve,
    limit: int,
    cursor: Cursor | None = None,
    ends: Mapping[Place, int] | None = None,
    abandoned: Callable[[], bool] = lambda: False,
) -> Found:
    """Find the newest lines; the search ends at the limit, or when it took long.

    Args:
        listing: The deployment's files.
        sieve: What is asked for.
        limit: How many lines at most.
        cursor: Where an earlier search ended.
        ends: Up to where to look in each replica's log, where that is not its end.
        abandoned: Tells whether nobody waits any more; it is asked before each block.
    """
    streams = [
        _backwards(files, place, sieve, _start(files, place, sieve, cursor, ends), cursor)
        for place, files in listing.items()
        if sieve.takes_place(place) and (ends is None or place in ends)
    ]
    deadline = time.monotonic() + _PATIENCE

    def is_over() -> bool:
        return len(found) >= limit or room <= 0 or time.monotonic() > deadline or abandoned()

    found: list[KeptLine] = []
    room = _MOST_BYTES
    for seen in merge(*streams, key=lambda item: item[:4], reverse=True):
        if is_over():
            # A line that was taken is behind us; a block that was announced is not.
            return Found(found[::-1], _behind(seen))
        if isinstance(seen, KeptLine):
            found.append(seen)
            room -= len(seen.text)
    return Found(found[::-1], None)


def _behind(seen: "KeptLine | Cursor") -> Cursor:
    """Give the cursor from which `seen` is the next to be looked at."""
    return seen if isinstance(seen, Cursor) else Cursor(*seen[:3], seen.offset + 1)


def _start(
    files: list[LogFile],
    place: Place,
    sieve: Sieve,
    cursor: Cursor | None,
    ends: Mapping[Place, int] | None,
) -> int:
    start = ends[place] if ends else whole_end(files)
    latest = min(sieve.until, cursor.at if cursor else "~")
    return start if latest == "~" else min(start, seek(files, place, latest, after=True))


def _backwards(
    files: list[LogFile], place: Place, sieve: Sieve, start: int, cursor: Cursor | None
) -> "Iterator[KeptLine | Cursor]":
    """Give a replica's lines, the newest first, each block announced by its end."""
    before: Callable[[KeptLine], bool] = (lambda line: line[:4] < cursor) if cursor else lambda _line: True
    for at, block in blocks_before(files, start):
        last = _last_line(block, place, at)
        if last is None:
            continue
        if last.at < sieve.since:
            return
        yield Cursor(last.at, *place, at + len(block))
        if sieve.takes_block(block):
            lines = [line for line in lines_in(block, at, place) if sieve.takes(line) and before(line)]
            yield from reversed(lines)


def _last_line(block: bytes, place: Place, at: int) -> KeptLine | None:
    stop = block.rfind(b"\n")
    while stop > 0:
        begin = block.rfind(b"\n", 0, stop) + 1
        line = read_line(block[begin:stop], *place, at + begin)
        if line is not None:
            return line
        stop = begin - 1
    return None
