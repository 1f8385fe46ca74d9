"""Following a deployment's log while it is written.

The files are the buffer: a follower keeps a place in each replica's log and reads on from there when
it is asked to, so it costs the same memory however slow its listener is, or whether there is any.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from storage.logs.files import BLOCK, Listing, LogFile, Place, lines_in, listed, seek, whole_end
from storage.logs.lines import KeptLine, stamp_of
from storage.logs.search import Sieve, search

_AT_ONCE: Final = 262_144
"""Bytes after which what was read is handed over."""
_LONG_SILENT: Final = 3600.0
"""Seconds: a replica that wrote nothing for so long is left out of positions; a time stands for it."""
_CLOCKS_DIFFER: Final = 300.0
_POSITION: Final = re.compile(r"\d{1,15}(?:_\d{1,9}\.\d{1,9}\.\d{1,18})*", re.ASCII)


@dataclass(frozen=True)
class Missed:
    """Bytes of a replica's log that were removed before the follower came to them."""

    place: Place
    bytes: int


@dataclass
class Told:
    """What a follower reads at once: lines in time order, and whether there is more already."""

    lines: list[KeptLine] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    more: bool = False
    position: str = ""
    """From where to go on."""


class Follower:
    """One reader's way through a deployment's log. Its methods read files: call them in a thread.

    Args:
        folder: The deployment's files.
        sieve: What is asked for.
    """

    def __init__(self, folder: Path, sieve: Sieve) -> None:
        self._folder = folder
        self._sieve = sieve
        self._places: dict[Place, int] = {}
        self._turn = 0

    def begin(self, history: int, abandoned: Callable[[], bool]) -> Told:
        """Begin at the end, with so many lines of what was before it, unless nobody waits any more."""
        listing = listed(self._folder)
        self._places = {place: whole_end(files) for place, files in self._mine(listing).items()}
        if not history:
            return Told(position=self._position(listing))
        found = search(listing, self._sieve, history, ends=self._places, abandoned=abandoned)
        return Told(found.lines, position=self._position(listing))

    def resume(self, position: str) -> None:
        """Go on where an earlier follower was.

        Raises:
            ValueError: That is no position.
        """
        if not _POSITION.fullmatch(position):
            raise ValueError("is no position; give the last one that was told, or leave it out")
        moment, *entries = position.split("_")
        known = {}
        for entry in entries:
            ordinal, revision, offset = map(int, entry.split("."))
            known[Place(ordinal, revision)] = offset
        # Who is not named was silent, or not there yet: what it says since is news.
        begun = stamp_of(max(0.0, min(int(moment) / 1000, time.time()) - _LONG_SILENT))
        for place, files in self._mine(listed(self._folder)).items():
            at = known.get(place)
            self._places[place] = seek(files, place, begun) if at is None else at

    def step(self) -> Told:
        """Read on, as much as is handed over at once."""
        listing = listed(self._folder)
        told = Told()
        places = sorted(self._mine(listing))
        # Each time another replica comes first: one that floods must not silence the others.
        self._turn += 1
        turn = self._turn % len(places) if places else 0
        room = _AT_ONCE
        for place in places[turn:] + places[:turn]:
            if room <= 0:
                told.more = True
                break
            room -= self._read_on(place, listing[place], told)
        told.lines.sort()
        told.position = self._position(listing)
        return told

    def _mine(self, listing: Listing) -> Listing:
        return {place: files for place, files in listing.items() if self._sieve.takes_place(place)}

    def _read_on(self, place: Place, files: list[LogFile], told: Told) -> int:
        at = self._places.get(place, 0)
        if at > files[-1].end:
            # All was removed, and its numbers began anew.
            at = files[0].base
        if at < files[0].base:
            told.missed.append(Missed(place, files[0].base - at))
            at = files[0].base
        self._places[place] = at
        file = next(file for file in reversed(files) if file.base <= at)
        if at >= file.end:
            return 0
        try:
            data = _read(file, at)
        except FileNotFoundError:
            told.more = True
            return 0
        whole = data.rfind(b"\n") + 1
        if not whole and (file is not files[-1] or len(data) == BLOCK):
            # No line's end will follow: a crash left this, or it is none of our lines.
            whole = len(data)
        told.lines += [line for line in lines_in(data[:whole], at, place) if self._sieve.takes(line)]
        self._places[place] = at + whole
        told.more = told.more or (whole > 0 and at + whole < files[-1].end)
        return len(data)

    def _position(self, listing: Listing) -> str:
        now = time.time()
        silent = now - _LONG_SILENT - _CLOCKS_DIFFER
        entries = [
            f"_{place.ordinal}.{place.revision}.{at}"
            for place, at in sorted(self._places.items())
            if place in listing and listing[place][-1].changed_at >= silent
        ]
        return f"{int(now * 1000)}{''.join(entries)}"


def _read(file: LogFile, at: int) -> bytes:
    with file.path.open("rb") as opened:
        opened.seek(at - file.base)
        return opened.read(BLOCK)
