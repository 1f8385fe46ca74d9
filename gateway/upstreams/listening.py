"""Streams of what a server says outside of calls: held open, opened again, and told to all who listen."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from gateway.requests import Message
from gateway.upstreams.connection import Unreachable
from gateway.upstreams.sessions import NotOffered
from mcp_platform.errors import PlatformError
from mcp_platform.wire import METHOD_NOT_FOUND, RpcError

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 30.0
_STEADY: Final = 5.0
"""Seconds for which a stream must last to count as one that works."""


class Muted:
    """A channel that is told, and cannot be asked.

    Args:
        notify: Told of each message.
        admits: Whether messages of a method are wanted.
    """

    capabilities: Mapping[str, Any] = {}
    client_info: Mapping[str, Any] = {}

    def __init__(
        self, notify: Callable[[Message], Awaitable[None]], admits: Callable[[str], bool] = lambda _: True
    ) -> None:
        self._notify = notify
        self._admits = admits

    async def notify(self, message: Message) -> None:
        """Tell it, if it is wanted."""
        if self._admits(message["method"]):
            await self._notify(message)

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Refuse: nobody in particular listens."""
        raise RpcError(METHOD_NOT_FOUND, f"this client does not offer {method}")


async def persist(
    hear: Callable[[], Awaitable[None]], again: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Hold a stream open until cancelled, with growing pauses where it does not last.

    Args:
        hear: Opens the stream, and returns when it has ended.
        again: Called before it is opened again: something may have been missed.

    Raises:
        NotOffered: The server has no such stream.
    """
    loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
    while True:
        begun = loop.time()
        # Whoever calls the server learns of its failure; here it is only waited for.
        with suppress(RpcError, Unreachable, PlatformError):
            await hear()
        lasted = loop.time() - begun
        pause = _FIRST_PAUSE if lasted >= _STEADY else min(pause * 2, _LONGEST_PAUSE)
        await asyncio.sleep(pause)
        if again is not None:
            await again()


Tell = Callable[[Message], Awaitable[None]]


class News:
    """What one server says to all: heard once, while anybody listens.

    Args:
        hear: Opens the stream, says when it is open, and tells of each message, until the stream ends.
        lost: Gives what must be told when the stream has to be opened again.
    """

    def __init__(
        self,
        hear: Callable[[Tell, Callable[[], None]], Awaitable[None]],
        lost: Callable[[], list[Message]],
    ) -> None:
        self._hear = hear
        self._lost = lost
        self._listeners: dict[object, tuple[Tell, Callable[[], None]]] = {}
        self._hearing: asyncio.Task[None] | None = None
        self._is_open = False

    async def listen(self, tell: Tell, on_open: Callable[[], None] = lambda: None) -> None:
        """Tell of each message until cancelled; return when the server says nothing of this kind.

        Args:
            tell: Told of each message.
            on_open: Told whenever the stream is open: from then on nothing is missed.
        """
        key = object()
        self._listeners[key] = tell, on_open
        if self._hearing is None:
            self._hearing = asyncio.create_task(self._run())
        try:
            if self._is_open:
                on_open()
            await asyncio.wait({self._hearing})
        finally:
            del self._listeners[key]
            if not self._listeners and self._hearing is not None:
                self._hearing.cancel()
                self._hearing = None

    async def close(self) -> None:
        """Stop; all who listen return."""
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.cancel()
            await asyncio.wait({hearing})

    async def _run(self) -> None:
        async def again() -> None:
            for message in self._lost():
                await self._tell(message)

        try:
            await persist(self._hear_once, again)
        except NotOffered:
            return

    async def _hear_once(self) -> None:
        try:
            await self._hear(self._tell, self._opened)
        finally:
            self._is_open = False

    def _opened(self) -> None:
        self._is_open = True
        for _, on_open in list(self._listeners.values()):
            on_open()

    async def _tell(self, message: Message) -> None:
        for tell, _ in list(self._listeners.values()):
            await tell(message)
