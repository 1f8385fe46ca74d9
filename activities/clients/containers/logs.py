"""What containers and services write, as the engine's log gives it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

import aiohttp

from activities.clients.docker_engine import DockerEngine
from activities.drivers import LogLine, Stream

_HEADER: Final = 8
_STREAMS: Final = {1: Stream.STDOUT, 2: Stream.STDERR}
_LONGEST: Final = 65_536
"""Bytes of one line that are kept."""


class Frames:
    """Cuts the engine's stream into lines: frames of a kind, a length and a text that begins with its time.

    A line that the engine itself cut into pieces, as it does at 16 KiB, becomes one again.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._begun: dict[Stream, tuple[datetime, bytes]] = {}

    def take(self, chunk: bytes) -> list[LogLine]:
        """Give the lines that are complete with this chunk."""
        self._data += chunk
        lines: list[LogLine] = []
        place = 0
        while len(self._data) - place >= _HEADER:
            size = int.from_bytes(self._data[place + 4 : place + _HEADER], "big")
            end = place + _HEADER + size
            if len(self._data) < end:
                break
            stream = _STREAMS.get(self._data[place], Stream.STDERR)
            if line := self._line(stream, bytes(self._data[place + _HEADER : end])):
                lines.append(line)
            place = end
        del self._data[:place]
        return lines

    def _line(self, stream: Stream, frame: bytes) -> LogLine | None:
        stamp, _, text = frame.partition(b" ")
        at, begun = self._begun.pop(stream, (None, b""))
        at = at or _moment(stamp.decode(errors="replace"))
        text = begun + text
        if not text.endswith(b"\n"):
            self._begun[stream] = (at, text[:_LONGEST])
            return None
        return LogLine(at=at, stream=stream, text=text[:_LONGEST].decode(errors="replace").rstrip("\r\n"))


async def log_lines(
    engine: DockerEngine, path: str, since: datetime | None, *, follow: bool
) -> AsyncGenerator[list[LogLine]]:
    """Give the lines of a log that are newer than a moment, in the order in which they were written.

    Args:
        engine: Who has the log.
        path: The container or service, such as `/containers/<id>`.
        since: The time of the last line that is known; None for all.
        follow: Whether to wait for more, until it ends.

    Raises:
        DriverUnavailable: The engine is away.
        LookupError: There is no such container.
    """
    query = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
    if since is not None:
        query["since"] = f"{int(since.timestamp())}.{since.microsecond:06d}000"
    frames = Frames()
    async with engine.stream(f"{path}/logs", query) as answer, aclosing(_chunks(answer)) as chunks:
        async for chunk in chunks:
            lines = frames.take(chunk)
            if since is not None:
                lines = [line for line in lines if line.at > since]
            if lines:
                yield lines


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """Read without waiting for a whole chunk; what is not taken stays in the engine's socket."""
    while chunk := await answer.content.readany():
        yield chunk
        await asyncio.sleep(0)


def _moment(stamp: str) -> datetime:
    """Read a time of RFC 3339 with nanoseconds."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    try:
        moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)
    return moment.replace(microsecond=int((fraction or "0")[:6].ljust(6, "0")))
