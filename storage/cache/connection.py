"""Connections to the cache."""

import asyncio
from collections.abc import Iterable
from functools import cache as once
from typing import Final

import structlog
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from mcp_platform.errors import Unavailable
from mcp_platform.settings import Settings
from storage.cancellation import cancellations

log = structlog.get_logger(__name__)

AWAY: Final = (RedisError, OSError)
"""What the client raises when Redis cannot be reached, or is not ready."""

_TIMEOUT: Final = 2.0
_HEALTH_CHECK_INTERVAL: Final = 15


def open_cache(settings: Settings) -> Redis:
    """Open the cache; strings come back as `str`."""
    if settings.cache.url is None:
        return _heard(FakeAsyncRedis(server=_embedded_server(settings.instance_id), decode_responses=True))
    cache = Redis.from_url(
        settings.cache.url.get_secret_value(),
        decode_responses=True,
        socket_timeout=_TIMEOUT,
        socket_connect_timeout=_TIMEOUT,
        health_check_interval=_HEALTH_CHECK_INTERVAL,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=2),
    )
    return _heard(cache)


def _heard(cache: Redis) -> Redis:
    pool = cache.connection_pool
    kind = pool.connection_class
    pool.connection_class = type(f"Hearing{kind.__name__}", (_Hearing, kind), {})
    return cache


class _Hearing(AbstractConnection):
    """A connection that hears of every cancellation.

    The client sends by `asyncio.wait_for`, and swallows one that comes just as the bytes are out. A loop that
    was told to end would go on for ever, and so would the end of the process that waits for it.
    """

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        before = cancellations()
        await super().send_packed_command(command, check_health)
        if cancellations() > before:
            # Its answer is still to come: nobody else may get that.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError


@once
def _embedded_server(instance_id: str) -> FakeServer:
    """Make the one server that all connections of a platform share within this process."""
    return FakeServer()


async def ping(cache: Redis) -> None:
    """Return when the cache answers.

    Raises:
        Unavailable: It does not.
    """
    try:
        await cache.ping()
    except AWAY as error:
        raise Unavailable("The cache cannot be reached", part="cache") from error
