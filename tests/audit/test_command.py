"""`mcp-platform verify-audit`."""

import base64
import json
from pathlib import Path

import pytest
from sqlalchemy import text

from mcp_platform.security.keys import MasterKey
from mcp_platform.security.sealing import Sealer
from storage.sql.audit import AuditLog
from storage.sql.engine import Database
from tests.audit.samples import event
from tests.end_to_end.programs import Ended, run
from tests.migrated import make_schema

KEY = b"m" * 32


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Give a data directory whose log has three entries."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'platform.db'}"
    await make_schema(url)
    database = Database(url)
    await AuditLog(database, Sealer(MasterKey(KEY))).append([event() for _ in range(3)])
    await database.close()
    return tmp_path


async def verify(folder: Path, *options: str, key: bytes = KEY) -> Ended:
    return await run(
        *("verify-audit", "--data-dir", str(folder), *options),
        MCP_PLATFORM_SECURITY__MASTER_KEY=base64.b64encode(key).decode(),
    )


async def change(folder: Path, statement: str) -> None:
    database = Database(f"sqlite+aiosqlite:///{folder / 'platform.db'}")
    async with database.write() as session:
        await session.execute(text(statement))
    await database.close()


async def test_a_whole_log_is_told_in_a_sentence_and_in_json(folder: Path) -> None:
    told = await verify(folder)
    assert (told.status, told.complaint) == (0, [])
    assert told.stdout.startswith("3 entries are whole, number 1 to 3, from 2026-11-20 12:00:00 to")
    found = json.loads((await verify(folder, "--json")).stdout)
    assert (found["entries"], found["last_seq"], found["breach"]) == (3, 3, None)
    assert found["last_hash"] in told.stdout


async def test_the_first_entry_that_is_wrong_is_named(folder: Path) -> None:
    await change(folder, "UPDATE audit_entries SET actor_name = 'eve' WHERE seq = 2")
    told = await verify(folder)
    assert told.status == 1
    assert told.stdout.splitlines()[-1] == "Entry 2: changed."
    ended = await verify(folder, "--json")
    assert ended.status == 1
    assert json.loads(ended.stdout)["breach"] == {"kind": "changed", "seq": 2}


async def test_another_master_key_is_told_apart_from_tampering(folder: Path) -> None:
    told = await verify(folder, key=b"n" * 32)
    assert told.status == 2
    assert "master key" in told.stderr
    assert "Traceback" not in told.stderr


async def test_what_cannot_be_read_is_told_plainly_and_nothing_is_made(folder: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    told = await verify(nowhere)
    assert told.status == 2
    assert "--data-dir" in told.stderr
    assert not nowhere.exists()
    (folder / "platform.db").write_bytes(b"no database" * 1000)
    told = await verify(folder)
    assert told.status == 2
    assert "Traceback" not in told.stderr
