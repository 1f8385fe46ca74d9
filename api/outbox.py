"""What one live listener has still to be told."""

import asyncio


class OutboxFull(Exception):
    """The listener is too slow; it has to come back and will be told the newest of everything then."""


class Outbox:
    """Unsent messages, the newest for each subject: a slow listener skips states, never the last one.

    Args:
        limit: Subjects with unsent news at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[str, tuple[str, str]] = {}
        self._news = asyncio.Event()
        self._overrun = False

    def put(self, subject: str, kind: str, text: str) -> None:
        """Queue a message, in place of an unsent one about the same subject."""
        if subject not in self._waiting and len(self._waiting) >= self._limit:
            self._overrun = True
        else:
            self._waiting[subject] = (kind, text)
        self._news.set()

    async def next(self) -> tuple[str, str]:
        """Wait for the oldest unsent message; its kind and its text.

        Raises:
            OutboxFull: More subjects had news than may wait.
        """
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        if self._overrun:
            raise OutboxFull
        subject = next(iter(self._waiting))
        return self._waiting.pop(subject)
