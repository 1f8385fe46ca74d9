"""Server-sent events (WHATWG HTML, section 9.2), as far as MCP uses them."""

from collections.abc import Iterator
from typing import Final

_LONGEST_RETRY: Final = 60.0


class EventTooLong(Exception):
    """One event is larger than the limit."""


class EventParser:
    """Cuts a stream of bytes into events; comments are skipped."""

    def __init__(self, limit: int) -> None:
        self.last_id = b""
        """The id of the last event that had one: where the stream can be gone on with."""
        self.retry = 1.0
        """Seconds after which the server wants to be asked again."""
        self._limit = limit
        self._partial = bytearray()
        self._name = "message"
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[str, bytes]]:
        """Give the events that this chunk completes, as name and data.

        Raises:
            EventTooLong: The event in progress is over the limit.
        """
        first, *others = chunk.split(b"\n")
        self._partial += first
        for rest in others:
            line = bytes(self._partial).removesuffix(b"\r")
            self._partial[:] = rest
            if line:
                self._field(line)
            elif (event := self._complete()) is not None:
                yield event
        if self._size + len(self._partial) > self._limit:
            raise EventTooLong

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._name = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self.last_id = value
        elif name == b"retry" and value.isdigit():
            self.retry = min(int(value) / 1000, _LONGEST_RETRY)

    def _complete(self) -> tuple[str, bytes] | None:
        event = (self._name, b"\n".join(self._data)) if self._data else None
        self._name, self._size = "message", 0
        self._data.clear()
        return event
