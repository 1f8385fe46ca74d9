"""Counting the trials that go on, for all workers together."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from mcp_platform.errors import Unavailable
from mcp_platform.settings import CacheSettings, Settings
from storage.cache import RunningTrials, open_cache, trials
from tests.platform import free_port


async def test_each_account_has_its_own_places(cache: Redis) -> None:
    running = RunningTrials(cache)
    mine, others = uuid4(), uuid4()
    first, second, third = uuid4(), uuid4(), uuid4()
    assert await running.begin(mine, first, 1)
    assert not await running.begin(mine, second, 1)
    assert await running.begin(others, third, 1)
    assert await running.replica_ids() == {first, third}
    await running.end(mine, first)
    assert await running.begin(mine, second, 1)


async def test_the_same_trial_begun_again_takes_no_second_place(cache: Redis) -> None:
    running = RunningTrials(cache)
    owner, replica = uuid4(), uuid4()
    assert await running.begin(owner, replica, 1)
    assert await running.begin(owner, replica, 1)
    assert await running.replica_ids() == {replica}


async def test_of_many_at_once_no_more_get_a_place_than_there_are(cache: Redis) -> None:
    running = RunningTrials(cache)
    owner = uuid4()
    got = await asyncio.gather(*(running.begin(owner, uuid4(), 2) for _ in range(10)))
    assert sum(got) <= 2
    assert len(await running.replica_ids()) == sum(got)


async def test_a_trial_of_a_worker_that_is_gone_ends_by_itself(
    cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = RunningTrials(cache)
    monkeypatch.setattr(trials, "KEPT", -1.0)
    await running.keep(uuid4(), uuid4())
    assert await running.replica_ids() == set()


async def test_a_cache_that_is_away_is_said() -> None:
    away = open_cache(Settings(cache=CacheSettings(url=f"redis://127.0.0.1:{free_port()}")))
    running = RunningTrials(away)
    with pytest.raises(Unavailable):
        await running.begin(uuid4(), uuid4(), 1)
    with pytest.raises(Unavailable):
        await running.replica_ids()
    await away.aclose()
