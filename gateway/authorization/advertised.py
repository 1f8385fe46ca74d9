"""Which endpoints tell their clients to sign in by OAuth: a set in memory that pub/sub keeps fresh."""

import asyncio

import structlog
from redis.asyncio import Redis

from mcp_platform.names import Channel
from storage.cache import listen
from storage.sql.engine import Database
from storage.sql.oauth_endpoints import OAuthEndpointRepository

log = structlog.get_logger(__name__)

_SMART = "smart"


class Advertised:
    """Endpoints by name.

    Readings follow one another under a lock, so an older one never replaces a newer one.

    Args:
        database: Where policies and groups are.
        smart: Whether `/mcp/smart` is one of them.
    """

    def __init__(self, database: Database, smart: bool) -> None:
        self._database = database
        self._always = frozenset({_SMART}) if smart else frozenset()
        self._endpoints = self._always
        self._reading = asyncio.Lock()

    def __contains__(self, endpoint: str | None) -> bool:
        """Tell whether clients of this endpoint are told."""
        return endpoint in self._endpoints

    async def refresh(self) -> frozenset[str]:
        """Read anew, and give all."""
        async with self._reading:
            async with self._database.read() as session:
                found = await OAuthEndpointRepository(session).advertised()
            self._endpoints = found | self._always
            return self._endpoints

    async def follow(self, cache: Redis) -> None:
        """Read anew when something changes; runs until cancelled."""
        async for _message in listen(cache, Channel.POLICIES, Channel.GROUPS):
            await self._refresh_or_log()

    async def refresh_forever(self, interval: float) -> None:
        """Read anew at every interval, in case a message was lost; runs until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self._refresh_or_log()

    async def _refresh_or_log(self) -> None:
        try:
            await self.refresh()
        except Exception:
            # What was known is better than nothing, and we ask again.
            log.exception("oauth_endpoints_not_read")
