"""What replicas write: cut into lines, without secrets, kept no faster than the log takes them."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from activities.drivers import LogLine, ReplicaLog, Stream
from mcp_platform.variables import Mask

TAIL_LINES: Final = 50
_LINE_LIMIT: Final = 65_536
"""Bytes of one line that are kept."""
_TAIL_LIMIT: Final = 2_000
"""Characters of a line that an owner is shown."""
_AT_ONCE: Final = 500
"""Lines after which others in the event loop get their turn."""
_RUNNER_SAYS: Final = "runner: "
"""How the runner begins the line that says why it ends."""
_ANNOUNCEMENT: Final = '{"event":"listening"'
"""What a runner writes to standard output itself, once."""


class Output:
    """The lines of one replica: into its log, and the last of them at hand."""

    def __init__(self, log: ReplicaLog, mask: Mask) -> None:
        self.log = log
        self._mask = mask
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def tail(self) -> list[str]:
        """The last lines, as they were written."""
        return list(self._tail)

    @property
    def runner_said(self) -> str | None:
        """Why the runner ended, in its own words."""
        said = next((line for line in reversed(self._tail) if line.startswith(_RUNNER_SAYS)), None)
        return said and said.removeprefix(_RUNNER_SAYS)

    async def keep(self, lines: Iterable[LogLine]) -> None:
        """Keep lines; returns once the log has room for more, so that who reads them waits too."""
        waiting = (line for line in lines if not _is_announcement(line))
        while batch := list(islice(waiting, _AT_ONCE)):
            self._tail.extend(line.text[:_TAIL_LIMIT] for line in batch[-TAIL_LINES:])
            clean = [LogLine(at=one.at, stream=one.stream, text=self._mask.text(one.text)) for one in batch]
            await self.log.write(clean)
            await asyncio.sleep(0)


class Lines:
    """Cuts what comes in pieces into lines; of an endless one the beginning is kept."""

    def __init__(self) -> None:
        self._rest = b""

    def cut(self, piece: bytes) -> Iterator[str]:
        """Give the lines that this piece ends."""
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest[:_LINE_LIMIT]
        return (_text(line) for line in lines)

    def last(self) -> Iterator[str]:
        """Give what stands without a line's end after the last one."""
        rest, self._rest = self._rest, b""
        if rest:
            yield _text(rest)


async def keep_stream(source: asyncio.StreamReader, stream: Stream, output: Output) -> None:
    """Keep all that comes out of a pipe, until its end."""
    lines = Lines()
    while chunk := await source.read(_LINE_LIMIT):
        now = datetime.now(UTC)
        await output.keep(LogLine(at=now, stream=stream, text=text) for text in lines.cut(chunk))
    await output.keep(LogLine(at=datetime.now(UTC), stream=stream, text=text) for text in lines.last())


def _text(line: bytes) -> str:
    return line[:_LINE_LIMIT].decode(errors="replace").rstrip("\r")


def _is_announcement(line: LogLine) -> bool:
    return line.stream is Stream.STDOUT and line.text.startswith(_ANNOUNCEMENT)
