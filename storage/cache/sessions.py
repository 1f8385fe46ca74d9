"""Sessions of MCP clients in Redis: any gateway process may serve any of them."""

import time
from collections.abc import Collection
from typing import Final

from redis.asyncio import Redis

from mcp_platform.errors import Unavailable
from storage.cache.connection import AWAY

_PREFIX: Final = "mcp-platform.session."
_ALL: Final = "mcp-platform.sessions"
_OWNED: Final = "mcp-platform.sessions."


class CachedSessions:
    """Each session is a text under its id, which ends by itself after a time without use."""

    def __init__(self, cache: Redis, idle_timeout: float) -> None:
        self._cache = cache
        self._idle = idle_timeout

    async def count(self, owner: str) -> tuple[int, int]:
        """Count all sessions, and those of one owner.

        Raises:
            Unavailable: The cache is away.
        """
        ended = time.time() - self._idle
        try:
            async with self._cache.pipeline(transaction=False) as pipeline:
                for name in (_ALL, _OWNED + owner):
                    pipeline.zremrangebyscore(name, "-inf", ended)
                    pipeline.zcard(name)
                _, whole, _, own = await pipeline.execute()
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
        return int(whole), int(own)

    async def put(self, number: str, owner: str, text: str) -> None:
        """Keep a session, or what it has become.

        Raises:
            Unavailable: The cache is away.
        """
        now = time.time()
        try:
            async with self._cache.pipeline(transaction=True) as pipeline:
                pipeline.set(_PREFIX + number, text, ex=self._seconds)
                pipeline.zadd(_ALL, {number: now})
                pipeline.zadd(_OWNED + owner, {number: now})
                pipeline.expire(_OWNED + owner, self._seconds)
                await pipeline.execute()
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error

    async def get(self, number: str) -> str | None:
        """Find a session.

        Raises:
            Unavailable: The cache is away.
        """
        try:
            text = await self._cache.get(_PREFIX + number)
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
        return None if text is None else str(text)

    async def touch(self, used: Collection[tuple[str, str]]) -> set[str]:
        """Note that these were used, each by its id and owner; answers which of them have ended.

        Raises:
            Unavailable: The cache is away.
        """
        now, pairs = time.time(), list(used)
        try:
            async with self._cache.pipeline(transaction=False) as pipeline:
                for number, _ in pairs:
                    pipeline.expire(_PREFIX + number, self._seconds)
                known = await pipeline.execute()
                kept = [pair for pair, there in zip(pairs, known, strict=True) if there]
                for number, owner in kept:
                    pipeline.zadd(_ALL, {number: now})
                    pipeline.zadd(_OWNED + owner, {number: now})
                    pipeline.expire(_OWNED + owner, self._seconds)
                await pipeline.execute()
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
        return {number for number, _ in pairs} - {number for number, _ in kept}

    async def delete(self, number: str, owner: str) -> None:
        """Forget a session.

        Raises:
            Unavailable: The cache is away.
        """
        try:
            async with self._cache.pipeline(transaction=True) as pipeline:
                pipeline.delete(_PREFIX + number)
                pipeline.zrem(_ALL, number)
                pipeline.zrem(_OWNED + owner, number)
                await pipeline.execute()
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error

    @property
    def _seconds(self) -> int:
        return max(int(self._idle), 1)
