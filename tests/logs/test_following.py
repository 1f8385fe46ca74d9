"""Following what replicas write."""

import asyncio
import resource
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from mcp_platform.contracts.logs import Level, LogLine, LogQuery, Stream
from mcp_platform.settings import ReplicaLogSettings
from tests.logs.books import (
    ROOMY,
    SMALL,
    SOMEBODY,
    drained,
    line,
    lines,
    open_book,
    open_reader,
    order,
    write_in_batches,
)
from tests.waiting import PATIENCE


async def test_a_follower_gets_every_line_once_while_files_are_rotated(tmp_path: Path) -> None:
    own = uuid4()
    count = 25_000
    news = asyncio.Event()
    seen: list[str] = []
    async with (
        open_book(tmp_path, ROOMY) as book,
        open_reader(tmp_path) as reader,
        reader.following(own, LogQuery(), SOMEBODY, news.set) as following,
    ):
        await following.begin(0)
        writer = asyncio.create_task(write_in_batches(book.of(order(own)), count, 50))
        async with asyncio.timeout(PATIENCE):
            while len(seen) < count:
                news.clear()
                told = await following.take()
                assert told.missed == []
                seen += [each.text for each in told.lines]
                if not told.more and len(seen) < count:
                    await news.wait()
        await writer
    assert seen == [f"line {number}" for number in range(count)]


async def test_history_and_what_follows_meet_without_a_gap(tmp_path: Path) -> None:
    own = uuid4()
    async with open_book(tmp_path) as book, open_reader(tmp_path) as reader:
        log, other = book.of(order(own)), book.of(order(own, 1))
        await log.write(lines(0, 20))
        async with reader.following(own, LogQuery(), SOMEBODY, lambda: None) as following:
            begun = await following.begin(5)
            assert [each.text for each in begun.lines] == [f"line {number}" for number in range(15, 20)]
            await log.write(lines(20, 30))
            # A replica that was not there yet.
            await other.write(lines(20, 22))
            told = await drained(following)
    assert [(each.text, each.ordinal) for each in told.lines[:4]] == [
        ("line 20", 0),
        ("line 20", 1),
        ("line 21", 0),
        ("line 21", 1),
    ]
    assert len(told.lines) == 12


async def test_who_comes_back_goes_on_where_they_were(tmp_path: Path) -> None:
    own = uuid4()
    async with open_book(tmp_path, ROOMY) as book, open_reader(tmp_path) as reader:
        log = book.of(order(own))
        await log.write(lines(0, 10))
        async with reader.following(own, LogQuery(), SOMEBODY, lambda: None) as following:
            position = (await following.begin(0)).position
        await write_in_batches(log, 3_000, 100)
        fresh = LogLine(datetime.now(UTC), Stream.STDOUT, "new here")
        await book.of(order(own, 1, 2)).write([fresh])
        async with reader.following(own, LogQuery(), SOMEBODY, lambda: None) as following:
            await following.resume(position)
            told = await drained(following)
            await log.write([line(4_000)])
            assert [each.text for each in (await drained(following)).lines] == ["line 4000"]
    said = [each.text for each in told.lines if each.ordinal == 0]
    assert said == [f"line {number}" for number in range(3_000)]
    assert [each.text for each in told.lines if each.ordinal == 1] == ["new here"]


@pytest.mark.parametrize("position", ["", "x", "12_3", "1_0.1.99999999999999999999", "1" * 400])
async def test_what_is_no_position_is_refused(tmp_path: Path, position: str) -> None:
    async with (
        open_book(tmp_path),
        open_reader(tmp_path) as reader,
        reader.following(uuid4(), LogQuery(), SOMEBODY, lambda: None) as following,
    ):
        with pytest.raises(ValueError, match="is no position"):
            await following.resume(position)


async def test_who_is_too_slow_is_told_how_much_they_missed(tmp_path: Path) -> None:
    own = uuid4()
    count = 10_000
    async with open_book(tmp_path, SMALL) as book, open_reader(tmp_path) as reader:
        log = book.of(order(own))
        await log.write(lines(0, 1))
        async with reader.following(own, LogQuery(), SOMEBODY, lambda: None) as following:
            await following.begin(0)
            await write_in_batches(log, count, 100)
            told = await drained(following)
    (missed,) = told.missed
    kept = sum(len(f"2026-01-15T10:30:00.000000Z stderr info {each.text}\n") for each in told.lines)
    all_of_it = sum(len(f"2026-01-15T10:30:00.000000Z stderr info line {n}\n") for n in range(count))
    assert missed.bytes == all_of_it - kept
    assert told.lines[-1].text == f"line {count - 1}"


async def test_a_slow_follower_and_nobody_reading_cost_no_memory(tmp_path: Path) -> None:
    own = uuid4()
    bounds = ReplicaLogSettings(replica_bytes=134_217_728)
    async with open_book(tmp_path, bounds) as book, open_reader(tmp_path) as reader:
        log = book.of(order(own))
        async with reader.following(own, LogQuery(), SOMEBODY, lambda: None) as following:
            await following.begin(0)
            await log.write([line(0, "x" * 16_000)] * 10)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(400):
                await log.write([line(0, "x" * 16_000)] * 10)
            # 64 MB were written; what is taken at once stays small, and nothing waits in between.
            told = await following.take()
            assert sum(len(each.text) for each in told.lines) < 300_000
            assert told.more
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16_000, f"{grown} KiB more"


async def test_only_lines_that_are_asked_for_are_told(tmp_path: Path) -> None:
    own = uuid4()
    async with (
        open_book(tmp_path) as book,
        open_reader(tmp_path) as reader,
        reader.following(own, LogQuery(level=Level.ERROR, ordinal=1), SOMEBODY, lambda: None) as following,
    ):
        await following.begin(10)
        for ordinal in (0, 1):
            await book.of(order(own, ordinal)).write([line(0, "ERROR a"), line(1, "INFO b")])
        told = await drained(following)
    assert [(each.ordinal, each.text) for each in told.lines] == [(1, "ERROR a")]


async def test_a_replica_that_floods_does_not_silence_another(tmp_path: Path) -> None:
    own = uuid4()
    async with (
        open_book(tmp_path, ROOMY) as book,
        open_reader(tmp_path) as reader,
        reader.following(own, LogQuery(), SOMEBODY, lambda: None) as following,
    ):
        await following.begin(0)
        for ordinal in range(4):
            await book.of(order(own, ordinal)).write([line(0, "y" * 16_000)] * 60)
        await book.of(order(own, 4)).write([line(0, "heard")])
        seen: list[str] = []
        for _ in range(5):
            seen += [each.text for each in (await following.take()).lines]
    assert "heard" in seen


async def test_many_followers_are_woken_and_none_watches_after_they_left(tmp_path: Path) -> None:
    own = uuid4()
    woken = [asyncio.Event() for _ in range(100)]
    async with open_book(tmp_path) as book, open_reader(tmp_path) as reader:
        async with AsyncExitStack() as followers:
            for each in woken:
                await followers.enter_async_context(reader.following(own, LogQuery(), SOMEBODY, each.set))
            for number in range(2):
                for each in woken:
                    each.clear()
                await book.of(order(own)).write(lines(number, number + 1))
                async with asyncio.timeout(PATIENCE):
                    await asyncio.gather(*(each.wait() for each in woken))
        assert not [task for task in asyncio.all_tasks() if "LogReader._look" in repr(task.get_coro())]
