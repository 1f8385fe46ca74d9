"""A bucket gives out exactly what it holds, to however many ask, wherever they ask."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from mcp_platform.settings import CacheSettings, Settings
from storage.cache import open_cache
from storage.cache.limits import STEP, Allowance, Limiter, LocalLimiter
from tests.services.redis import RedisServer
from tests.waiting import PATIENCE, eventually


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a Redis that is slow for Redis: who counts alone, or asks once more, counts otherwise."""
    monkeypatch.setattr("storage.cache.limits._PATIENCE", PATIENCE)
    monkeypatch.setattr("storage.cache.connection._TIMEOUT", PATIENCE)


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[Redis]:
    opened = open_cache(Settings(cache=CacheSettings.model_validate({"url": redis_url})))
    await opened.flushall()
    yield opened
    await opened.aclose()


async def all_of(limiter: Limiter, bucket: str, limit: int, times: int) -> list[Allowance]:
    return await asyncio.gather(*(limiter.take(bucket, limit) for _ in range(times)))


def test_a_full_bucket_gives_its_limit_and_not_one_more() -> None:
    limiter = LocalLimiter(Clock())
    taken = [limiter.take("a", 100) for _ in range(150)]
    assert [one.granted for one in taken] == [True] * 100 + [False] * 50
    assert [one.remaining for one in taken[:3]] == [99, 98, 97]
    assert taken[-1].next_in == STEP


def test_tokens_come_back_in_steps_and_never_above_the_limit() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    for _ in range(60):
        limiter.take("a", 60)
    clock.now += STEP - 0.1
    assert not limiter.take("a", 60).granted
    clock.now += 0.1
    assert [limiter.take("a", 60).granted for _ in range(11)] == [True] * 10 + [False]
    clock.now += 3600
    assert [limiter.take("a", 60).granted for _ in range(61)] == [True] * 60 + [False]


def test_a_limit_below_one_a_step_still_comes_back() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    assert limiter.take("a", 1).granted
    refused = limiter.take("a", 1)
    assert not refused.granted
    assert refused.next_in == 60
    clock.now += refused.next_in
    assert limiter.take("a", 1).granted


def test_an_allowance_says_when_the_bucket_is_full_again() -> None:
    limiter = LocalLimiter(Clock())
    assert limiter.take("a", 60).full_in == STEP
    for _ in range(40):
        last = limiter.take("a", 60)
    assert last.full_in == 5 * STEP


def test_buckets_are_apart() -> None:
    limiter = LocalLimiter(Clock())
    assert limiter.take("a", 1).granted
    assert limiter.take("b", 1).granted


async def test_fifty_clients_of_two_processes_get_exactly_the_limit(shared: Redis, redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        other = open_cache(Settings(cache=CacheSettings.model_validate({"url": redis_url})))
        stack.push_async_callback(other.aclose)
        limiters = [Limiter(shared), Limiter(other)]

        async def client(number: int) -> int:
            granted = 0
            for _ in range(10):
                granted += (await limiters[number % 2].take("crowd", 123)).granted
            return granted

        assert sum(await asyncio.gather(*(client(n) for n in range(50)))) == 123
        assert not limiters[0].alone


async def test_a_high_limit_is_exact_too_and_seldom_asks_redis(
    shared: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is: what was taken ahead is not forgotten within the test.
    monkeypatch.setattr("storage.cache.limits._LEASED_FOR", 60.0)
    async with AsyncExitStack() as stack:
        other = open_cache(Settings(cache=CacheSettings.model_validate({"url": redis_url})))
        stack.push_async_callback(other.aclose)
        limiters = [Limiter(shared), Limiter(other)]
        left = []

        async def client(number: int) -> int:
            granted = 0
            for _ in range(30):
                taken = await limiters[number % 2].take("high", 1000)
                granted += taken.granted
                left.append(taken.remaining)
            return granted

        before = (await shared.info("stats"))["total_commands_processed"]
        assert await client(0) == 30
        # One question for the first, one for each twenty after it, and the count itself.
        assert (await shared.info("stats"))["total_commands_processed"] - before < 30
        assert left == list(range(999, 969, -1))
        assert sum(await asyncio.gather(*(client(n) for n in range(50)))) == 970


async def test_what_is_left_counts_down_without_a_gap(shared: Redis) -> None:
    taken = await all_of(Limiter(shared), "b", 20, 25)
    assert sorted((one.remaining for one in taken if one.granted), reverse=True) == list(range(19, -1, -1))
    assert [one.remaining for one in taken if not one.granted] == [0] * 5
    assert all(0 < one.next_in <= STEP for one in taken if not one.granted)


async def test_tokens_in_redis_come_back_too(shared: Redis) -> None:
    limiter = Limiter(shared)
    await all_of(limiter, "c", 12, 12)
    # As if the steps had passed: the bucket's clock is moved, not ours.
    tokens, refilled = str(await shared.get("mcp-platform.limit.c")).split()
    await shared.set("mcp-platform.limit.c", f"{tokens} {int(refilled) - 3 * STEP * 1000}")
    assert sum(one.granted for one in await all_of(limiter, "c", 12, 12)) == 6


async def test_while_redis_is_away_this_process_counts_and_shares_again_afterwards(
    own_redis: RedisServer,
) -> None:
    cache = open_cache(Settings(cache=CacheSettings.model_validate({"url": own_redis.url})))
    limiter = Limiter(cache)
    assert (await limiter.take("d", 10)).remaining == 9
    own_redis.stop()
    taken = await all_of(limiter, "d", 10, 12)
    assert [one.granted for one in taken] == [True] * 10 + [False] * 2
    assert limiter.alone
    own_redis.start()

    async def shared_again() -> bool:
        await limiter.take("d", 10)
        return not limiter.alone

    assert await eventually(shared_again, bool)
    await limiter.close()
    await cache.aclose()
