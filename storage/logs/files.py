"""The files of the log book: `<folder>/<deployment id>/<ordinal>-<revision>-<bytes before>.log`.

A file's name tells how many bytes its replica had written before it. So a place in a replica's log is
one number for all its life, and whoever comes too late for a removed file can be told what they missed.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from storage.logs.lines import KeptLine, read_line

BLOCK: Final = 131_072
"""Bytes that are read at once: more than the longest line."""
_NAME: Final = re.compile(r"(\d{1,9})-(\d{1,9})-(\d{1,18})\.log", re.ASCII)


class Place(NamedTuple):
    """Whose log it is: a replica of a deployment."""

    ordinal: int
    revision: int


class LogFile(NamedTuple):
    """One file of a replica's log, as it was when it was listed."""

    base: int
    """Bytes that the replica wrote before it."""
    size: int
    changed_at: float
    path: Path

    @property
    def end(self) -> int:
        """The number of the first byte after it."""
        return self.base + self.size


Listing = dict[Place, list[LogFile]]
"""The files of one deployment, each replica's in their order."""


def file_of(folder: Path, place: Place, base: int) -> Path:
    """Give the name of the file that begins at this byte of the replica's log."""
    return folder / f"{place.ordinal}-{place.revision}-{base:015d}.log"


def listed(folder: Path) -> Listing:
    """List a deployment's files; one that never wrote has none."""
    found: Listing = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if name := _NAME.fullmatch(entry.name):
                    ordinal, revision, base = map(int, name.groups())
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue
                    file = LogFile(base, status.st_size, status.st_mtime, Path(entry.path))
                    found.setdefault(Place(ordinal, revision), []).append(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for files in found.values():
        files.sort()
    return found


def deployments_in(root: Path) -> list[UUID]:
    """List whose files there are."""
    found = []
    for name in os.listdir(root) if root.is_dir() else ():
        try:
            found.append(UUID(name))
        except ValueError:
            continue
    return found


def blocks_before(files: list[LogFile], end: int) -> Iterator[tuple[int, bytes]]:
    """Read whole lines that begin before `end`, the newest block first; each with its place."""
    for file in reversed(files):
        if file.base < end:
            yield from _blocks_of(file, min(file.size, end - file.base))


def _blocks_of(file: LogFile, stop: int) -> Iterator[tuple[int, bytes]]:
    try:
        descriptor = os.open(file.path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        rest = b""
        while stop > 0:
            start = max(0, stop - BLOCK)
            data = os.pread(descriptor, stop - start, start) + rest
            cut = data.find(b"\n") + 1 if start else 0
            rest, stop = (data[:cut] if cut else data if start else b""), start
            if start and not cut:
                continue
            if len(data) > cut:
                yield file.base + start + cut, data[cut:]
    finally:
        os.close(descriptor)


def lines_in(block: bytes, at: int, place: Place) -> Iterator[KeptLine]:
    """Give the lines of a block that can be read; what has no end is none yet."""
    for raw in block.split(b"\n")[:-1]:
        line = read_line(raw, place.ordinal, place.revision, at)
        at += len(raw) + 1
        if line is not None:
            yield line


def seek(files: list[LogFile], place: Place, moment: str, *, after: bool = False) -> int:
    """Find the first byte of a replica's log at a moment, or right after it; lines are in time order."""

    def earlier(line: KeptLine) -> bool:
        return line.at <= moment if after else line.at < moment

    for file in reversed(files):
        first = _first_line(file, place, 0, min(file.size, BLOCK))
        if first is not None and earlier(first):
            return _bisect(file, place, earlier)
    return files[0].base if files else 0


def _bisect(file: LogFile, place: Place, earlier: Callable[[KeptLine], bool]) -> int:
    low, high = 0, file.size
    while high - low > BLOCK:
        middle = (low + high) // 2
        line = _first_line(file, place, middle, min(high, middle + BLOCK))
        if line is not None and earlier(line):
            low = line.offset - file.base
        else:
            high = middle
    # The line that `high` cuts belongs to this block too.
    for line in lines_in(_bytes_of(file, low, min(file.size, high + BLOCK)), file.base + low, place):
        if not earlier(line):
            return line.offset
    return file.end


def _first_line(file: LogFile, place: Place, start: int, stop: int) -> KeptLine | None:
    """Read the first line that begins at `start` or after it, and before `stop`."""
    data = _bytes_of(file, start, min(file.size, stop + BLOCK))
    cut = data.find(b"\n") + 1 if start else 0
    if start and not cut:
        return None
    found = next(lines_in(data[cut:], file.base + start + cut, place), None)
    return found if found is None or found.offset < file.base + stop else None


def _bytes_of(file: LogFile, start: int, stop: int) -> bytes:
    try:
        with file.path.open("rb") as opened:
            return os.pread(opened.fileno(), stop - start, start)
    except FileNotFoundError:
        return b""


def whole_end(files: list[LogFile]) -> int:
    """Give the place after the last whole line."""
    for at, block in blocks_before(files, files[-1].end):
        whole = block.rfind(b"\n") + 1
        if whole:
            return at + whole
    return files[0].base


def remove(files: list[LogFile]) -> None:
    """Remove files; that one is gone already is success."""
    for file in files:
        file.path.unlink(missing_ok=True)


def prune(root: Path, total_bytes: int, seconds: float) -> int:
    """Remove what was last written so long ago, and then what does not fit; count the files."""
    kept: list[list[LogFile]] = []
    removed = 0
    for deployment_id in deployments_in(root):
        folder = root / str(deployment_id)
        files = [file for own in listed(folder).values() for file in own]
        old = [file for file in files if file.changed_at < time.time() - seconds]
        remove(old)
        removed += len(old)
        if len(old) == len(files):
            remove_folder(folder)
        else:
            kept.append(sorted(set(files) - set(old), key=lambda file: file.changed_at))
    excessive = _excessive(kept, total_bytes)
    remove(excessive)
    return removed + len(excessive)


def _excessive(kept: list[list[LogFile]], total_bytes: int) -> list[LogFile]:
    """Choose until the rest fits: each time the oldest file of the deployment that keeps most.

    So one that floods pushes out its own lines, and not those of others.
    """
    # Negative, as a heap gives its smallest first; of equals, the one with the oldest file.
    heap = [(-sum(file.size for file in files), files[0].changed_at, files) for files in kept]
    heapify(heap)
    excess = -sum(size for size, _, _ in heap) - total_bytes
    chosen = []
    while heap and excess > 0:
        size, _, (oldest, *files) = heappop(heap)
        chosen.append(oldest)
        excess -= oldest.size
        if files:
            heappush(heap, (size + oldest.size, files[0].changed_at, files))
    return chosen


def remove_folder(folder: Path) -> None:
    """Remove a folder, unless somebody has begun to write into it."""
    try:
        folder.rmdir()
    except OSError:
        return
