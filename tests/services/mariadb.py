"""A MariaDB server on a socket of its own, in place of MySQL."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from mcp_platform.cli.temporal_program import tied
from tests.services.process import program, running, unavailable

DATABASE: Final = "mcp_platform"


class MariaDb:
    """A server with one account, which all connections use.

    Args:
        folder: Where its data, its log and its socket are.
        prefix: Begins every command, to run it as the right user and to end it with us.
    """

    def __init__(self, folder: Path, prefix: list[str]) -> None:
        self._folder = folder
        self._prefix = prefix
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
            *self._prefix,
            program("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self._folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        command = [
            *self._prefix,
            program("mariadbd"),
            "--no-defaults",
            f"--datadir={self._folder / 'data'}",
            f"--socket={self._socket}",
            "--skip-networking",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
        ]
        self._process.enter_context(running(command, self._folder / "log", self._socket.exists))

    def stop(self) -> None:
        """Stop the server; its data stays."""
        self._process.close()


@contextmanager
def mariadb_server() -> Iterator[MariaDb]:
    """Run a server with an empty database."""
    # Not pytest's own folder: only its owner may enter that, and the server may be another user.
    folder = Path(tempfile.mkdtemp(prefix="mcp-platform-mariadb-"))
    try:
        server = MariaDb(folder, _as_other_user(folder) if os.geteuid() == 0 else tied([]))
        server.install()
        server.start()
        try:
            server.run(f"CREATE DATABASE {DATABASE}")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_other_user(folder: Path) -> list[str]:
    """Give the folder to a user without rights, and a prefix that runs a command as that user.

    MariaDB refuses to run as root. The kernel ends the command with us, as `tied` does for our own
    user; changing the user afterwards would undo that.
    """
    for name in ("mysql", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return [
            program("setpriv"),
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            "--pdeathsig=KILL",
        ]
    unavailable("MariaDB needs another user than root")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """Give the session's MariaDB server."""
    with mariadb_server() as server:
        yield server
