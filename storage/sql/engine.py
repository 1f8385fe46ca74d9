"""Connections and transactions, on SQLite and MySQL alike.

Readers and writers have an engine and a pool each, because they begin differently:

- On SQLite every write transaction is `BEGIN IMMEDIATE`: SQLAlchemy's deferred default lets two
  transactions read the same row, and then loses one update or fails at once with "database is
  locked". One writing connection serves a process, so that its writers queue in order; other
  processes wait by `busy_timeout`. Readers see one snapshot (WAL) and cannot take a write lock.
- On MySQL writers run under READ COMMITTED: a row that was locked is read as it is now, and no gap
  locks make strangers wait for each other. Readers are read-only and see one snapshot.

Every path takes its locks parent first (deployment before replica, family before token) and several
rows in the order of their ids, so a deadlock should not arise. When the server still chooses us as
its victim the whole transaction is undone and answered with `Unavailable`: it may be repeated as it is.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from sqlite3 import SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR, SQLITE_LOCKED
from typing import Final, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from mcp_platform.errors import Unavailable
from storage.cancellation import cancellations

log = structlog.get_logger(__name__)

TRANSACTION_TIMEOUT: Final = 30.0
"""Seconds that a transaction may take altogether, waiting for a connection and for locks included."""
LOCK_TIMEOUT: Final = 10
PING_TIMEOUT: Final = 3.0
_CONNECT_TIMEOUT: Final = 3
_POOL_RECYCLE: Final = 1800
"""Well below MySQL's default `wait_timeout` of 8 hours, and below what most proxies allow."""

_MYSQL_AWAY: Final = frozenset(
    {
        1040,  # too many connections
        1045,  # access denied
        1049,  # no such database
        1053,  # shutting down
        1205,  # waited too long for a lock
        1213,  # chosen as a deadlock's victim
        1290,  # the server is read-only
        1836,  # the server is read-only
        1927,  # the connection was killed
        *range(2000, 2056),  # the client's own: cannot connect, gone away, lost connection
    }
)
_SQLITE_AWAY: Final = frozenset({SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR, SQLITE_LOCKED})


class ReadSession(AsyncSession):
    """A session that sees one snapshot and cannot write."""


class WriteSession(AsyncSession):
    """A session whose transaction holds what it writes, and what it read for writing."""


SessionT = TypeVar("SessionT", bound=AsyncSession)


class DbapiConnection(Protocol):
    """What SQLAlchemy hands to a listener for new connections."""

    isolation_level: str | None

    def cursor(self) -> "_Cursor":
        """Open a cursor."""
        ...


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...

    def fetchone(self) -> tuple[object, ...] | None: ...

    def close(self) -> None: ...


class Database:
    """The relational store.

    Args:
        url: `sqlite+aiosqlite:///…` or `mysql+asyncmy://…`.
        pool_size: Most connections for readers, and on MySQL as many for writers.
    """

    def __init__(self, url: str, pool_size: int = 10) -> None:
        open_engine = _open_sqlite if make_url(url).get_backend_name() == "sqlite" else _open_mysql
        self._readers = open_engine(url, pool_size, writing=False)
        self._writers = open_engine(url, pool_size, writing=True)
        self._users = 0
        self._closed = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadSession]:
        """Open a session for reading.

        Raises:
            Unavailable: The database cannot be reached, or took too long.
        """
        async with self._used(), _transaction(ReadSession(self._readers)) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteSession]:
        """Open a session that commits on a clean exit and rolls back on an exception.

        Raises:
            Unavailable: The database cannot be reached, took too long, or undid the transaction.
        """
        session = WriteSession(self._writers, expire_on_commit=False)
        async with self._used(), _transaction(session):
            yield session
            await session.commit()

    async def ping(self) -> None:
        """Return when the database answers.

        Raises:
            Unavailable: It does not.
        """
        async with self._used(), _transaction(ReadSession(self._readers), PING_TIMEOUT) as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections: now, or when the last of the transactions under way has ended.

        A connection that is given back to a pool that was closed before stays open for ever.
        """
        self._closed = True
        await self._close_if_unused()

    @asynccontextmanager
    async def _used(self) -> AsyncIterator[None]:
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            await self._close_if_unused()

    async def _close_if_unused(self) -> None:
        if self._closed and not self._users:
            await self._readers.dispose()
            await self._writers.dispose()


@asynccontextmanager
async def _transaction(session: SessionT, timeout: float = TRANSACTION_TIMEOUT) -> AsyncIterator[SessionT]:
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline, session:
            # The transaction begins here, not at the first statement: a writer holds its lock before
            # it reads, and a database that is away is noticed before the caller does anything.
            await _connected(session)
            yield session
    except (DBAPIError, PoolTimeoutError, TimeoutError) as error:
        if deadline.expired() or is_away(error):
            log.warning("database_away", error=str(error.__cause__ or error))
            raise Unavailable("The database cannot be reached", part="database") from error
        raise


async def _connected(session: AsyncSession) -> None:
    before = cancellations()
    await session.connection()
    # The pool and the driver swallow one that arrives together with the result.
    if cancellations() > before:
        raise asyncio.CancelledError


def is_away(error: BaseException) -> bool:
    """Tell whether the error says that the database is away or busy, and not that the statement is wrong."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    if error.connection_invalidated:
        return True
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return (sqlite_code & 0xFF) in _SQLITE_AWAY
    return bool(error.orig.args) and error.orig.args[0] in _MYSQL_AWAY


def _open_mysql(url: str, pool_size: int, *, writing: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        # Values may be secret, and an error's text goes into logs and histories.
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=TRANSACTION_TIMEOUT,
        pool_pre_ping=True,
        pool_recycle=_POOL_RECYCLE,
        isolation_level="READ COMMITTED" if writing else "REPEATABLE READ",
        connect_args={"connect_timeout": _CONNECT_TIMEOUT},
    )

    def prepare(connection: DbapiConnection, _record: object) -> None:
        _run(connection, f"SET SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT}")
        _run(connection, "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'")
        if not writing:
            _run(connection, "SET SESSION TRANSACTION READ ONLY")

    event.listen(engine.sync_engine, "connect", prepare)
    return engine


class _LettingGo(sqlite3.Connection):
    """A connection that gives up its locks when it is closed.

    SQLite keeps a closed connection, and its transaction, as long as a statement of it is left
    (https://www.sqlite.org/c3ref/close.html). A task that is cancelled in the middle of a statement leaves
    one, in the traceback of its cancellation: nobody could write until the collector came upon that.
    """

    def close(self) -> None:
        """Undo what was not committed, and close."""
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


def _open_sqlite(url: str, pool_size: int, *, writing: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        # Values may be secret, and an error's text goes into logs and histories.
        hide_parameters=True,
        pool_size=1 if writing else pool_size,
        max_overflow=0,
        pool_timeout=TRANSACTION_TIMEOUT,
        connect_args={"timeout": LOCK_TIMEOUT, "factory": _LettingGo},
    )

    def prepare(connection: DbapiConnection, _record: object) -> None:
        prepare_sqlite(connection, LOCK_TIMEOUT)
        if not writing:
            _run(connection, "PRAGMA query_only = ON")

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


def prepare_sqlite(connection: DbapiConnection, lock_timeout: int) -> None:
    """Leave transactions to us, and make what is committed survive a power cut."""
    connection.isolation_level = None  # the driver begins none by itself
    _run(connection, f"PRAGMA busy_timeout = {lock_timeout * 1000}")
    if _run(connection, "PRAGMA journal_mode") != ("wal",):
        _run(connection, "PRAGMA journal_mode = WAL")
    _run(connection, "PRAGMA synchronous = FULL")
    _run(connection, "PRAGMA foreign_keys = ON")


def _run(connection: DbapiConnection, statement: str) -> tuple[object, ...] | None:
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        return cursor.fetchone()
    finally:
        cursor.close()
