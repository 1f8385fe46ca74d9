"""Closing what several tasks use, once the last of them is done with it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class InUse:
    """Counts who uses something, so that giving it up takes it from nobody.

    An HTTP client that is closed under a request breaks it; and a connection that such a request is just
    making is left open, for the client no longer knows of it.

    Args:
        close: Closes it.
    """

    def __init__(self, close: Callable[[], Awaitable[None]]) -> None:
        self._close = close
        self._users = 0
        self._given_up = False

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """Keep it open while the body runs."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            await self._close_if_done()

    async def give_up(self) -> None:
        """Close it now, or when its last user is done."""
        self._given_up = True
        await self._close_if_done()

    async def _close_if_done(self) -> None:
        if self._given_up and not self._users:
            await self._close()
