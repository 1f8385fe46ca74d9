"""A Redis server on a socket of its own."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


class RedisServer:
    """A server that can be stopped, and started again at the same address.

    Args:
        folder: Where its socket is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        self.url = self.start()

    def start(self) -> str:
        """Start it, and wait until it answers."""
        return self._running.enter_context(redis_server(self._folder))

    def stop(self) -> None:
        """Stop it; it forgets everything."""
        self._running.close()


@contextmanager
def own_redis_server() -> Iterator[RedisServer]:
    """Run a server that may be stopped."""
    with tempfile.TemporaryDirectory(prefix="mcp-platform-redis-") as folder:
        server = RedisServer(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Give a server that the test may stop."""
    with own_redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Give the address of the session's Redis server."""
    # A short path: that of a socket has little room.
    with (
        tempfile.TemporaryDirectory(prefix="mcp-platform-redis-") as folder,
        redis_server(Path(folder)) as url,
    ):
        yield url
