"""What gateways saw go wrong, for whoever watches the replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from storage.cache import Message


class Trouble:
    """Calls to one replica that failed since it was asked last."""

    def __init__(self) -> None:
        self._kinds: list[str] = []
        self._news = asyncio.Event()

    def add(self, kind: str) -> None:
        """Note one."""
        # Enough to decide on; the gateways may send any number while a check is going on.
        if len(self._kinds) < 10:
            self._kinds.append(kind)
        self._news.set()

    async def wait(self) -> None:
        """Return once there is one."""
        await self._news.wait()

    def take(self) -> list[str]:
        """Give them, and begin anew."""
        kinds, self._kinds = self._kinds, []
        self._news.clear()
        return kinds


class Troubles:
    """One listener for all replicas that this worker watches."""

    def __init__(self) -> None:
        self._watched: dict[UUID, set[Trouble]] = {}

    @contextmanager
    def of(self, replica_id: UUID) -> Iterator[Trouble]:
        """Collect what happens to a replica while the body runs."""
        trouble = Trouble()
        self._watched.setdefault(replica_id, set()).add(trouble)
        try:
            yield trouble
        finally:
            self._watched[replica_id].discard(trouble)
            if not self._watched[replica_id]:
                del self._watched[replica_id]

    @asynccontextmanager
    async def listening(self, messages: AsyncIterator[Message]) -> AsyncIterator[None]:
        """Hear what the gateways say (`Channel.TROUBLE`) while the body runs."""
        listener = asyncio.create_task(self._listen(messages))
        try:
            yield
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, messages: AsyncIterator[Message]) -> None:
        async for message in messages:
            try:
                replica_id = UUID(str(message.data.get("replica_id")))
            except ValueError:
                continue  # the subscription's own beginning, or no message of ours
            for trouble in self._watched.get(replica_id, ()):
                trouble.add(str(message.data.get("kind", "failed")))
