"""Databases with the present schema: SQLite's is made once in a session, then copied."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

from storage.sql.migrate import migrate

_template: bytes | None = None


async def make_schema(url: str) -> None:
    """Do what `migrate` does, sooner where there is no database yet: each takes half a second."""
    global _template
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        await migrate(url)
        return
    if _template is None:
        _template = await _new_database()
    if not _copied(_template, Path(address.database or "")):
        await migrate(url)


def _copied(database: bytes, path: Path) -> bool:
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(database)
    return True


async def _new_database() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "platform.db"
        await migrate(f"sqlite+aiosqlite:///{path}")
        connection = sqlite3.connect(path)
        # What is still in the journal beside the file would not be copied.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()
