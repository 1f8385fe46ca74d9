"""HTTP whose answers leave in one piece.

uvicorn writes the head of an answer and its body one after the other, and the loop sends each at once:
two system calls, and a client that is woken twice. Held back until the end of the loop's turn, both go
in one, which is a third of the whole cost of a small answer.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_H2C: Final = re.compile(rb"^upgrade:(?=[ \t]*h2c[ \t]*\r?$)", re.IGNORECASE | re.MULTILINE)


class CorkedTransport(asyncio.Transport):
    """Sends what was written in one turn of the loop together; everything else is the transport's own."""

    __slots__ = ("_inner", "_loop", "_waiting")

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send the data at the end of this turn, after what waits already."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of it at the end of this turn."""
        for data in list_of_data:
            self.write(data)

    def close(self) -> None:
        """Send what waits, and close."""
        self._send()
        self._inner.close()

    def write_eof(self) -> None:
        """Send what waits, and end the writing half."""
        self._send()
        self._inner.write_eof()

    def abort(self) -> None:
        """Close at once; what waits is lost."""
        self._waiting.clear()
        self._inner.abort()

    def is_closing(self) -> bool:
        """Tell whether it is closed, or closing."""
        return self._inner.is_closing()

    def can_write_eof(self) -> bool:
        """Tell whether the writing half can be ended by itself."""
        return self._inner.can_write_eof()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell about the connection."""
        return self._inner.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Count the bytes that are still to be sent."""
        return self._inner.get_write_buffer_size() + sum(map(len, self._waiting))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say from when on the protocol is asked to pause."""
        self._inner.set_write_buffer_limits(high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol, such as a WebSocket's."""
        self._inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol."""
        return self._inner.get_protocol()

    def is_reading(self) -> bool:
        """Tell whether it reads."""
        return self._inner.is_reading()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._inner.resume_reading()

    def _send(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._inner.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))


def _without_h2c(data: bytes) -> bytes:
    """Hide the offer to go on in HTTP/2, which Java's client makes in every request over plain HTTP.

    A server may ignore it (RFC 9110, section 7.8); the parser would take it for the end of the request and
    lose the body.
    """
    if b"h2c" not in data:
        return data
    head, end, body = data.partition(b"\r\n\r\n")
    return _H2C.sub(b"x-upgrade:", head) + end + body


class CorkedHttp(HttpToolsProtocol):
    """uvicorn's HTTP over such a transport, with a bound on how long a request may take to arrive.

    uvicorn waits for ever for a client that connects and says nothing, or stops in the middle.
    """

    patience = 30.0
    """Seconds of silence while a request is expected or half there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a connection."""
        self._half = False
        self._silence: asyncio.TimerHandle | None = None
        # uvloop's transports behave like asyncio's and are none.
        super().connection_made(CorkedTransport(cast("asyncio.Transport", transport), self.loop))
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._expect_no_more()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Note that a request has begun to arrive."""
        self._half = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that all of it is here."""
        self._half = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take in what the client sends."""
        self._expect_no_more()
        super().data_received(data if self._half else _without_h2c(data))
        if self._half and self.parser is not None:
            self._expect()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over."""
        self._half = False
        super().handle_websocket_upgrade()

    def _expect(self) -> None:
        self._silence = self.loop.call_later(self.patience, self._give_up)

    def _expect_no_more(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            # RFC 9110, section 15.5.9: it may be sent to a client that has sent nothing at all.
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        self.transport.close()
