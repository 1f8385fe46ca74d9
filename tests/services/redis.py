"""A Redis server on a socket of its own."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcp_platform.cli.temporal_program import tied
from tests.services.process import program, running


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a server in this folder and give its address, which is the same for each run."""
    path = folder / "redis"
    path.unlink(missing_ok=True)
    command = [
        program("redis-server"),
        *("--port", "0"),
        *("--unixsocket", str(path)),
        *("--dir", str(folder)),
        *("--save", ""),
        *("--appendonly", "no"),
    ]
    with running(tied(command), folder / "log", lambda: _answers(path)):
        yield f"unix://{path}"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Give the address of the session's Redis server."""
    # A short path: that of a socket has little room.
    with (
        tempfile.TemporaryDirectory(prefix="mcp-platform-redis-") as folder,
        redis_server(Path(folder)) as url,
    ):
        yield url
