"""What one live listener has still to be told."""

import time
from collections.abc import Callable

from mcp_platform.errors import PlatformError


class OutboxFull(Exception):
    """The listener is too slow; it has to come back and will be told the newest of everything then."""


class Outbox:
    """Unsent messages, the newest for each subject: a slow listener skips states, never the last one.

    It costs an idle listener next to nothing: there are thousands of them.

    Args:
        limit: Subjects with unsent news at once.
        wake: Called when there is something to take.
    """

    __slots__ = ("_end", "_limit", "_overrun", "_waiting", "_wake", "watched")

    def __init__(self, limit: int, wake: Callable[[], None]) -> None:
        self._limit = limit
        self._wake = wake
        self._waiting: dict[str, tuple[str, str, float]] = {}
        self._overrun = False
        self._end: PlatformError | None = None
        self.watched: set[str] = set()
        """The tasks that the hub tells this listener of."""

    def put(self, subject: str, kind: str, text: str) -> None:
        """Queue a message, in place of an unsent one about the same subject."""
        unsent = self._waiting.get(subject)
        if unsent is None and len(self._waiting) >= self._limit:
            self._overrun = True
        else:
            self._waiting[subject] = (kind, text, unsent[2] if unsent else time.time())
        self._wake()

    def end(self, reason: PlatformError) -> None:
        """Tell this listener nothing more, but why."""
        self._end = reason
        self._wake()

    def take(self) -> tuple[str, str] | None:
        """Take the oldest unsent message; its kind and its text. None if there is none.

        Raises:
            OutboxFull: More subjects had news than may wait.
            PlatformError: The listener may not hear any more.
        """
        if self._end is not None:
            raise self._end
        if self._overrun:
            raise OutboxFull
        if not self._waiting:
            return None
        kind, text, _ = self._waiting.pop(next(iter(self._waiting)))
        return kind, text

    @property
    def has_room(self) -> bool:
        """Whether what is not urgent should be queued now."""
        return len(self._waiting) <= self._limit // 2

    @property
    def unsent_since(self) -> float | None:
        """When the oldest unsent news came, in seconds since 1970."""
        return next(iter(self._waiting.values()))[2] if self._waiting else None
