"""HTTP whose answers leave in one piece.

uvicorn writes the head of an answer and its body one after the other, and the loop sends each at once:
two system calls, and a client that is woken twice. Held back until the end of the loop's turn, both go
in one, which is a third of the whole cost of a small answer.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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


class CorkedHttp(HttpToolsProtocol):
    """uvicorn's HTTP over such a transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a connection."""
        # uvloop's transports behave like asyncio's and are none.
        super().connection_made(CorkedTransport(cast("asyncio.Transport", transport), self.loop))
