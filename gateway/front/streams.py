"""A stream of events that lasts: what is to be sent waits in it until the client has read the rest."""

import asyncio
from typing import Any, Final

from starlette.types import Receive, Send

from gateway.front.answers import Headers, event

_MOST_UNREAD: Final = 1000
_KEEPALIVE: Final = 15.0
"""Seconds of silence after which the stream says that it lives."""
_HEADERS: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """The standalone stream of one session.

    A client that does not read is not waited for: its stream ends, and it opens another.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_MOST_UNREAD)
        self._ended = False
        self.changed = asyncio.Event()
        """Set when the session may hear of other things than before."""

    def put(self, message: dict[str, Any]) -> None:
        """Send a message soon."""
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.end()

    def nudge(self) -> None:
        """Note that the session may hear of other things than before."""
        self.changed.set()

    def end(self) -> None:
        """End the stream once what is in it was sent; at once where that is too much."""
        self._ended = True
        if not self._queue.full():
            self._queue.put_nowait(None)

    async def serve(self, receive: Receive, send: Send, headers: Headers) -> None:
        """Send what comes until the stream ends or the client leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]})
        # Without a first byte, some servers and proxies hold the headers back.
        await send({"type": "http.response.body", "body": b": ready\n\n", "more_body": True})
        leaving = asyncio.ensure_future(_left(receive))
        sending = asyncio.ensure_future(self._send_all(send))
        try:
            await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        while not (self._ended and self._queue.full()):
            try:
                async with asyncio.timeout(_KEEPALIVE):
                    message = await self._queue.get()
            except TimeoutError:
                chunk = b": still here\n\n"
            else:
                if message is None:
                    return
                chunk = event(message)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
