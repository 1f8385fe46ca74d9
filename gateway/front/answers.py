"""What is sent back: JSON, or a stream of events once something has to be said before the result."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import orjson
from starlette.types import Receive, Send

from mcp_platform.wire import INVALID_REQUEST, RpcError

Headers = list[tuple[bytes, bytes]]

_JSON: Final = (b"content-type", b"application/json")
_STREAM: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    # Reverse proxies such as nginx would hold events back.
    (b"x-accel-buffering", b"no"),
]
_COMMENT: Final = b": still here\n\n"
_KEEPALIVE: Final = 15.0
"""Seconds of silence after which a stream says that it lives, so that no proxy closes it."""
_WATCH_AFTER: Final = 0.25
"""Seconds that an answer may take before somebody looks whether the client is still there."""


def event(message: dict[str, Any]) -> bytes:
    """Write one message as a server-sent event."""
    return b"event: message\ndata: " + orjson.dumps(message) + b"\n\n"


def response(number: object, outcome: dict[str, Any] | RpcError) -> dict[str, Any]:
    """Make the JSON-RPC response to the request with this id."""
    if isinstance(outcome, RpcError):
        return {"jsonrpc": "2.0", "id": number, "error": outcome.wire()}
    return {"jsonrpc": "2.0", "id": number, "result": outcome}


async def send_json(send: Send, status: int, message: object, headers: Iterable[Any] = ()) -> None:
    """Send JSON."""
    body = orjson.dumps(message)
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def send_empty(send: Send, status: int, headers: Iterable[Any] = ()) -> None:
    """Send a status alone."""
    length = (b"content-length", b"0")
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": b""})


async def refuse(send: Send, status: int, why: str) -> None:
    """Refuse a request that was not understood as far as its id."""
    await send_json(send, status, response(None, RpcError(INVALID_REQUEST, why)))


class Answer:
    """The answer to one request.

    Args:
        headers: What the answer carries besides its own.
        streams: Whether the client takes a stream; otherwise nothing but the result is sent.
    """

    __slots__ = ("_headers", "_opening", "_ping", "_send", "begun", "streams")

    def __init__(self, send: Send, headers: Headers, streams: bool) -> None:
        self._send = send
        self._headers = headers
        self._opening: asyncio.Lock | None = None
        self._ping: asyncio.TimerHandle | None = None
        self.streams = streams
        self.begun = False
        """Whether a stream was opened."""

    async def event(self, message: dict[str, Any]) -> None:
        """Send a message before the result, where the client takes a stream."""
        if self.streams:
            await self._write(event(message))

    async def finish(self, message: dict[str, Any], status: int, headers: Iterable[Any] = ()) -> None:
        """Send the result, or the error with this status where no stream was opened."""
        if self._ping is not None:
            self._ping.cancel()
        if not self.begun:
            await send_json(self._send, status, message, [*self._headers, *headers])
            return
        await self._send({"type": "http.response.body", "body": event(message), "more_body": False})

    def quiet(self) -> None:
        """Say nothing more: there will be no result."""
        if self._ping is not None:
            self._ping.cancel()

    def keep_alive(self) -> None:
        """Say now and then that the call goes on, from now until the result."""
        if self.streams:
            self._ping = asyncio.get_running_loop().call_later(_KEEPALIVE, self._say_so)

    def _say_so(self) -> None:
        task = asyncio.ensure_future(self._write(_COMMENT))
        # Who left is noticed elsewhere.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.keep_alive()

    async def _write(self, chunk: bytes) -> None:
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if not self.begun:
                self.begun = True
                headers = [*_STREAM, *self._headers]
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})


class Presence:
    """Cancels the task that serves a request once its client has left; costs nothing while it is quick."""

    __slots__ = ("_receive", "_serving", "_timer", "_watching", "cancelled", "left")

    def __init__(self, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        self._receive = receive
        self._serving = asyncio.current_task(loop)
        self._watching: asyncio.Task[None] | None = None
        self._timer = loop.call_later(_WATCH_AFTER, self._begin)
        self.left = False
        """The client closed the connection."""
        self.cancelled = False
        """The client said that it does not want the answer, or its session ended."""

    def cancel(self) -> None:
        """Cancel the request because its client says so."""
        self.cancelled = True
        if self._serving is not None:
            self._serving.cancel()

    def go_on(self) -> None:
        """Undo the cancellation: it was meant for the call, and not for the task that serves it."""
        if self._serving is not None:
            self._serving.uncancel()

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _begin(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self._serving is not None:
            self._serving.cancel()
