"""Server processes that end with the tests, whatever becomes of these."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import pytest

_START_TIMEOUT: Final = 30.0
_STOP_TIMEOUT: Final = 10.0
_SEARCHED: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))


def program(name: str) -> str:
    """Find a program, or skip the test."""
    return shutil.which(name, path=_SEARCHED) or unavailable(f"{name} is not installed")


def unavailable(reason: str) -> NoReturn:
    """Skip the test for want of a server; in CI, where all servers are to be had, fail it."""
    advice = f"{reason}; tests/services/install.sh installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(advice)
    pytest.skip(advice)


@contextmanager
def running(
    command: Sequence[str], log: Path, ready: Callable[[], object]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the context; enter once `ready` gives something true."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _START_TIMEOUT
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server with its children; one that has ended is success."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_STOP_TIMEOUT)
