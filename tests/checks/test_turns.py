"""Turns of trials: they are given back however a trial ends, and an outage of the cache ends none."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from activities.checks import turns
from activities.checks.turns import Turns
from mcp_platform.settings import CacheSettings, Settings
from storage.cache import RunningTrials, open_cache
from tests.services.redis import RedisServer
from tests.waiting import eventually


async def test_a_trial_outlives_an_outage_of_the_cache(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turns, "_KEPT_EVERY", 0.05)
    cache = open_cache(Settings(cache=CacheSettings(url=own_redis.url)))
    running, replica = RunningTrials(cache), uuid4()

    async def missed() -> bool:
        return "trial_not_kept" in caplog.text

    async with Turns(running, 1).taken(uuid4(), replica):
        own_redis.stop()
        await eventually(missed)
        own_redis.start()  # it has forgotten everything
        await eventually(running.replica_ids, lambda ids: ids == {replica})
        own_redis.stop()
    assert "trial_not_ended" in caplog.text
    own_redis.start()
    assert await running.replica_ids() == set()
    await cache.aclose()


async def test_a_trial_that_is_cancelled_while_it_waits_takes_no_place(cache: Redis) -> None:
    running, owner, first = RunningTrials(cache), uuid4(), uuid4()
    given = Turns(running, 1)

    async def wait() -> None:
        async with given.taken(owner, uuid4()):
            pytest.fail("the only place is taken")

    async with given.taken(owner, first):
        for steps in range(60):
            waiting = asyncio.create_task(wait())
            for _ in range(steps):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert await running.replica_ids() == {first}
    assert await running.replica_ids() == set()
