"""A server that speaks MongoDB's protocol, from memory, in place of MongoDB."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from mcp_platform.cli.temporal_program import tied
from tests.services.process import program, running, unavailable

_INSTALLED: Final = Path(__file__).parents[2] / ".cache/services/mongo"


@contextmanager
def mongo_server(port: int = 0) -> Iterator[str]:
    """Run a server and give its address."""
    java = program("java")
    if not (_INSTALLED / "done").exists():
        unavailable("mongo-java-server is not installed")
    command = [
        java,
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xmx256m",
        "-cp",
        f"{_INSTALLED / 'classes'}:{_INSTALLED / 'lib'}/*",
        "Main",
        str(port),
    ]
    with tempfile.TemporaryDirectory(prefix="mcp-platform-mongo-") as folder:
        log = Path(folder, "log")
        with running(tied(command), log, lambda: _port(log)):
            yield f"mongodb://127.0.0.1:{_port(log)}"


def _port(log: Path) -> str | None:
    told = re.search(r"^port (\d+)$", log.read_text(), re.MULTILINE)
    return told[1] if told else None


@pytest.fixture(scope="session")
def mongo_url() -> Iterator[str]:
    """Give the address of the session's MongoDB-protocol server."""
    with mongo_server() as url:
        yield url
