"""Places for streams that last: each holds a connection to a server that no call can use meanwhile."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway import figures
from mcp_platform.errors import Unavailable

MOST_OF_ONE: Final = 32
"""Streams that one caller may have opened; callers without a credential are one."""
_LATER: Final = 10
"""Seconds after which a client may try again."""


class Lasting:
    """Counts streams that last.

    Args:
        most: Tells how many there may be.
    """

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._callers: Counter[str] = Counter()
        self.open = 0
        """Streams that hold a place."""

    def enter(self, caller: str) -> None:
        """Take a place for a stream that a caller opens.

        Raises:
            Unavailable: The caller has too many, or there are too many together.
        """
        if self._callers[caller] >= MOST_OF_ONE:
            self._refuse(f"This caller holds {MOST_OF_ONE} streams open, and may have no more: close one")
        self._take()
        self._callers[caller] += 1

    def leave(self, caller: str) -> None:
        """Give a caller's place back."""
        self.open -= 1
        self._callers[caller] -= 1
        if not self._callers[caller]:
            del self._callers[caller]

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for a stream that the gateway opens by itself, as for a client's session.

        Raises:
            Unavailable: There are too many together.
        """
        self._take()
        try:
            yield
        finally:
            self.open -= 1

    def _take(self) -> None:
        if self.open >= (most := self._most()):
            self._refuse(f"All {most} places for lasting streams to servers are taken")
        self.open += 1

    def _refuse(self, why: str) -> None:
        figures.OVERLOADED.labels("streams").inc()
        raise Unavailable(why, "streams", _LATER)
