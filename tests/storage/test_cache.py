"""The contract of the cache: hints, and stamps that may be lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.drivers import DriverState
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from mcp_platform.settings import CacheSettings, Settings
from storage.cache import DriverStates, HealthStamps, Message, listen, open_cache, ping, publish
from tests.services.redis import RedisServer
from tests.storage.samples import NOON
from tests.waiting import PATIENCE

SOMETHING_MISSED = Message(None)


async def hear(messages: AsyncIterator[Message]) -> Message:
    async with asyncio.timeout(PATIENCE):
        return await anext(messages)


@pytest.fixture
async def fragile_cache(own_redis: RedisServer) -> AsyncIterator[Redis]:
    cache = open_cache(Settings(cache=CacheSettings(url=own_redis.url)))
    yield cache
    await cache.aclose()


async def test_every_listener_hears_what_is_published_after_it_was_told_to_read_anew(cache: Redis) -> None:
    event = Event(type=EventType.TASK_STARTED, owner_id=uuid4(), data={"task_id": "时间"})
    async with AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(aclosing(listen(cache, Channel.ROUTES, Channel.EVENTS)))
            for _ in range(3)
        ]
        for listener in listeners:
            assert await hear(listener) == SOMETHING_MISSED
        await publish(cache, Channel.CREDENTIALS, {"api_key_id": "not listened to"})
        await publish(cache, Channel.ROUTES, {"slug": "time"})
        await publish(cache, Channel.EVENTS, event)
        for listener in listeners:
            assert await hear(listener) == Message(Channel.ROUTES, {"slug": "time"})
            assert await hear(listener) == Message(Channel.EVENTS, event.model_dump(mode="json"))


async def test_messages_are_heard_at_once(cache: Redis) -> None:
    loop = asyncio.get_running_loop()
    async with aclosing(listen(cache, Channel.ROUTES)) as listener:
        await hear(listener)
        took = []
        for _ in range(5):
            waiting = asyncio.create_task(hear(listener))
            await asyncio.sleep(0)
            began = loop.time()
            await publish(cache, Channel.ROUTES, {})
            await waiting
            took.append(loop.time() - began)
        # One of several: others may have the processor meanwhile.
        assert min(took) < 0.5


async def test_what_is_no_message_is_passed_over(cache: Redis) -> None:
    async with aclosing(listen(cache, Channel.ROUTES)) as listener:
        await hear(listener)
        for text in ("not json", "[]", '"text"'):
            await cache.publish(Channel.ROUTES.value, text)
        await publish(cache, Channel.ROUTES, {"slug": "time"})
        assert await hear(listener) == Message(Channel.ROUTES, {"slug": "time"})


async def test_a_listener_that_is_cancelled_ends(cache: Redis) -> None:
    async def listen_for_ever() -> None:
        async for _ in listen(cache, Channel.ROUTES):
            listening.set()

    listening = asyncio.Event()
    task = asyncio.create_task(listen_for_ever())
    async with asyncio.timeout(PATIENCE):
        await listening.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_listener_survives_a_restart_and_says_that_something_may_be_missed(
    own_redis: RedisServer, fragile_cache: Redis
) -> None:
    async with aclosing(listen(fragile_cache, Channel.ROUTES, Channel.CREDENTIALS)) as listener:
        assert await hear(listener) == SOMETHING_MISSED
        for _ in range(2):
            own_redis.stop()
            assert await hear(listener) == Message(None, interrupted=True)
            waiting = asyncio.create_task(hear(listener))
            await publish(fragile_cache, Channel.ROUTES, {"slug": "lost"})
            own_redis.start()
            assert await waiting == SOMETHING_MISSED
            await publish(fragile_cache, Channel.ROUTES, {"slug": "heard"})
            assert await hear(listener) == Message(Channel.ROUTES, {"slug": "heard"})


async def test_a_connection_that_is_cut_and_made_again_at_once_is_noticed(
    own_redis: RedisServer, fragile_cache: Redis
) -> None:
    async with aclosing(listen(fragile_cache, Channel.ROUTES)) as listener:
        assert await hear(listener) == SOMETHING_MISSED
        await fragile_cache.client_kill_filter(_type="pubsub")
        assert await hear(listener) == SOMETHING_MISSED


async def test_a_cache_that_is_away_harms_nobody_and_is_named_when_asked_for(
    own_redis: RedisServer, fragile_cache: Redis
) -> None:
    await ping(fragile_cache)
    own_redis.stop()
    stamps = HealthStamps(fragile_cache)
    await publish(fragile_cache, Channel.ROUTES, {"slug": "lost"})
    await stamps.seen(uuid4(), uuid4(), NOON)
    assert await stamps.last([uuid4()]) == {}
    with pytest.raises(Unavailable) as caught:
        await ping(fragile_cache)
    assert caught.value.fields["part"] == "cache"
    own_redis.start()
    await ping(fragile_cache)


async def test_the_caches_within_one_process_are_one(cache: Redis, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("redis_url") if "fakeredis" not in request.node.name else None
    other = open_cache(Settings(cache=CacheSettings(url=url)))
    await cache.set("key", "value")
    assert await other.get("key") == "value"
    await other.aclose()


async def test_the_newest_stamp_of_any_replica_counts(cache: Redis) -> None:
    stamps = HealthStamps(cache)
    one, other, unknown = uuid4(), uuid4(), uuid4()
    replica = uuid4()
    await stamps.seen(one, replica, NOON)
    await stamps.seen(one, replica, NOON - timedelta(seconds=5))
    await stamps.seen(one, uuid4(), NOON + timedelta(seconds=1))
    await stamps.seen(one, uuid4(), NOON - timedelta(seconds=1))
    await stamps.seen(other, uuid4(), NOON)
    assert await stamps.last([unknown, other, one]) == {one: NOON + timedelta(seconds=1), other: NOON}
    assert await stamps.last([]) == {}


async def test_stamps_are_kept_for_a_day(cache: Redis) -> None:
    stamps = HealthStamps(cache)
    deployment = uuid4()
    await stamps.seen(deployment, uuid4(), NOON - timedelta(days=2))
    await stamps.seen(deployment, uuid4(), NOON)
    (key,) = await cache.keys("*")
    assert await cache.zcard(key) == 1
    assert 86_000 < await cache.ttl(key) <= 86_400


async def test_what_is_cancelled_while_it_asks_the_cache_ends(cache: Redis) -> None:
    states = DriverStates(cache)

    async def tell() -> None:
        while True:
            await states.report(Driver.DOCKER, DriverState(trouble="away"))
            await asyncio.sleep(0)

    for steps in range(60):
        telling = asyncio.create_task(tell())
        # Cancelled at each step of its way, among them the one just after the bytes went out.
        for _ in range(steps):
            await asyncio.sleep(0)
        telling.cancel()
        done, _ = await asyncio.wait({telling}, timeout=PATIENCE)
        assert done, f"it goes on when it is cancelled at step {steps}"
        assert telling.cancelled()
    assert await states.trouble(Driver.DOCKER) == "away", "no connection is left with another's answer"
