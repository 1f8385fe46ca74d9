"""The schema's history leads to the tables, on both engines, however it was interrupted."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from mcp_platform.errors import Unavailable
from storage.sql import migrations
from storage.sql.access import UserRepository
from storage.sql.engine import Database
from storage.sql.migrate import downgrade, migrate
from storage.sql.tables import Base
from tests.services.mariadb import MariaDb
from tests.storage.samples import stored_user

T = TypeVar("T")
TABLES = set(Base.metadata.tables)
SCRIPTS = ScriptDirectory(str(Path(migrations.__file__).parent))
HEAD = SCRIPTS.get_current_head()
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()]
FIRST_RELEASE = "0010"


@pytest.fixture(params=["sqlite", "mariadb"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'blank.db'}"
        return
    mariadb: MariaDb = request.getfixturevalue("mariadb")
    name = f"blank_{uuid4().hex}"
    mariadb.run(f"CREATE DATABASE {name}")
    yield mariadb.url(name)
    mariadb.run(f"DROP DATABASE {name}")


async def look(url: str, at: Callable[[Connection], T]) -> T:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(at)
    finally:
        await engine.dispose()


async def execute(url: str, *statements: str) -> None:
    database = Database(url)
    async with database.write() as session:
        for statement in statements:
            await session.execute(text(statement))
    await database.close()


def table_names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Base.metadata))


async def test_the_migrations_lead_to_the_tables_and_to_nothing_else(blank_url: str) -> None:
    await migrate(blank_url)
    assert await look(blank_url, differences) == []


async def test_the_migrations_lead_back_to_an_empty_database_and_up_again(blank_url: str) -> None:
    await migrate(blank_url)
    await downgrade(blank_url, "base")
    assert await look(blank_url, table_names) == set()
    await migrate(blank_url)
    assert await look(blank_url, table_names) == TABLES


@pytest.mark.timeout(600)  # it takes each of the many revisions once for each of them
async def test_every_revision_leads_to_the_present_schema_and_can_be_gone_back_to(blank_url: str) -> None:
    await migrate(blank_url)
    for revision in REVISIONS:
        await downgrade(blank_url, revision)
        assert await look(blank_url, version) == revision
        await migrate(blank_url)
        assert await look(blank_url, version) == HEAD
    assert await look(blank_url, differences) == []


async def test_what_is_stored_survives_the_way_back_to_the_first_release_and_up_again(blank_url: str) -> None:
    await migrate(blank_url)
    before = Database(blank_url)
    kept = await stored_user(before)
    await before.close()
    await downgrade(blank_url, FIRST_RELEASE)
    await migrate(blank_url)
    after = Database(blank_url)
    async with after.read() as session:
        assert await UserRepository(session).get(kept.id) == kept
    await after.close()


async def test_migrating_twice_changes_nothing(blank_url: str) -> None:
    await migrate(blank_url)
    await migrate(blank_url)
    assert await look(blank_url, table_names) == TABLES


async def test_a_migration_that_was_cut_off_within_a_revision_goes_on(blank_url: str) -> None:
    await migrate(blank_url)
    await execute(
        blank_url,
        # As MySQL leaves it: made, but not yet recorded; and the last table without its index.
        "UPDATE alembic_version SET version_num = '0004'",
        "DROP INDEX ix_documents_collection_created_at"
        + (" ON documents" if blank_url.startswith("mysql") else ""),
    )
    await migrate(blank_url)
    assert await look(blank_url, differences) == []
    assert await look(blank_url, version) == HEAD


async def test_several_processes_migrate_one_blank_database_at_once(blank_url: str) -> None:
    program = (
        "import asyncio, sys; from storage.sql.migrate import migrate; asyncio.run(migrate(sys.argv[1]))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, blank_url, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    async with asyncio.timeout(60):
        outputs = [await process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, outputs
    assert await look(blank_url, differences) == []


async def test_migrating_a_database_that_is_away_says_so(tmp_path: Path) -> None:
    for url in (
        f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/platform.db",
        f"mysql+asyncmy://root@/x?unix_socket={tmp_path}/none",
    ):
        with pytest.raises(Unavailable):
            await migrate(url)
