"""What the platform in this process logged of faults of its own, told at the end for tests that failed.

A caller is told nothing but an id, and CI shows no captured output: without this a fault that comes once in
many sessions would never be explained.
"""

import logging
import os
from collections import deque
from typing import Final

import pytest

_MOST: Final = 20
_failed: Final[set[str]] = set()
_faults: Final[deque[tuple[str, str]]] = deque(maxlen=1000)
"""The test that was running, and the traceback."""


class _Noting(logging.Handler):
    """Takes note of requests that were answered with an internal error."""

    def emit(self, record: logging.LogRecord) -> None:
        line = record.msg
        if isinstance(line, dict) and line.get("event") == "request_failed":
            test, _, _ = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
            _faults.append((test, f"{line.get('path')}\n{line.get('exception')}"))


def pytest_configure() -> None:
    """Take note from now on; the root's handlers change."""
    logging.getLogger("mcp_platform.request_context").addHandler(_Noting(logging.ERROR))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember which tests failed."""
    if report.failed:
        _failed.add(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what went wrong in the platform while they ran."""
    told = [(test, text) for test, text in _faults if test in _failed]
    if told:
        terminalreporter.section("faults of the platform in tests that failed")
        for test, text in told[-_MOST:]:
            terminalreporter.write_line(f"{test}: {text}")
