"""Where sockets were opened that nobody closed, told at the end of the session.

The collector finds such a socket long after its test, so failing would fail whichever test is running. All
connections of the platform's own are transports of asyncio's, whose warnings do fail; what is left are
sockets that libraries open by themselves.

A connection that asyncio accepts just as its server closes is forgotten without being closed: the server
takes no more, and its transport ends half made (cpython#109564). Such a one is closed here.
"""

import re
import socket
import sys
import warnings
from asyncio.selector_events import BaseSelectorEventLoop
from collections import defaultdict, deque
from typing import Any, Final

import pytest

_UNCLOSED: Final = re.compile(r"unclosed <socket\.socket fd=(\d+)")
_DEEPEST: Final = 20
_opened: Final[dict[int, deque[list[str]]]] = defaultdict(lambda: deque(maxlen=3))
"""The last ones by their numbers, which are used again."""
_left: Final[list[str]] = []
_open = socket.socket.__init__
_accept: Any = BaseSelectorEventLoop._accept_connection2  # type: ignore[attr-defined]


def _noting(self: socket.socket, *arguments: Any, **options: Any) -> None:
    _open(self, *arguments, **options)
    frame = sys._getframe(1)
    places: list[str] = []
    while frame is not None and len(places) < _DEEPEST:
        code = frame.f_code
        places.append(f"{code.co_filename.rpartition('site-packages/')[2]}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    _opened[self.fileno()].append(places)


async def _accepting(
    self: BaseSelectorEventLoop,
    factory: Any,
    accepted: socket.socket,
    extra: Any,
    context: Any,
    server: Any,
    *rest: Any,
) -> None:
    if server is not None and not server.sockets:
        accepted.close()
        return
    await _accept(self, factory, accepted, extra, context, server, *rest)


def pytest_configure() -> None:
    """Take note of each socket from now on."""
    socket.socket.__init__ = _noting  # type: ignore[method-assign]
    BaseSelectorEventLoop._accept_connection2 = _accepting  # type: ignore[attr-defined]


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """Find out where a socket was opened that was left open."""
    text = str(warning_message.message)
    if (found := _UNCLOSED.search(text)) is not None:
        _left.append(f"{text} (found in {nodeid})")
        _left.extend(f"    {place}" for places in _opened[int(found[1])] for place in ["opened by", *places])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left open."""
    if _left:
        terminalreporter.section("sockets that were left open")
        for line in _left:
            terminalreporter.write_line(line)
