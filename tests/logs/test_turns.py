"""Searches of one person hold up neither what others read nor what they search."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from mcp_platform.contracts.logs import Level, LogQuery
from mcp_platform.errors import RateLimited
from storage.logs import LogReader
from storage.logs import search as searching
from storage.logs.files import listed
from storage.logs.search import Found, Sieve
from tests.logs.books import SOMEBODY, lines, open_book, open_reader, order
from tests.logs.conftest import Written
from tests.platform import RunningPlatform
from tests.waiting import PATIENCE, eventually

ENDLESS = LogQuery(search="never")
"""A search that ends only when nobody waits any more."""


class Endless:
    """Searches that find no end, in the place of real ones; others are as ever."""

    def __init__(self) -> None:
        self.begun = 0
        self.at_work = 0
        self._real = searching.search

    def search(self, listing: Any, sieve: Sieve, limit: int, *more: Any, **asked: Any) -> Found:
        """Search, or wait until nobody waits for it."""
        if sieve.takes_block(b"line 2"):
            return self._real(listing, sieve, limit, *more, **asked)
        abandoned: Callable[[], bool] = asked["abandoned"]
        self.begun += 1
        self.at_work += 1
        deadline = time.monotonic() + PATIENCE
        while not abandoned() and time.monotonic() < deadline:
            time.sleep(0.005)
        self.at_work -= 1
        return Found([], None)

    async def are(self, count: int) -> None:
        """Wait until so many are at work."""

        async def seen() -> int:
            return self.at_work

        await eventually(seen, lambda found: found == count, within=PATIENCE / 2)


@contextmanager
def endless_searches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endless]:
    """Make searches for what is nowhere last until they are given up."""
    endless = Endless()
    with monkeypatch.context() as patch:
        patch.setattr("storage.logs.reader.search", endless.search)
        patch.setattr("storage.logs.follow.search", endless.search)
        yield endless


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endless]:
    """Give searches without an end."""
    with endless_searches(monkeypatch) as found:
        yield found


@pytest.fixture
async def own(tmp_path: Path) -> UUID:
    """Give a deployment that wrote some lines."""
    deployment_id = uuid4()
    async with open_book(tmp_path) as book:
        await book.of(order(deployment_id)).write(lines(0, 3))
    return deployment_id


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[LogReader]:
    """Give a reader of it."""
    async with open_reader(tmp_path) as opened:
        yield opened


async def given_up(tasks: list[asyncio.Task[Any]]) -> None:
    """Give up waiting for what these do."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_third_search_of_one_person_is_refused_and_plain_reads_go_on(
    reader: LogReader, own: UUID, endless: Endless
) -> None:
    tasks = [asyncio.create_task(reader.search(own, ENDLESS, 1, SOMEBODY)) for _ in range(2)]
    await endless.are(2)
    for query in (ENDLESS, LogQuery(level=Level.ERROR)):
        with pytest.raises(RateLimited, match="Only 2 of your searches"):
            await reader.search(own, query, 1, SOMEBODY)
    async with asyncio.timeout(PATIENCE / 2):
        for asker in (SOMEBODY, uuid4()):
            assert len((await reader.search(own, LogQuery(level=Level.DEBUG), 10, asker)).lines) == 3
            async with reader.following(own, LogQuery(), asker, lambda: None) as following:
                assert len((await following.begin(10)).lines) == 3
    await given_up(tasks)


async def test_a_search_that_nobody_waits_for_ends_and_makes_room(
    reader: LogReader, own: UUID, endless: Endless
) -> None:
    tasks = [asyncio.create_task(reader.search(own, ENDLESS, 1, SOMEBODY)) for _ in range(2)]
    await endless.are(2)
    # Waits for a thread, and is given up too: it never begins.
    waiting = asyncio.create_task(reader.search(own, ENDLESS, 1, uuid4()))
    other = asyncio.create_task(reader.search(own, LogQuery(search="line 2"), 1, uuid4()))
    await asyncio.sleep(0)
    await given_up([waiting, *tasks])
    async with asyncio.timeout(PATIENCE / 2):
        assert [line.text for line in (await other).lines] == ["line 2"]
        assert len((await reader.search(own, LogQuery(search="line"), 9, SOMEBODY)).lines) == 3
    await endless.are(0)
    assert endless.begun == 2


async def test_a_listener_that_looks_back_waits_for_the_turn_of_its_person(
    reader: LogReader, own: UUID, endless: Endless
) -> None:
    tasks = [asyncio.create_task(reader.search(own, ENDLESS, 1, SOMEBODY)) for _ in range(2)]
    await endless.are(2)
    async with reader.following(own, LogQuery(search="line"), SOMEBODY, lambda: None) as following:
        begun = asyncio.create_task(following.begin(10))
        await reader.search(own, LogQuery(), 1, SOMEBODY)
        assert not begun.done()
        await given_up(tasks)
        assert len((await begun).lines) == 3


async def test_a_search_looks_between_blocks_whether_it_was_given_up(
    tmp_path: Path, own: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.logs.files.BLOCK", 40)
    looks = iter([False, True])
    sieve = Sieve(own, LogQuery(search="never"))
    found = searching.search(listed(tmp_path / str(own)), sieve, 9, abandoned=lambda: next(looks))
    assert found.next is not None
    assert next(looks, None) is None


async def test_a_request_that_is_gone_ends_its_search_and_too_many_are_told_when_to_come_back(
    platform: RunningPlatform, deployed: Written, endless: Endless
) -> None:
    async def ask() -> httpx.Response:
        # A client of its own, whose connection is closed when it is cancelled.
        async with httpx.AsyncClient(
            base_url=platform.url, timeout=PATIENCE, trust_env=False, headers=deployed.caller.headers
        ) as client:
            return await client.get(deployed.path, params={"search": "never"})

    await deployed.write(lines(0, 3))
    tasks = [asyncio.create_task(ask()) for _ in range(2)]
    await endless.are(2)
    answer = await ask()
    assert (answer.status_code, answer.json()["error_code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert answer.headers["Retry-After"] == "2"
    assert (await deployed.caller.get(deployed.path)).status_code == 200
    await given_up(tasks)
    await endless.are(0)
    answer = await deployed.caller.get(deployed.path, params={"search": "line"})
    assert [each["text"] for each in answer.json()["lines"]] == ["line 0", "line 1", "line 2"]
