"""The writer of the audit log: many entries at once, and a database that goes away."""

import asyncio
from collections.abc import Sequence

import pytest

from api import audit_recorder
from api.audit_recorder import AuditRecorder
from mcp_platform.contracts.audit import AuditEntry, AuditEvent, AuditFilter
from mcp_platform.errors import Unavailable
from storage.sql.audit import AuditLog, AuditRepository
from storage.sql.audit_check import AuditCheck
from storage.sql.engine import Database
from tests.audit.samples import SEALER, event
from tests.waiting import PATIENCE, eventually


class FragileLog(AuditLog):
    """A log whose database goes away when told, and that counts its transactions."""

    away = False
    refused = ""
    transactions = 0

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Write, unless the database is away."""
        if self.away:
            raise Unavailable("The database cannot be reached", part="database")
        if any(one.resource_id == self.refused for one in events):
            raise ValueError("this one cannot be stored")
        self.transactions += 1
        await super().append(events)


@pytest.fixture
def log(sqlite_database: Database) -> FragileLog:
    """Give a log on SQLite."""
    return FragileLog(sqlite_database, SEALER)


async def stored(database: Database) -> list[AuditEntry]:
    async with database.read() as session:
        return (await AuditRepository(session).newest(AuditFilter(), None, 1000))[::-1]


async def test_an_entry_is_stored_when_recording_returns(database: Database) -> None:
    recorder = AuditRecorder(AuditLog(database, SEALER))
    async with recorder.open():
        for number in range(3):
            await recorder.record(event(resource_id=str(number)))
            assert [entry.resource_id for entry in await stored(database)][-1] == str(number)


async def test_entries_of_concurrent_requests_share_transactions(
    log: FragileLog, sqlite_database: Database
) -> None:
    recorder = AuditRecorder(log)
    async with recorder.open():
        await asyncio.gather(*(recorder.record(event(resource_id=str(number))) for number in range(200)))
        assert len(await stored(sqlite_database)) == 200
    assert log.transactions <= 5


async def test_while_the_database_is_away_entries_wait_and_nobody_fails(
    log: FragileLog, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_recorder, "_RETRY_AFTER", 0.02)
    recorder = AuditRecorder(log)
    async with recorder.open():
        log.away = True
        async with asyncio.timeout(5):
            for number in range(5):
                await recorder.record(event(resource_id=str(number)))
        assert await stored(sqlite_database) == []
        log.away = False
        found = await eventually(lambda: stored(sqlite_database), lambda seen: len(seen) == 5)
    assert [entry.resource_id for entry in found] == ["0", "1", "2", "3", "4"]
    assert (await AuditCheck(sqlite_database, SEALER).run()).breach is None


async def test_what_came_when_the_database_is_back_is_stored_before_the_answer(
    log: FragileLog, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_recorder, "_RETRY_AFTER", 60.0)
    recorder = AuditRecorder(log)
    async with recorder.open():
        log.away = True
        await recorder.record(event(resource_id="early"))
        log.away = False
        await recorder.record(event(resource_id="late"))
        assert [entry.resource_id for entry in await stored(sqlite_database)] == ["early", "late"]


async def test_over_the_bound_the_oldest_are_given_up_and_counted(
    log: FragileLog, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_recorder, "_MOST_WAITING", 3)
    before = audit_recorder._LOST._value.get()
    recorder = AuditRecorder(log)
    async with recorder.open():
        log.away = True
        for number in range(5):
            await recorder.record(event(resource_id=str(number)))
        log.away = False
    assert [entry.resource_id for entry in await stored(sqlite_database)] == ["2", "3", "4"]
    assert audit_recorder._LOST._value.get() == before + 2


async def test_one_entry_that_cannot_be_stored_stands_in_no_others_way(
    log: FragileLog, sqlite_database: Database
) -> None:
    log.refused = "1"
    recorder = AuditRecorder(log)
    async with recorder.open():
        await asyncio.gather(*(recorder.record(event(resource_id=str(number))) for number in range(3)))
        await recorder.record(event(resource_id="3"))
    assert {entry.resource_id for entry in await stored(sqlite_database)} == {"0", "2", "3"}


async def test_a_request_does_not_wait_for_ever(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HangingLog(AuditLog):
        async def append(self, events: Sequence[AuditEvent]) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(audit_recorder, "_PATIENCE", 0.05)
    recorder = AuditRecorder(HangingLog(sqlite_database, SEALER))
    async with asyncio.timeout(PATIENCE), recorder.open():
        await recorder.record(event())


async def test_more_entries_than_go_into_one_transaction_are_all_stored_at_once(
    sqlite_database: Database, log: FragileLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_recorder, "_AT_ONCE", 2)
    recorder = AuditRecorder(log)
    async with recorder.open():
        await asyncio.gather(*(recorder.record(event(resource_id=str(number))) for number in range(5)))
        assert len(await stored(sqlite_database)) == 5


async def test_what_is_committed_as_the_recorder_is_closed_is_stored_once(sqlite_database: Database) -> None:
    committed = asyncio.Event()

    class SlowlyHeard(AuditLog):
        """A log that hears of its commit a moment later."""

        async def append(self, events: Sequence[AuditEvent]) -> None:
            await super().append(events)
            committed.set()
            await asyncio.sleep(0.05)

    recorder = AuditRecorder(SlowlyHeard(sqlite_database, SEALER))
    async with recorder.open():
        recording = asyncio.create_task(recorder.record(event()))
        await committed.wait()
    await recording
    assert len(await stored(sqlite_database)) == 1
