"""Messages on their way to a client that reads them as a stream of events."""

import asyncio
from collections import deque
from typing import Any, Final

import orjson
from aiohttp import web

_MOST_UNSENT: Final = 1000
_KEEPALIVE: Final = 15.0
"""Seconds without a message after which a comment is sent: so the end of a silent client is noticed."""
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}

Message = dict[str, Any]


class EventStream:
    """Keeps messages until they are written; one whose client does not read takes no more."""

    def __init__(self) -> None:
        self._unsent: deque[Message] = deque()
        self._ready = asyncio.Event()
        self._ended = False

    def send(self, message: Message) -> bool:
        """Send a message, soon; whether it was taken."""
        if self._ended or len(self._unsent) >= _MOST_UNSENT:
            return False
        self._unsent.append(message)
        self._ready.set()
        return True

    def end(self) -> None:
        """Take no more; the stream ends when all is sent."""
        self._ended = True
        self._ready.set()

    async def next(self) -> Message | None:
        """Wait for the next message; None at the end."""
        while not self._unsent:
            if self._ended:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._unsent.popleft()

    async def serve(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        """Write all messages until the stream ends, or its client leaves."""
        response = await open_stream(request, headers)
        while True:
            try:
                async with asyncio.timeout(_KEEPALIVE):
                    message = await self.next()
            except TimeoutError:
                await response.write(b": \n\n")
                continue
            if message is None:
                await response.write_eof()
                return response
            await response.write(event(message))


async def open_stream(request: web.Request, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """Begin a response that is a stream of events."""
    response = web.StreamResponse(headers={**_HEADERS, **(headers or {})})
    await response.prepare(request)
    return response


def event(message: Message) -> bytes:
    """Write a message as an event."""
    return b"event: message\ndata: " + orjson.dumps(message) + b"\n\n"


def takes_events(request: web.Request) -> bool:
    """Whether the client reads streams of events."""
    return "text/event-stream" in request.headers.get("Accept", "")
