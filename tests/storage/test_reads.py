"""What is kept is what is true, however many change and read it at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from mcp_platform.contracts.base import Contract
from mcp_platform.settings import CacheSettings, Settings
from storage.cache import Kind, ReadCache, open_cache
from tests.services.redis import RedisServer
from tests.waiting import eventually


class Number(Contract):
    value: int


NUMBERS = Kind("number", Number)


class Truth:
    """The store behind the cache; it counts how often it was asked."""

    def __init__(self) -> None:
        self.value = 0
        self.asked = 0
        self.held = asyncio.Event()
        self.held.set()

    async def load(self) -> Number | None:
        self.asked += 1
        seen = self.value
        await self.held.wait()
        return Number(value=seen)


@pytest.fixture
def truth() -> Truth:
    return Truth()


async def listening(cache: Redis, stack: AsyncExitStack) -> ReadCache:
    """Give a process its cache, once that hears what others drop."""
    reads = ReadCache(cache)
    follower = asyncio.create_task(reads.follow())

    async def end() -> None:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)

    stack.push_async_callback(end)
    probe = Truth()

    async def keeps() -> bool:
        await reads.read(NUMBERS, "probe", probe.load)
        await cache.delete("mcp-platform.read.number.probe")
        asked = probe.asked
        await reads.read(NUMBERS, "probe", probe.load)
        return probe.asked == asked

    await eventually(keeps, bool)
    return reads


async def change(reads: ReadCache) -> None:
    """Change what stands under `a`; the truth itself has changed already."""
    async with reads.changing(NUMBERS, "a"):
        pass


@pytest.fixture
async def two(cache: Redis) -> AsyncIterator[tuple[ReadCache, ReadCache]]:
    async with AsyncExitStack() as stack:
        yield await listening(cache, stack), await listening(cache, stack)


async def test_a_second_reader_asks_nobody(two: tuple[ReadCache, ReadCache], truth: Truth) -> None:
    here, there = two
    for reads in (here, here, there, there):
        assert await reads.read(NUMBERS, "a", truth.load) == Number(value=0)
    assert truth.asked == 1


async def test_what_does_not_exist_is_asked_for_each_time(two: tuple[ReadCache, ReadCache]) -> None:
    asked = 0

    async def load() -> Number | None:
        nonlocal asked
        asked += 1
        return None

    for _ in range(3):
        assert await two[0].read(NUMBERS, "none", load) is None
    assert asked == 3


async def test_a_change_is_seen_at_once_where_it_was_made_and_soon_elsewhere(
    two: tuple[ReadCache, ReadCache], truth: Truth
) -> None:
    here, there = two
    for reads in two:
        await reads.read(NUMBERS, "a", truth.load)
    truth.value = 1
    await change(here)
    assert await here.read(NUMBERS, "a", truth.load) == Number(value=1)
    await eventually(lambda: there.read(NUMBERS, "a", truth.load), lambda seen: seen == Number(value=1))


async def test_a_reader_who_began_before_a_change_does_not_put_the_old_state_back(
    two: tuple[ReadCache, ReadCache], truth: Truth
) -> None:
    here, there = two
    truth.held.clear()
    slow = asyncio.create_task(there.read(NUMBERS, "a", truth.load))
    await eventually(lambda: asyncio.sleep(0, truth.asked), lambda asked: asked == 1)
    truth.value = 1
    await change(here)
    truth.held.set()
    assert await slow == Number(value=0)  # it asked before
    for reads in two:
        assert await reads.read(NUMBERS, "a", truth.load) == Number(value=1)


async def test_many_readers_never_see_a_value_go_back(two: tuple[ReadCache, ReadCache], truth: Truth) -> None:
    here, there = two
    finished = False

    async def reader() -> int:
        newest = 0
        while not finished:
            found = await here.read(NUMBERS, "a", truth.load)
            assert found is not None
            assert found.value >= newest, "an older value came back"
            newest = found.value
            await asyncio.sleep(0)
        return newest

    readers = [asyncio.create_task(reader()) for _ in range(10)]
    for number in range(1, 101):
        truth.value = number
        await change(here if number % 2 else there)
    await eventually(lambda: here.read(NUMBERS, "a", truth.load), lambda seen: seen == Number(value=100))
    finished = True
    await asyncio.gather(*readers)


async def test_a_process_that_cannot_hear_keeps_nothing(cache: Redis, truth: Truth) -> None:
    deaf = ReadCache(cache)
    await deaf.read(NUMBERS, "a", truth.load)
    truth.value = 1
    await change(ReadCache(cache))
    assert await deaf.read(NUMBERS, "a", truth.load) == Number(value=1)


async def test_a_large_value_is_read_each_time(cache: Redis) -> None:
    class Text(Contract):
        body: str

    asked = 0

    async def load() -> Text:
        nonlocal asked
        asked += 1
        return Text(body="x" * 100_000)

    reads = ReadCache(cache)
    for _ in range(2):
        assert await reads.read(Kind("text", Text), "a", load) is not None
    assert asked == 2
    assert await cache.get("mcp-platform.read.text.a") is None


async def test_what_another_version_wrote_is_read_anew(cache: Redis, truth: Truth) -> None:
    await cache.set("mcp-platform.read.number.a", '{"other": true}')
    assert await ReadCache(cache).read(NUMBERS, "a", truth.load) == Number(value=0)


async def test_a_change_while_redis_is_away_is_dropped_everywhere_when_it_is_back(
    own_redis: RedisServer, truth: Truth
) -> None:
    cache = open_cache(Settings(cache=CacheSettings.model_validate({"url": own_redis.url})))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cache.aclose)
        reads = await listening(cache, stack)
        await reads.read(NUMBERS, "a", truth.load)
        own_redis.stop()
        truth.value = 1
        await change(reads)
        assert await reads.read(NUMBERS, "a", truth.load) == Number(value=1)
        own_redis.start()
        # As if this Redis had only been out of reach, and still held the old value: it is there before the
        # loop turns, and so before the drop that is tried again.
        with BlockingRedis.from_url(own_redis.url) as direct:
            direct.set("mcp-platform.read.number.a", Number(value=0).model_dump_json())

        await eventually(lambda: cache.get("mcp-platform.read.number.a"), lambda text: text == "")
        assert await reads.read(NUMBERS, "a", truth.load) == Number(value=1)


async def test_what_a_writer_commits_is_seen_by_those_who_come_later_though_it_says_nothing_more(
    cache: Redis, truth: Truth
) -> None:
    await ReadCache(cache).read(NUMBERS, "a", truth.load)
    async with ReadCache(cache).changing(NUMBERS, "a"):
        truth.value = 1  # committed; a process that is killed here does nothing more
        assert await ReadCache(cache).read(NUMBERS, "a", truth.load) == Number(value=1)


async def test_a_drop_that_redis_refused_once_is_tried_again_and_nobody_here_sees_the_old_state(
    two: tuple[ReadCache, ReadCache], truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = two
    for reads in two:
        await reads.read(NUMBERS, "a", truth.load)
    truth.value = 1

    async def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("reset by peer")

    with monkeypatch.context() as broken:
        broken.setattr(Redis, "set", refuse)
        await change(here)
        assert await here.read(NUMBERS, "a", truth.load) == Number(value=1)
    await eventually(lambda: there.read(NUMBERS, "a", truth.load), lambda seen: seen == Number(value=1))
    assert await here.read(NUMBERS, "a", truth.load) == Number(value=1)
