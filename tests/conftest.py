"""Fixtures for all rooms: real servers, and each kind of store on each of its backends, empty."""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import delete
from temporalio.testing import WorkflowEnvironment

from mcp_platform.logs import configure_logs
from mcp_platform.settings import CacheSettings, LogSettings, Settings
from storage.cache import open_cache
from storage.documents import Documents
from storage.documents.mongo import MongoDocuments
from storage.documents.sql import SqlDocuments
from storage.sql.engine import Database
from storage.sql.migrate import migrate
from storage.sql.tables import Base
from tests.migrated import make_schema
from tests.platform import RunningPlatform, quick_settings, running_platform
from tests.waiting import in_one_task

_migrated: Final[set[str]] = set()
"""Addresses of databases that have the present schema."""

pytest_plugins = [
    "tests.cheap_passwords",
    "tests.faults",
    "tests.garbage",
    "tests.open_sockets",
    "tests.services.docker",
    "tests.services.mariadb",
    "tests.services.mongodb",
    "tests.services.redis",
    "tests.services.temporal",
]


def pytest_configure() -> None:
    """Log as the platform does, and find the servers that are installed beside the interpreter."""
    configure_logs(LogSettings())
    # A shell that runs us in the background makes us, and all that we start, deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Whoever ends the session in this way would have its servers outlive it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["PATH"] = os.pathsep.join(
        (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    )


def pytest_unconfigure() -> None:
    """Let Temporal's own threads end: at the interpreter's exit they may crash it (sdk-python#300)."""
    time.sleep(0.05)


async def _empty_database(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Give the address of an empty database with the present schema."""
    if kind == "sqlite":
        address = f"sqlite+aiosqlite:///{folder / 'platform.db'}"
        await make_schema(address)
        return address
    url: str = request.getfixturevalue("mariadb").url()
    if url not in _migrated:
        await migrate(url)
        _migrated.add(url)
    await _clear(url)
    return url


async def _clear(url: str) -> None:
    database = Database(url)
    async with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            await session.execute(delete(table))
    await database.close()


@pytest.fixture(params=["sqlite", "mariadb"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty database, on each engine."""
    return await _empty_database(request.param, request, tmp_path)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Give an empty database, on each engine."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Give an empty database on SQLite, for tests that are about something else."""
    opened = Database(await _empty_database("sqlite", request, tmp_path))
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "mariadb", "mongo"])
async def documents(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Documents]:
    """Give an empty document store, on each backend."""
    if request.param == "mongo":
        mongo = MongoDocuments(request.getfixturevalue("mongo_url"), f"test-{uuid4().hex}")
        yield mongo
        await mongo.close()
        return
    database = Database(await _empty_database(request.param, request, tmp_path))
    yield SqlDocuments(database)
    await database.close()


@pytest.fixture(params=["fakeredis", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """Give an empty cache: the one inside the process, and a real one."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    opened = open_cache(Settings(cache=CacheSettings(url=url)))
    await opened.flushall()
    yield opened
    await opened.aclose()


@pytest.fixture(scope="session")
async def platform(
    tmp_path_factory: pytest.TempPathFactory, temporal_environment: WorkflowEnvironment
) -> AsyncIterator[RunningPlatform]:
    """Give the session's platform: embedded stores, a real Temporal, real replicas."""
    settings = quick_settings(tmp_path_factory.mktemp("platform"))
    async with in_one_task(running_platform(settings, temporal_environment.client)) as running:
        yield running
