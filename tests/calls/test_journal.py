"""The journal of calls: what it keeps, what it never keeps, and what becomes of it without a database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import event, text

import gateway.journal
from gateway import figures
from gateway.metering import Meter
from mcp_platform.contracts.calls import CallFilter, CallRecord, Outcome, Via
from mcp_platform.contracts.deployments import Route
from mcp_platform.errors import Unavailable
from storage.sql.calls import CALL_COLUMNS, CallRepository, call_id
from storage.sql.engine import Database, WriteSession
from storage.sql.tool_figures import ToolFigureRepository
from tests.calls.samples import ROUTE, count, principal


async def kept(database: Database, wanted: CallFilter | None = None) -> list[CallRecord]:
    """Read the newest calls."""
    async with database.read() as session:
        return await CallRepository(session).newest(wanted or CallFilter(), None, 100_000)


class Shaky(Database):
    """A database that can be taken away."""

    away = False
    fails_after_commit = False

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteSession]:
        """Write, unless it is away."""
        if self.away:
            raise Unavailable("The database cannot be reached", part="database")
        async with super().write() as session:
            yield session
        if self.fails_after_commit:
            raise Unavailable("The database cannot be reached", part="database")


@pytest.fixture
async def shaky(database_url: str) -> AsyncIterator[Shaky]:
    """Give such a database, on each engine."""
    opened = Shaky(database_url)
    yield opened
    await opened.close()


async def test_a_call_leaves_a_line_that_says_who_called_what_and_nothing_that_was_said(
    database: Database,
) -> None:
    meter, caller, replica = Meter(database, 3600), principal(), uuid4()
    begun = datetime.now(UTC) - timedelta(seconds=1)
    count(
        meter,
        caller=caller,
        replica_id=replica,
        outcome=Outcome.TOOL_ERROR,
        seconds=0.1234,
        via=Via.GROUP,
        request_id="r-1",
    )
    await meter.flush()
    (found,) = await kept(database)
    assert begun < found.ended_at < datetime.now(UTC) + timedelta(seconds=1)
    assert found.model_dump(exclude={"id", "ended_at"}) == {
        "mcp_id": ROUTE.mcp_id,
        "slug": "weather",
        "tool": "forecast",
        "replica_id": replica,
        "user_id": caller.user_id,
        "username": None,
        "credential": "key:1",
        "via": Via.GROUP,
        "outcome": Outcome.TOOL_ERROR,
        "duration_ms": 123.4,
        "request_id": "r-1",
        "error_code": None,
    }
    async with database.read() as session:
        rows = (await session.execute(text("SELECT * FROM calls"))).all()
    assert "never kept" not in str(rows)


@pytest.mark.parametrize(("via", "credential"), [(Via.REST, "public"), (Via.PLATFORM, "platform")])
async def test_callers_without_a_credential_are_told_apart_from_the_platform(
    sqlite_database: Database, via: Via, credential: str
) -> None:
    meter = Meter(sqlite_database, 3600)
    count(meter, via=via)
    await meter.flush()
    (found,) = await kept(sqlite_database)
    assert (found.user_id, found.credential) == (None, credential)


async def test_names_that_no_database_could_hold_are_cut_and_mended(database: Database) -> None:
    meter = Meter(database, 3600)
    for name in ("x" * 500, "half \ud800 character", "\U0001f600" * 200):
        count(meter, tool=name, request_id="y" * 300)
    await meter.flush()
    assert sorted(len(each.tool) for each in await kept(database)) == [16, 128, 128]


async def test_the_newest_calls_come_first_page_by_page(sqlite_database: Database) -> None:
    meter = Meter(sqlite_database, 3600)
    for number in range(25):
        count(meter, request_id=str(number))
    await meter.flush()
    seen: list[str] = []
    before = None
    async with sqlite_database.read() as session:
        while page := await CallRepository(session).newest(CallFilter(), before, 10):
            seen += [each.request_id for each in page]
            before = page[-1].id
    assert seen == [str(number) for number in reversed(range(25))]


async def test_calls_wait_while_the_database_is_away_and_none_is_written_twice(shaky: Shaky) -> None:
    meter = Meter(shaky, 3600)
    shaky.away = True
    for _ in range(1200):
        count(meter)
    await meter.flush()
    shaky.away, shaky.fails_after_commit = False, True
    await meter._journal.write(shaky)  # committed, and nobody was told
    shaky.fails_after_commit = False
    for _ in range(10):
        count(meter)
    await meter.flush()
    assert len(await kept(shaky)) == 1210
    async with shaky.read() as session:
        assert (await ToolFigureRepository(session).ever()).requests == 1210


async def test_beyond_the_bound_calls_are_counted_as_lost_and_their_figures_stay(
    shaky: Shaky, caplog: pytest.LogCaptureFixture
) -> None:
    meter = Meter(shaky, 3600, journal_bound=100)
    before = figures.CALLS_LOST._value.get()
    shaky.away = True
    for _ in range(150):
        count(meter)
    await meter.flush()
    for _ in range(7):
        count(meter)
    shaky.away = False
    await meter.flush()
    assert len(await kept(shaky)) == 100
    assert figures.CALLS_LOST._value.get() - before == 57
    async with shaky.read() as session:
        assert (await ToolFigureRepository(session).ever()).requests == 157


async def test_what_cannot_be_written_by_the_end_is_counted_as_lost(shaky: Shaky) -> None:
    meter = Meter(shaky, 3600)
    before = figures.CALLS_LOST._value.get()
    shaky.away = True
    for _ in range(5):
        count(meter)
    await meter.close()
    assert figures.CALLS_LOST._value.get() - before == 5


async def test_a_line_that_the_database_refuses_takes_no_other_with_it(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Meter(sqlite_database, 3600)
    for number in range(20):
        count(meter, request_id=str(number))
    row = meter._journal._row
    # The thirteenth has a number where a name must be, and the table says so.
    monkeypatch.setattr(
        meter._journal, "_row", lambda each: (*row(each)[:-2], None if each[-2] == "12" else each[-2], None)
    )
    await meter.flush()
    assert [each.request_id for each in await kept(sqlite_database)] == [
        str(number) for number in reversed(range(20)) if number != 12
    ]


async def test_who_is_cancelled_while_it_writes_leaves_the_writing_to_end(
    sqlite_database: Database,
) -> None:
    meter = Meter(sqlite_database, 3600)
    for _ in range(3000):
        count(meter)
    flushing = asyncio.create_task(meter.flush())
    await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.gather(flushing, return_exceptions=True)
    await meter.close()
    assert len(await kept(sqlite_database)) == 3000
    async with sqlite_database.read() as session:
        assert (await ToolFigureRepository(session).ever()).requests == 3000


async def test_lines_are_written_many_at_a_time(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[int] = []

    def note(_c: object, _k: object, statement: str, parameters: list[object], *_: object) -> None:
        if statement.startswith("INSERT INTO calls"):
            statements.append(len(parameters))

    meter = Meter(sqlite_database, 3600)
    for _ in range(1100):
        count(meter)
    event.listen(sqlite_database._writers.sync_engine, "before_cursor_execute", note)
    await meter.flush()
    assert statements == [gateway.journal._AT_ONCE, gateway.journal._AT_ONCE, 100]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"tool": "forecast"}, 3),
        ({"tool": "other"}, 0),
        ({"mcp": "weather"}, 2),
        ({"mcp": str(ROUTE.mcp_id)}, 2),
        ({"outcome": Outcome.FAILED}, 1),
        ({"user": "11111111-1111-1111-1111-111111111111"}, 1),
        ({"user": "nobody"}, 0),
        ({"since": datetime(2030, 1, 1, tzinfo=UTC)}, 0),
        ({"until": datetime(2030, 1, 1, tzinfo=UTC)}, 3),
        ({"mcp_ids": frozenset({ROUTE.mcp_id})}, 2),
    ],
)
async def test_calls_are_found_by_what_is_known_of_them(
    sqlite_database: Database, wanted: dict[str, object], found: int
) -> None:
    meter = Meter(sqlite_database, 3600)
    other = Route(slug="other", mcp_id=uuid4(), deployment_id=uuid4(), upstreams=[])
    from_one = principal(uuid4().__class__("11111111-1111-1111-1111-111111111111"))
    count(meter, caller=from_one)
    count(meter, outcome=Outcome.FAILED)
    count(meter, route=other)
    await meter.flush()
    assert len(await kept(sqlite_database, CallFilter.model_validate(wanted))) == found


async def test_old_lines_are_forgotten_some_at_a_time(database: Database) -> None:
    now = datetime.now(UTC)
    rows = [
        (
            call_id((now - timedelta(days=days)).timestamp(), number, 1),
            uuid4().hex,
            "weather",
            "forecast",
            None,
            None,
            "public",
            "mcp",
            "ok",
            1.0,
            "r",
            None,
        )
        for number, days in enumerate((40, 35, 31, 29, 0))
    ]
    assert len(rows[0]) == len(CALL_COLUMNS)
    async with database.write() as session:
        await CallRepository(session).add(rows)
        assert await CallRepository(session).forget(now - timedelta(days=30), 2) == 2
        assert await CallRepository(session).forget(now - timedelta(days=30), 2) == 1
    assert len(await kept(database)) == 2
