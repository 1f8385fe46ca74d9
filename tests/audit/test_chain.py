"""The chain of the audit log: one, whoever writes; and whoever touches it otherwise is found out."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Executable, literal_column, text, update

from mcp_platform.contracts.audit import AuditEntry, AuditEvent, AuditFilter, BreachKind, Verification
from mcp_platform.security.sealing import CannotUnseal
from storage.sql import audit, audit_check
from storage.sql.audit import AuditLog
from storage.sql.audit_check import AuditCheck
from storage.sql.engine import Database
from storage.sql.tables import AuditEntryRow
from tests.audit.samples import ANOTHER_SEALER, NOON, SEALER, event
from tests.storage.crowd import crowd

COUNT = 9


async def written(database: Database, count: int = COUNT) -> AuditLog:
    log = AuditLog(database, SEALER)
    await log.append([event(resource_id=str(number)) for number in range(count)])
    return log


async def entries(database: Database) -> list[AuditEntry]:
    log = AuditLog(database, SEALER)
    return [entry async for chunk in log.newest_first(AuditFilter()) for entry in chunk][::-1]


async def check(database: Database) -> Verification:
    return await AuditCheck(database, SEALER).run()


async def tamper(database: Database, *statements: str | Executable) -> None:
    async with database.write() as session:
        for statement in statements:
            await session.execute(text(statement) if isinstance(statement, str) else statement)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a few entries many chunks."""
    monkeypatch.setattr(audit_check, "_AT_ONCE", 4)
    monkeypatch.setattr(audit, "_READ_AT_ONCE", 4)
    monkeypatch.setattr(audit, "_FORGOTTEN_AT_ONCE", 4)


async def test_entries_come_back_as_they_were_written(database: Database) -> None:
    log = AuditLog(database, SEALER)
    strange = event(
        actor_id=None,
        actor_name="ünï 名前 🚀 '; DROP TABLE audit_entries; --  ",
        resource_id="x" * 300,
        details={"error_code": "CONFLICT", "deep": {"b": [1, None, "\ud800"]}},
    )
    await log.append([strange, event()])
    first, second = await entries(database)
    shown = AuditEvent.model_validate(first.model_dump())
    assert shown == strange.model_copy(update={"resource_id": "x" * 255})
    assert (first.seq, second.seq) == (1, 2)
    found = await check(database)
    assert (found.breach, found.entries, found.last_hash) == (None, 2, second.hash)


async def test_an_empty_log_is_whole(database: Database) -> None:
    assert (await check(database)).breach is None
    await AuditLog(database, SEALER).append([])
    found = await check(database)
    assert (found.breach, found.entries) == (None, 0)


async def test_entries_of_several_engines_make_one_chain(database_url: str, database: Database) -> None:
    others = [Database(database_url) for _ in range(3)]
    logs = [AuditLog(one, SEALER) for one in (database, *others)]
    outcomes = await crowd(
        60, lambda number: logs[number % 4].append([event(resource_id=f"{number}")] * (number % 3 + 1))
    )
    assert [outcome for outcome in outcomes if outcome is not None] == []
    found = await check(database)
    assert (found.breach, found.entries, found.last_seq) == (None, 120, 120)
    assert {entry.resource_id for entry in await entries(database)} == {str(number) for number in range(60)}
    for one in others:
        await one.close()


async def test_entries_of_several_processes_make_one_chain(database_url: str, database: Database) -> None:
    async def write(name: str) -> int:
        command = (sys.executable, "-m", "tests.audit.writer", database_url, name, "25")
        process = await asyncio.create_subprocess_exec(*command)
        return await process.wait()

    async with asyncio.timeout(60):
        assert await asyncio.gather(*(write(name) for name in ("one", "two", "three"))) == [0, 0, 0]
    found = await check(database)
    assert (found.breach, found.entries, found.last_seq) == (None, 75, 75)
    for name in ("one", "two", "three"):
        own = [entry.resource_id for entry in await entries(database) if entry.actor_name == name]
        assert own == [str(number) for number in range(25)]


CHANGES = {
    "actor_name": "'eve'",
    "actor_id": "NULL",
    "credential": "'key:1'",
    "action": "'mcps.update_mcp'",
    "resource_type": "'task'",
    "resource_id": "'other'",
    "address": "'192.0.2.9'",
    "outcome": "'denied'",
    "status": "403",
    "request_id": "'r'",
    "details": """'{"a": 1}'""",
    "at": "'2020-01-01 00:00:00.000000'",
    "hash": "'" + "a" * 64 + "'",
}


@pytest.mark.parametrize("column", CHANGES)
async def test_a_changed_entry_is_found(database: Database, column: str) -> None:
    await written(database)
    change = update(AuditEntryRow).where(AuditEntryRow.seq == 6)
    await tamper(database, change.values({column: literal_column(CHANGES[column])}))
    found = await check(database)
    assert found.breach is not None
    assert (found.breach.kind, found.breach.seq) == (BreachKind.CHANGED, 6)
    assert (found.entries, found.last_seq) == (5, 5)


@pytest.mark.parametrize("details", ["no JSON", "[]"])
async def test_an_entry_that_cannot_be_read_any_more_is_found(database: Database, details: str) -> None:
    await written(database)
    change = update(AuditEntryRow).where(AuditEntryRow.seq == 6)
    await tamper(database, change.values({"details": literal_column(f"'{details}'")}))
    found = await check(database)
    assert found.breach is not None
    assert (found.breach.kind, found.breach.seq, found.entries) == (BreachKind.CHANGED, 6, 5)


COPY = (
    "INSERT INTO audit_entries SELECT {seq}, at, actor_id, actor_name, credential, action, resource_type,"
    " resource_id, address, outcome, status, request_id, details, previous_hash, hash"
    " FROM audit_entries WHERE seq = {of}"
)
TAMPERINGS: dict[str, tuple[Sequence[str], BreachKind, int]] = {
    "one in the middle is missing": (["DELETE FROM audit_entries WHERE seq = 5"], BreachKind.MISSING, 5),
    "several are missing": (["DELETE FROM audit_entries WHERE seq IN (5, 6, 7)"], BreachKind.MISSING, 5),
    "one is missing and the gap is closed": (
        [
            "DELETE FROM audit_entries WHERE seq = 5",
            "UPDATE audit_entries SET seq = seq - 1 WHERE seq > 5",
        ],
        BreachKind.REORDERED,
        5,
    ),
    "two have changed places": (
        [
            "UPDATE audit_entries SET seq = 100 WHERE seq = 3",
            "UPDATE audit_entries SET seq = 3 WHERE seq = 4",
            "UPDATE audit_entries SET seq = 4 WHERE seq = 100",
        ],
        BreachKind.REORDERED,
        3,
    ),
    "the end is cut off": (["DELETE FROM audit_entries WHERE seq > 7"], BreachKind.CUT_AT_END, 8),
    "all is gone": (["DELETE FROM audit_entries"], BreachKind.CUT_AT_END, 1),
    "the start is cut off": (["DELETE FROM audit_entries WHERE seq < 3"], BreachKind.CUT_AT_START, 1),
    "the end is cut off and the mark moved": (
        [
            "DELETE FROM audit_entries WHERE seq > 7",
            "UPDATE audit_chain SET last_seq = 7, last_hash = (SELECT hash FROM audit_entries WHERE seq = 7)",
        ],
        BreachKind.ENDS_CHANGED,
        7,
    ),
    "the start is cut off and the mark moved": (
        [
            "UPDATE audit_chain SET first_seq = 3,"
            " first_hash = (SELECT hash FROM audit_entries WHERE seq = 2)",
            "DELETE FROM audit_entries WHERE seq < 3",
        ],
        BreachKind.ENDS_CHANGED,
        9,
    ),
    "the mark is gone": (["DELETE FROM audit_chain"], BreachKind.ENDS_CHANGED, 1),
    "one is added behind the end": ([COPY.format(seq=COUNT + 1, of=COUNT)], BreachKind.ADDED, COUNT + 1),
    "one is added before the start": ([COPY.format(seq=0, of=1)], BreachKind.ADDED, 0),
}


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_tampering_is_found(database: Database, name: str) -> None:
    statements, kind, seq = TAMPERINGS[name]
    await written(database)
    await tamper(database, *statements)
    found = await check(database)
    assert found.breach is not None
    assert (found.breach.kind, found.breach.seq) == (kind, seq)


async def test_what_is_appended_later_mends_no_moved_mark(database: Database) -> None:
    log = await written(database)
    cut, _, _ = TAMPERINGS["the end is cut off and the mark moved"]
    await tamper(database, *cut)
    await log.append([event()])
    await log.append([event()])
    found = await check(database)
    assert found.breach is not None
    assert (found.breach.kind, found.entries) == (BreachKind.ENDS_CHANGED, COUNT)


async def test_without_the_master_key_nothing_can_be_checked_or_written(database: Database) -> None:
    await written(database)
    with pytest.raises(CannotUnseal):
        await AuditCheck(database, ANOTHER_SEALER).run()
    with pytest.raises(CannotUnseal):
        await AuditLog(database, ANOTHER_SEALER).append([event()])
    assert len(await entries(database)) == COUNT


async def test_what_is_old_is_forgotten_and_the_rest_is_still_whole(database: Database) -> None:
    log = AuditLog(database, SEALER)
    for day in range(10):
        # Written one after the other, but begun in another order.
        await log.append([event(at=NOON + timedelta(days=day, hours=-hour)) for hour in range(3)])
    assert await log.forget(NOON + timedelta(days=5, hours=-12)) == 15
    found = await check(database)
    assert (found.breach, found.entries, found.first_seq, found.last_seq) == (None, 15, 16, 30)
    assert await log.forget(NOON + timedelta(days=5, hours=-12)) == 0
    await log.append([event()])
    assert (await check(database)).entries == 16
    assert await log.forget(NOON + timedelta(days=100)) == 16
    await log.append([event()])
    found = await check(database)
    assert (found.breach, found.entries, found.first_seq) == (None, 1, 32)
    await tamper(database, "UPDATE audit_entries SET status = 200 WHERE seq = 32")
    assert (await check(database)).breach is not None


async def test_a_check_goes_on_while_others_write_and_forget(database: Database) -> None:
    log = await written(database, 40)
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await log.append([event(at=NOON + timedelta(days=1))])
            # A pace that the check's small chunks keep up with.
            await asyncio.sleep(0.02)

    async def forget() -> None:
        await log.forget(NOON + timedelta(hours=1))

    writer, forgetter = asyncio.create_task(write()), asyncio.create_task(forget())
    try:
        for _ in range(5):
            assert (await check(database)).breach is None
        await forgetter
        assert (await check(database)).first_seq == 41
    finally:
        stop.set()
        await asyncio.gather(writer, forgetter)
