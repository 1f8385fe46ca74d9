"""One HTTP/1.1 connection to a server: a request is written, and its response read, whole or as a stream."""

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import httptools

from mcp_platform.errors import UpstreamFailed, UpstreamTimedOut

_MOST_HEAD: Final = 65_536
_STREAM_BUFFER: Final = 65_536
"""Bytes of a stream that wait for their reader before the server is made to wait."""
_DRAIN: Final = 1.0
"""Seconds that a stream has to end by itself once its reader has what it wanted."""

_TLS_ALERT: Final = b"\x15\x03"
"""How a server of TLS begins its answer to who speaks plain HTTP (RFC 8446, section 5.1)."""

_HUNG_UP: Final = getattr(select, "POLLRDHUP", 0)
"""What the kernel says of a connection that the other side has closed; not all systems can say it."""


class Unreachable(Exception):
    """Nothing was sent: the call may be tried elsewhere."""


class Broken(UpstreamFailed):
    """The connection ended in the middle: nobody knows how much was done, or whether the server lives."""


class Stale(Broken):
    """The server closed a kept connection as we wrote; not one byte of an answer came."""


class TlsFailed(UpstreamFailed):
    """There is no TLS with this server that can be trusted, or it speaks nothing else: nothing was done.

    It stays so until somebody changes the server, its URL, or whom we trust.
    """


class Response:
    """What a server answered; `body` is None where it is a stream, which must be closed."""

    __slots__ = (
        "_chunks",
        "_complete",
        "_connection",
        "_error",
        "_size",
        "_waiting",
        "body",
        "headers",
        "status",
    )

    def __init__(
        self, status: int, headers: dict[bytes, bytes], body: bytes | None, connection: "Connection"
    ) -> None:
        self.status = status
        self.headers = headers
        """By name, in lower case."""
        self.body = body
        self._connection = connection
        if body is None:
            self._chunks: deque[bytes] = deque()
            self._size = 0
            self._complete = False
            self._error: Exception | None = None
            self._waiting: asyncio.Future[None] | None = None

    def header(self, name: str) -> str | None:
        """Give a header by its name in lower case."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def kind(self) -> bytes:
        """The media type, without parameters."""
        return media_type(self.headers)

    async def read(self) -> bytes:
        """Give the next bytes of the stream; none at its end.

        Raises:
            Broken: The connection ended in the middle.
            UpstreamTimedOut: The time for the whole response is over.
        """
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._complete:
                return b""
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._connection.go_on(self)
        return data

    def close(self, *, at_once: bool = True) -> None:
        """End the stream: at once, by closing its connection, or when the server ends it in a moment."""
        self._chunks.clear()
        self._connection.leave(self, at_once)

    def feed(self, data: bytes) -> bool:
        """Take bytes of the stream; whether more may come before these are read."""
        self._chunks.append(data)
        self._size += len(data)
        self._wake()
        return self._size <= _STREAM_BUFFER

    def end(self, error: Exception | None = None) -> None:
        """Note the stream's end."""
        self._complete = True
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Connection(asyncio.Protocol):
    """Carries one exchange after the other.

    Args:
        done: Told when a response is complete and the connection may carry another.
        lost: Told when the connection is closed.
    """

    def __init__(self, done: Callable[["Connection"], None], lost: Callable[["Connection"], None]) -> None:
        self.idle_since = 0.0
        self.closed = False
        self._done = done
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._busy = False
        self._served = False
        """Whether an exchange was carried before the present one."""
        self._answer: asyncio.Future[Response]
        self._timer: asyncio.TimerHandle | None = None
        self._limit = 0
        self._paused = False
        self._poll: select.poll | None = None
        self._more: Callable[[], float] | None = None
        self._granted = 0.0
        """Seconds by which the deadline was moved."""
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._head_size = 0
        self._head_done = False
        self._until_close = False
        self._body: list[bytes] = []
        self._body_size = 0
        self._stream: Response | None = None
        self._draining = False

    def begin(
        self, data: bytes, limit: int, timeout: float | None, more: Callable[[], float] | None = None
    ) -> asyncio.Future[Response]:
        """Write a request; the future gives its response, or the head of a stream.

        Args:
            data: The request.
            limit: Bytes that a response which is no stream may have.
            timeout: Seconds until the whole response must be there, a stream's end included.
            more: Asked then for the seconds that do not count, of all that have passed.
        """
        self._busy = True
        self._more = more
        self._granted = 0.0
        self._limit = limit
        self._answer = self._loop.create_future()
        if timeout is not None:
            self._timer = self._loop.call_later(timeout, self._time_out)
        self._transport.write(data)
        return self._answer

    def park(self) -> None:
        """Be kept for a later exchange, without one before."""
        self._served = True  # so that a server that closed it meanwhile is no surprise
        self._done(self)

    def hung_up(self) -> bool:
        """Tell whether the server has closed it, even if we have not been told yet."""
        return self.closed or (self._poll is not None and bool(self._poll.poll(0)))

    def fail(self, error: Exception) -> None:
        """End the exchange in progress with this error, and the connection."""
        if self._busy:
            if self._stream is not None:
                self._stream.end(error)
            elif not self._answer.done():
                self._answer.set_exception(error)
        self.abort()

    def abort(self) -> None:
        """Close at once; nobody waits for anything any more."""
        self._stop_timer()
        self._busy = False
        self.closed = True
        self._transport.abort()

    def give_up(self, answer: asyncio.Future[Response]) -> None:
        """Close at once if this answer is still to come: else what it carries now is somebody else's."""
        if self._busy and self._answer is answer:
            self.abort()

    def go_on(self, stream: Response) -> None:
        """Read on, for the stream's reader has caught up."""
        if self._paused and self._stream is stream:
            self._paused = False
            self._transport.resume_reading()

    def leave(self, stream: Response, at_once: bool) -> None:
        """Let a stream go, if it is still the one in progress."""
        if self._stream is not stream or not self._busy:
            return
        if at_once or self.closed:
            self.abort()
            return
        self._draining = True
        self._stop_timer()
        self._timer = self._loop.call_later(_DRAIN, self.abort)
        self.go_on(stream)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        known = transport.get_extra_info("socket")
        if known is not None and _HUNG_UP:
            self._poll = select.poll()
            self._poll.register(known.fileno(), _HUNG_UP)

    def data_received(self, data: bytes) -> None:
        """Parse what came; anything that is no HTTP response ends the connection."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            self.fail(cause if isinstance(cause, UpstreamFailed) else _no_http(data))
            return
        if not self._head_done and self._busy:
            self._head_size += len(data)
            if self._head_size > _MOST_HEAD:
                self.fail(UpstreamFailed(f"The answer's headers are larger than {_MOST_HEAD} bytes"))

    def eof_received(self) -> bool:
        """Complete a body that lasts until the connection closes; carry nothing any more."""
        if not self._busy:
            self.closed = True  # with TLS the connection may stay open for a moment
        elif self._until_close:
            self.closed = True
            self.on_message_complete()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        self.closed = True
        unseen = self._served and not self._head_done and self._head_size == 0
        kind = Stale if unseen else Broken
        self.fail(kind("The connection to the MCP server broke during the call"))
        self._lost(self)

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for; called by the parser."""
        if not self._busy:
            raise UpstreamFailed("The MCP server answers what it was not asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; called by the parser."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Decide how the body is read; called by the parser."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        headers = self._headers
        self._head_done = True
        length = headers.get(b"content-length")
        self._until_close = length is None and b"transfer-encoding" not in headers
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise UpstreamFailed("The MCP server's answer is compressed, which was not asked for")
        if status == 200 and media_type(headers) == b"text/event-stream":
            self._stream = Response(status, headers, None, self)
            self._give(self._stream)
        elif length is not None and int(length) > self._limit:
            raise _too_large(self._limit)

    def on_body(self, data: bytes) -> None:
        """Take a part of the body; called by the parser."""
        if self._stream is None:
            self._body_size += len(data)
            if self._body_size > self._limit:
                raise _too_large(self._limit)
            self._body.append(data)
        elif not self._draining and not self._stream.feed(data) and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Give the response, and the connection back; called by the parser."""
        if not self._head_done:
            self._headers = {}  # 1xx: the answer itself is still to come
            return
        self._stop_timer()
        if self._stream is not None:
            self._stream.end()
        else:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._give(Response(self._parser.get_status_code(), self._headers, body, self))
        self._busy = False
        self._served = True
        self._reset()
        if self.closed or not self._parser.should_keep_alive():
            self.closed = True
            self._transport.close()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._done(self)

    def _give(self, response: Response) -> None:
        if not self._answer.done():
            self._answer.set_result(response)

    def _time_out(self) -> None:
        self._timer = None
        extra = self._more() - self._granted if self._more is not None else 0.0
        if extra > 0:
            self._granted += extra
            self._timer = self._loop.call_later(extra, self._time_out)
            return
        self.fail(UpstreamTimedOut("The MCP server did not answer in time"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def media_type(headers: dict[bytes, bytes]) -> bytes:
    """Read the media type, without parameters."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _no_http(data: bytes) -> UpstreamFailed:
    if data[:2] == _TLS_ALERT:
        return TlsFailed("The server speaks TLS: its URL must begin with https://")
    return UpstreamFailed("The answer is not HTTP")


def _too_large(limit: int) -> UpstreamFailed:
    return UpstreamFailed(f"The MCP server's answer is larger than {limit} bytes")
