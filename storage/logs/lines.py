"""The form of a kept line: `<time> <stream> <level> <text>`, so that grep, cut and sort work on it.

The time has a fixed width and is in UTC, so texts compare as the times do.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from mcp_platform.contracts.deployments import replica_id
from mcp_platform.contracts.logs import Level, LogLine, Stream

TIME_WIDTH: Final = 27
LONGEST_HEADER: Final = TIME_WIDTH + len(" stderr warning ")

_LEVELS: Final = {
    "trace": Level.DEBUG,
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "information": Level.INFO,
    "notice": Level.INFO,
    "warn": Level.WARNING,
    "warning": Level.WARNING,
    "err": Level.ERROR,
    "error": Level.ERROR,
    "crit": Level.ERROR,
    "critical": Level.ERROR,
    "fatal": Level.ERROR,
    "panic": Level.ERROR,
    "alert": Level.ERROR,
    "emerg": Level.ERROR,
}
_WORDS: Final = "|".join(sorted(_LEVELS, key=len, reverse=True))
_LOOKED_AT: Final = 120
"""Characters of a plain line in which its level stands, if it names one."""
_LOOKED_AT_IN_JSON: Final = 2_000
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_JSON_LEVEL: Final = re.compile(
    r'"(?:level|severity|levelname|lvl|log\.level)"\s*:\s*"?(\w+)', re.IGNORECASE | re.ASCII
)
_PLAIN_LEVEL: Final = re.compile(
    # In capitals anywhere; else where loggers put it: level=…, […], <…>, or before a colon.
    rf"\b({_WORDS.upper()})\b"
    rf"|\b(?i:level|lvl|severity)=\"?((?i:{_WORDS}))\b"
    rf"|[\[<]\s*((?i:{_WORDS}))\s*[\]>]"
    rf"|(?:^|[\s|])((?i:{_WORDS})):",
    re.ASCII,
)
_TRACEBACK: Final = "Traceback (most recent call last)"


class KeptLine(NamedTuple):
    """A line that was read, and where it stands; sorts by time, and then always in the same way."""

    at: str
    ordinal: int
    revision: int
    offset: int
    """Where it begins, counted from the first byte that its replica ever wrote."""
    stream: str
    level: str
    text: str

    def shown(self, deployment_id: UUID) -> dict[str, Any]:
        """Give the fields of a `LogEntry`."""
        return {
            "at": self.at,
            "replica": _replica_id(deployment_id, self.ordinal, self.revision),
            "ordinal": self.ordinal,
            "revision": self.revision,
            "stream": self.stream,
            "level": self.level,
            "text": self.text,
        }


@lru_cache(1024)
def _replica_id(deployment_id: UUID, ordinal: int, revision: int) -> str:
    return str(replica_id(deployment_id, ordinal, revision))


def stamp(moment: datetime) -> str:
    """Write a moment as lines have it."""
    return f"{moment.astimezone(UTC).isoformat(timespec='microseconds')[:26]}Z"


def stamp_of(seconds: float) -> str:
    """Write a moment that is given in seconds since 1970."""
    return stamp(datetime.fromtimestamp(seconds, UTC))


def level_of(text: str) -> Level:
    """Find the level in a line; without any it is `info`, standard error's too: loggers write there."""
    if "\x1b" in text:
        text = _COLOURS.sub("", text)
    if text.lstrip()[:1] == "{" and (told := _JSON_LEVEL.search(text[:_LOOKED_AT_IN_JSON])):
        word = told[1]
        return _numbered(int(word)) if word.isdigit() else _LEVELS.get(word.lower(), Level.INFO)
    if found := _PLAIN_LEVEL.search(text[:_LOOKED_AT]):
        return _LEVELS[found[found.lastindex or 0].lower()]
    return Level.ERROR if text.startswith(_TRACEBACK) else Level.INFO


def _numbered(number: int) -> Level:
    """Read the numbers that pino and bunyan write: 10 for trace to 60 for fatal."""
    if number >= 50:
        return Level.ERROR
    if number >= 40:
        return Level.WARNING
    return Level.INFO if number >= 30 else Level.DEBUG


def as_written(line: LogLine, at: str, longest: int) -> bytes:
    """Give a line as it is kept; of a very long text the beginning, and how long it was.

    Args:
        line: What the replica wrote.
        at: The time to write.
        longest: How many bytes of text are kept.
    """
    text = line.text.encode(errors="replace")
    if len(text) > longest:
        begun = text[:longest].decode(errors="ignore").encode()
        text = begun + f" …[cut, {len(text)} bytes]".encode()
    if b"\n" in text:
        text = text.replace(b"\n", b"\\n")
    return f"{at} {line.stream} {level_of(line.text)} ".encode() + text + b"\n"


_STREAMS: Final = {name.encode(): str(name) for name in Stream}
_KEPT_LEVELS: Final = {name.encode(): str(name) for name in Level}


def read_line(raw: bytes, ordinal: int, revision: int, offset: int) -> KeptLine | None:
    """Read a kept line; None for what a crash left of one, and for what somebody else wrote."""
    parts = raw.split(b" ", 3)
    if len(parts) != 4 or len(parts[0]) != TIME_WIDTH or not parts[0].startswith(b"2"):
        return None
    stream, level = _STREAMS.get(parts[1]), _KEPT_LEVELS.get(parts[2])
    if stream is None or level is None:
        return None
    at, text = parts[0].decode(errors="replace"), parts[3].decode(errors="replace")
    return KeptLine(at, ordinal, revision, offset, stream, level, text)
