"""Searching what replicas wrote."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from mcp_platform.contracts.deployments import replica_id
from mcp_platform.contracts.logs import Level, LogQuery
from mcp_platform.errors import Unavailable
from storage.logs import LogReader
from storage.logs.search import Cursor
from tests.logs.books import BEGIN, ROOMY, SOMEBODY, line, open_book, open_reader, order, texts

COUNT = 9_000
"""Lines in all: every third one by another replica."""
EVERYTHING = [f"line {number}" for number in range(COUNT)]


@pytest.fixture(scope="module")
async def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, UUID]:
    """Write what is searched: three replicas, of two revisions, take turns."""
    folder, own = tmp_path_factory.mktemp("logs"), uuid4()
    async with open_book(folder, ROOMY) as book:
        logs = [book.of(order(own, 0, 1)), book.of(order(own, 1, 1)), book.of(order(own, 0, 2))]
        for first in range(0, COUNT, 300):
            for number, log in enumerate(logs):
                await log.write([line(each) for each in range(first + number, first + 300, 3)])
    return folder, own


@pytest.fixture
async def reader(written: tuple[Path, UUID]) -> AsyncIterator[LogReader]:
    """Give a reader of what was written."""
    async with open_reader(written[0]) as opened:
        yield opened


@pytest.fixture
def own(written: tuple[Path, UUID]) -> UUID:
    """Give the deployment that wrote it."""
    return written[1]


async def test_the_lines_of_all_replicas_come_in_the_order_of_time(reader: LogReader, own: UUID) -> None:
    assert await texts(reader, own) == EVERYTHING


async def test_a_limit_gives_the_newest(reader: LogReader, own: UUID) -> None:
    assert await texts(reader, own, 10) == EVERYTHING[-10:]


@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_pages_give_every_line_once(reader: LogReader, own: UUID, size: int) -> None:
    query = LogQuery(since=BEGIN + timedelta(milliseconds=COUNT - 20 * size))
    seen: list[str] = []
    cursor: Cursor | None = None
    while True:
        found = await reader.search(own, query, size, SOMEBODY, cursor)
        seen = [each.text for each in found.lines] + seen
        if found.next is None:
            break
        cursor = Cursor.read(str(found.next))
    assert seen == EVERYTHING[max(0, COUNT - 20 * size) :]


@pytest.mark.parametrize("ordinal", [0, 1])
async def test_lines_of_one_place(reader: LogReader, own: UUID, ordinal: int) -> None:
    wanted = [text for number, text in enumerate(EVERYTHING) if (number % 3 == 1) == (ordinal == 1)]
    assert await texts(reader, own, ordinal=ordinal) == wanted


async def test_lines_of_one_replica(reader: LogReader, own: UUID) -> None:
    assert await texts(reader, own, replica_id=replica_id(own, 0, 2)) == EVERYTHING[2::3]
    assert await texts(reader, own, replica_id=uuid4()) == []


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, 8_999), (1, 1), (4_321, 4_325), (8_999, 8_999)])
async def test_lines_of_a_time(reader: LogReader, own: UUID, begin: int, end: int) -> None:
    since, until = (BEGIN + timedelta(milliseconds=number) for number in (begin, end))
    assert await texts(reader, own, since=since, until=until) == EVERYTHING[begin : end + 1]


async def test_a_time_without_lines_has_none(reader: LogReader, own: UUID) -> None:
    hour = timedelta(hours=1)
    assert await texts(reader, own, since=BEGIN + hour) == []
    assert await texts(reader, own, until=BEGIN - hour) == []


async def test_lines_with_a_text(reader: LogReader, own: UUID) -> None:
    assert await texts(reader, own, search="LINE 123") == [
        text for text in EVERYTHING if text.startswith("line 123")
    ]
    # The time and the level of a line are no part of its text.
    assert await texts(reader, own, search="stderr info") == []


async def test_a_text_is_found_whatever_its_letters_and_levels_are_minima(tmp_path: Path) -> None:
    own = uuid4()
    said = ["DEBUG Größe", "INFO größe", "WARNING GRÖSSE", "ERROR GRÖßE 数据库", "plain"]
    async with open_book(tmp_path) as book, open_reader(tmp_path) as reader:
        await book.of(order(own)).write([line(number, text) for number, text in enumerate(said)])
        assert await texts(reader, own, search="GRÖß") == [said[0], said[1], said[3]]
        assert await texts(reader, own, search="数据") == [said[3]]
        assert await texts(reader, own, level=Level.WARNING) == said[2:4]
        assert await texts(reader, own, level=Level.DEBUG) == said


async def test_a_search_that_takes_too_long_says_where_to_go_on(
    reader: LogReader, own: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.logs.search._PATIENCE", -1.0)
    monkeypatch.setattr("storage.logs.files.BLOCK", 4_096)
    found = await reader.search(own, LogQuery(search="line 1"), 10, SOMEBODY)
    assert found.lines == []
    assert found.next is not None
    monkeypatch.undo()
    again = await reader.search(own, LogQuery(search="line 1"), 10, SOMEBODY, found.next)
    assert [each.text for each in again.lines] == [text for text in EVERYTHING if "line 1" in text][-10:]


async def test_a_deployment_that_never_wrote_has_no_lines(reader: LogReader) -> None:
    assert await texts(reader, uuid4()) == []


async def test_a_folder_that_is_not_shared_is_named(tmp_path: Path) -> None:
    async with open_reader(tmp_path / "nowhere") as reader:
        with pytest.raises(Unavailable, match=r"nowhere.*have to share it"):
            await reader.search(uuid4(), LogQuery(), 1, SOMEBODY)


@pytest.mark.parametrize("text", ["", "x", "20260115T103000000000Z-0-1", "9" * 400])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        Cursor.read(text)
