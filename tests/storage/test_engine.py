"""Transactions: what is committed, what is not, and what happens when the database is away."""

import asyncio
import gc
import sys
from datetime import timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError

from mcp_platform.errors import Unavailable
from storage.documents.sql import SqlDocuments
from storage.sql.access import UserRepository
from storage.sql.engine import TRANSACTION_TIMEOUT, Database
from storage.sql.migrate import migrate
from storage.sql.tasks import TaskRepository
from tests.services.mariadb import mariadb_server
from tests.storage.crowd import crowd
from tests.storage.samples import NOON, stored_user, task, user


async def test_a_clean_exit_commits_and_an_exception_rolls_back(database: Database) -> None:
    kept = await stored_user(database)
    lost = user()

    async def write_and_fail() -> None:
        async with database.write() as session:
            await UserRepository(session).add(lost, "hash")
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        await write_and_fail()
    async with database.read() as session:
        assert await UserRepository(session).get(kept.id) == kept
        assert await UserRepository(session).get(lost.id) is None


async def test_a_read_session_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.read() as session:
            await session.execute(text("DELETE FROM users"))


async def test_a_read_session_sees_one_snapshot(database: Database) -> None:
    async with database.read() as session:
        users = UserRepository(session)
        before = await users.count()
        await stored_user(database)
        assert await users.count() == before


async def test_reading_goes_on_while_somebody_writes(database: Database) -> None:
    async with database.write() as writing:
        await UserRepository(writing).add(user(), "hash")
        async with database.read() as session:
            assert await UserRepository(session).count() == 0


async def test_moments_come_back_aware_and_to_the_microsecond(database: Database) -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=8)))
    made = await stored_user(database, created_at=elsewhere)
    async with database.read() as session:
        found = await UserRepository(session).get(made.id)
    assert found is not None
    assert found.created_at == NOON
    assert found.created_at.utcoffset() == timedelta(0)


async def test_a_writer_that_is_cancelled_leaves_no_lock_and_no_row(database: Database) -> None:
    async def write(number: int) -> None:
        async with asyncio.timeout(0.001 * number), database.write() as session:
            await UserRepository(session).add(user(username=f"cancelled-{number}"), "hash")
            await asyncio.Event().wait()

    async with asyncio.timeout(10):
        outcomes = await crowd(20, write)
    assert all(isinstance(outcome, TimeoutError) for outcome in outcomes), outcomes
    async with asyncio.timeout(5):
        await stored_user(database)
    async with database.read() as session:
        assert await UserRepository(session).count() == 1


async def test_more_callers_than_connections_wait_their_turn(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Forty pings share two connections: on a slow machine the last one's turn comes late.
    monkeypatch.setattr("storage.sql.engine.PING_TIMEOUT", TRANSACTION_TIMEOUT)
    database = Database(database_url, pool_size=2)

    async def write(number: int) -> None:
        await stored_user(database)
        await database.ping()

    assert await crowd(40, write) == [None] * 40
    async with database.read() as session:
        assert await UserRepository(session).count() == 40
    await database.close()


_WRITER = """
import asyncio, sys
from sqlalchemy import text
from sqlalchemy.event import listen
from storage.sql.engine import Database

async def main():
    database = Database(sys.argv[1])
    async def one():
        for _ in range(int(sys.argv[2])):
            async with database.write() as session:
                progress = await session.scalar(text("SELECT progress FROM tasks " + sys.argv[3]))
                await session.execute(text("UPDATE tasks SET progress = :next"), {"next": progress + 1})
    await asyncio.gather(*(one() for _ in range(5)))
    await database.close()

asyncio.run(main())
"""


async def test_several_processes_that_read_and_then_write_lose_no_update(
    database: Database, database_url: str
) -> None:
    """On SQLite without any lock of its own: the transaction is the lock."""
    async with database.write() as session:
        await TaskRepository(session).add(task(task_id="counter"))
    lock = "FOR UPDATE" if database_url.startswith("mysql") else ""
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _WRITER, database_url, "8", lock)
        for _ in range(3)
    ]
    async with asyncio.timeout(60):
        assert [await process.wait() for process in processes] == [0] * 3
    async with database.read() as session:
        found = await TaskRepository(session).get("counter")
    assert found is not None
    assert found.progress == 3 * 5 * 8


async def test_a_file_that_cannot_be_opened_is_a_database_that_is_away(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/platform.db")
    for use in (database.read(), database.write()):
        with pytest.raises(Unavailable) as caught:
            async with use:
                pass
        assert caught.value.fields["part"] == "database"
    with pytest.raises(Unavailable):
        await database.ping()
    await database.close()


async def test_a_connection_in_use_is_closed_after_the_database_was(database_url: str) -> None:
    database = Database(database_url)
    connections: list[int] = []
    for engine in (database._readers.sync_engine, database._writers.sync_engine):
        listen(engine, "connect", lambda *_: connections.append(1))
        listen(engine, "close", lambda *_: connections.append(-1))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        async with database.write() as session:
            await UserRepository(session).add(user(), "hash")
            begun.set()
            await go_on.wait()

    writing = asyncio.create_task(write())
    await begun.wait()
    await database.close()
    go_on.set()
    await writing
    assert len(connections) == 2
    assert sum(connections) == 0


async def test_a_lock_that_is_never_given_is_a_database_that_is_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.sql.engine.LOCK_TIMEOUT", 1)
    holder, waiter = Database(database_url), Database(database_url)
    await stored_user(holder)
    async with holder.write() as session:
        await session.execute(text("UPDATE users SET is_active = 0"))
        with pytest.raises(Unavailable):
            async with waiter.write() as other:
                await other.execute(text("UPDATE users SET is_active = 1"))
    await holder.close()
    await waiter.close()


async def test_a_mysql_server_that_goes_away_is_noticed_and_found_again_when_it_is_back() -> None:
    with mariadb_server() as server:
        database = Database(server.url())
        await migrate(server.url())
        made = await stored_user(database)
        server.stop()
        with pytest.raises(Unavailable):
            await database.ping()
        with pytest.raises(Unavailable) as caught:
            await stored_user(database)
        assert caught.value.fields["part"] == "database"
        with pytest.raises(Unavailable):
            await SqlDocuments(database).get("ideas", str(uuid4()))
        server.start()
        async with database.read() as session:
            assert await UserRepository(session).get(made.id) == made
        await database.close()


async def test_a_connection_that_breaks_in_the_middle_is_a_database_that_is_away(
    database: Database, database_url: str
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("a file has no connection to break")

    async def lose_the_connection() -> None:
        async with database.write() as session:
            victim = await session.scalar(text("SELECT CONNECTION_ID()"))
            async with database.write() as killer:
                await killer.execute(text(f"KILL {victim}"))
            await session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        await lose_the_connection()
    await database.ping()


async def test_a_writer_that_is_cancelled_in_the_middle_of_a_statement_lets_go_of_its_locks(
    sqlite_database: Database, request: pytest.FixtureRequest
) -> None:
    # What the collector would tidy up stays: a process that spares collections is like that for minutes.
    gc.disable()
    request.addfinalizer(gc.enable)
    slow = text(
        "WITH RECURSIVE numbers(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM numbers LIMIT 3000000)"
        " SELECT max(x) FROM numbers"
    )
    begun = asyncio.Event()

    async def write() -> None:
        async with sqlite_database.write() as session:
            await UserRepository(session).add(user(), "hash")
            begun.set()
            await session.execute(slow)

    writing = asyncio.create_task(write())
    await begun.wait()
    # The statement is with the thread by now, and takes a while there.
    await asyncio.wait({writing}, timeout=0.02)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError) as kept:
        await writing
    # Raises if the lock is not given within LOCK_TIMEOUT.
    async with sqlite_database.write() as session:
        await UserRepository(session).add(user(), "hash")
    async with sqlite_database.read() as reading:
        assert await UserRepository(reading).count() == 1
    del kept
