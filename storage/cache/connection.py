"""Connections to the cache."""

from functools import cache as once
from typing import Final

import structlog
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from mcp_platform.errors import Unavailable
from mcp_platform.settings import Settings

log = structlog.get_logger(__name__)

AWAY: Final = (RedisError, OSError)
"""What the client raises when Redis cannot be reached, or is not ready."""

_TIMEOUT: Final = 2.0
_HEALTH_CHECK_INTERVAL: Final = 15


def open_cache(settings: Settings) -> Redis:
    """Open the cache; strings come back as `str`."""
    if settings.cache.url is None:
        return FakeAsyncRedis(server=_embedded_server(), decode_responses=True)
    return Redis.from_url(
        settings.cache.url.get_secret_value(),
        decode_responses=True,
        socket_timeout=_TIMEOUT,
        socket_connect_timeout=_TIMEOUT,
        health_check_interval=_HEALTH_CHECK_INTERVAL,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=2),
    )


@once
def _embedded_server() -> FakeServer:
    """Make the one server that all connections of this process share."""
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
