"""What replicas write: lines, and how they are asked for."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment


class Stream(StrEnum):
    """Where a replica wrote a line."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Level(StrEnum):
    """How grave a line is, as far as the line tells; the least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def and_graver(self) -> frozenset["Level"]:
        """The level and all above it."""
        levels = list(Level)
        return frozenset(levels[levels.index(self) :])


@dataclass(frozen=True)
class LogLine:
    """One line that a replica wrote, without its end."""

    at: datetime
    stream: Stream
    text: str


@dataclass(frozen=True)
class LogQuery:
    """Which lines of a deployment are asked for."""

    ordinal: int | None = None
    replica_id: UUID | None = None
    level: Level | None = None
    """The least level."""
    since: datetime | None = None
    until: datetime | None = None
    search: str | None = None
    """A text that the line has in it, whatever the case of its letters."""

    @property
    def is_search(self) -> bool:
        """Whether few lines may be meant, so that many have to be looked at."""
        return self.search is not None or self.level not in {None, Level.DEBUG}


class LogEntry(Contract):
    """A line as it is shown."""

    at: Moment
    replica: UUID
    ordinal: int
    revision: int
    stream: Stream
    level: Level
    text: str


class LogPage(Contract):
    """The newest lines that were asked for, the oldest of them first."""

    deployment_id: UUID
    lines: list[LogEntry]
    truncated: bool
    """Whether there may be older ones: the limit was reached, or the time for one search was over."""
    next: str | None = None
    """The `cursor` with which to ask for those."""
