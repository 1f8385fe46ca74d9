"""Bring the schema to a revision. Any number of processes may try at once: one does, the rest wait."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from mcp_platform.errors import Unavailable
from storage.sql.engine import DbapiConnection, is_away, prepare_sqlite

LOCK_TIMEOUT: Final = 60
"""Seconds to wait for another process that is migrating."""

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = "CONCAT('mcp-platform-', MD5(DATABASE()))"
"""The lock's name: locks belong to the whole MySQL server, the schema to one of its databases."""


async def migrate(url: str) -> None:
    """Bring the schema up to date; nothing to do is success.

    Raises:
        Unavailable: The database cannot be reached, or another process is migrating for too long.
    """
    await _run(url, lambda config: command.upgrade(config, "head"))


async def downgrade(url: str, revision: str) -> None:
    """Take the schema back to a revision, `base` being the empty one.

    Raises:
        Unavailable: As for `migrate`.
    """
    await _run(url, lambda config: command.downgrade(config, revision))


async def _run(url: str, task: Callable[[Config], None]) -> None:
    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
        config.attributes["connection"] = connection
        task(config)

    sqlite = make_url(url).get_backend_name() == "sqlite"
    engine = _sqlite_engine(url) if sqlite else _mysql_engine(url)
    lock = _locked_sqlite if sqlite else _locked_mysql
    try:
        async with lock(engine) as connection:
            await connection.run_sync(run)
    except DBAPIError as error:
        if is_away(error):
            raise Unavailable("The database cannot be reached", part="database") from error
        raise
    finally:
        await engine.dispose()


def _mysql_engine(url: str) -> AsyncEngine:
    return create_async_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 3})


def _sqlite_engine(url: str) -> AsyncEngine:
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": LOCK_TIMEOUT})

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def prepare(connection: DbapiConnection, _record: object) -> None:
        prepare_sqlite(connection, LOCK_TIMEOUT)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


@asynccontextmanager
async def _locked_sqlite(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    # SQLite's DDL is transactional: all revisions go into one transaction, which is the lock.
    async with engine.begin() as connection:
        yield connection


@asynccontextmanager
async def _locked_mysql(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        got = await connection.scalar(text(f"SELECT GET_LOCK({_LOCK}, {LOCK_TIMEOUT})"))
        # The lock is the session's and outlives this commit, after which Alembic commits each
        # revision by itself.
        await connection.commit()
        if got != 1:
            raise Unavailable("Another process is migrating the database", part="database")
        try:
            yield connection
        finally:
            # Closing the connection frees the lock as well, if this fails.
            await connection.execute(text(f"SELECT RELEASE_LOCK({_LOCK})"))
