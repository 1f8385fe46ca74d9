"""A listener ends when it is told to, whatever arrives at that moment."""

import asyncio

from redis.asyncio import Redis

from mcp_platform.names import Channel
from storage.cache import listen, publish
from tests.waiting import PATIENCE


async def test_a_listener_that_is_cancelled_as_a_message_arrives_ends(cache: Redis) -> None:
    async def follow(ready: asyncio.Event) -> None:
        async for _ in listen(cache, Channel.CREDENTIALS):
            ready.set()

    for number in range(60):
        ready = asyncio.Event()
        follower = asyncio.create_task(follow(ready))
        async with asyncio.timeout(PATIENCE):
            await ready.wait()
        await publish(cache, Channel.CREDENTIALS, {})
        # Between the message's arrival and its delivery lie some turns of the loop.
        for _ in range(number % 12):
            await asyncio.sleep(0)
        follower.cancel()
        ended, _ = await asyncio.wait({follower}, timeout=PATIENCE)
        assert ended, f"a cancellation was lost after {number % 12} turns"
