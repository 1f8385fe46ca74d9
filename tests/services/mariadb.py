"""A MariaDB server on a socket of its own, in place of MySQL."""

import getpass
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from mcp_platform.cli.temporal_program import tied
from tests.services.process import program, running

DATABASE: Final = "mcp_platform"

_USER: Final = f"--user={getpass.getuser()}"
"""Said explicitly, because MariaDB runs as root only when told so: it is alone in its folder here."""


class MariaDb:
    """A server with one account, which all connections use.

    Args:
        folder: Where its data, its log and its socket are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "socket"
        self._process = ExitStack()

    def url(self, database: str = DATABASE) -> str:
        """Give the address of a database on this server."""
        return f"mysql+asyncmy://root@/{database}?unix_socket={self._socket}&charset=utf8mb4"

    def run(self, statement: str) -> None:
        """Execute a statement as the server's administrator."""
        client = [program("mariadb"), "--no-defaults", f"--socket={self._socket}", "--user=root"]
        subprocess.run([*client, f"--execute={statement}"], check=True, timeout=30)

    def install(self) -> None:
        """Make the data of an empty server."""
        command = [
            program("mariadb-install-db"),
            "--no-defaults",
            _USER,
            f"--datadir={self._folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=110)

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        # One that was killed left it behind, and it would seem to listen at once.
        self._socket.unlink(missing_ok=True)
        command = [
            program("mariadbd"),
            "--no-defaults",
            _USER,
            f"--datadir={self._folder / 'data'}",
            f"--socket={self._socket}",
            "--skip-networking",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=64M",
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--debug-no-sync"),
        ]
        self._process.enter_context(running(tied(command), self._folder / "log", self._listens))

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return not probe.connect_ex(str(self._socket))

    def stop(self) -> None:
        """Stop the server; its data stays."""
        self._process.close()


@contextmanager
def mariadb_server() -> Iterator[MariaDb]:
    """Run a server with an empty database."""
    # A short path: that of a socket has little room.
    with tempfile.TemporaryDirectory(prefix="mcp-platform-mariadb-") as folder:
        server = MariaDb(Path(folder))
        server.install()
        server.start()
        try:
            server.run(f"CREATE DATABASE {DATABASE}")
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """Give the session's MariaDB server."""
    with mariadb_server() as server:
        yield server
