"""Which trials of servers go on now: so that no account has too many, and none is swept as ownerless."""

import time
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from mcp_platform.errors import Unavailable
from storage.cache.connection import AWAY

_KEY: Final = "mcp-platform.trials"
"""Members are `<owner>/<replica>`, and their scores the times at which they end by themselves."""

KEPT: Final = 30.0
"""Seconds for which a trial counts without word of its worker; clocks of machines differ by less."""


class RunningTrials:
    """The trials of all workers."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def begin(self, owner_id: UUID, replica_id: UUID, most: int) -> bool:
        """Count a trial, or say that as many of its owner's go on already.

        Of two that begin at once for the last place none may get it: whoever tries again soon does.

        Raises:
            Unavailable: The cache is away.
        """
        member = _member(owner_id, replica_id)
        await self.keep(owner_id, replica_id)
        own = [each for each in await self._members() if each.startswith(f"{owner_id}/")]
        if len(own) > most:
            await self._remove(member)
            return False
        return True

    async def keep(self, owner_id: UUID, replica_id: UUID) -> None:
        """Say that a trial goes on.

        Raises:
            Unavailable: The cache is away.
        """
        try:
            await self._cache.zadd(_KEY, {_member(owner_id, replica_id): time.time() + KEPT})
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error

    async def end(self, owner_id: UUID, replica_id: UUID) -> None:
        """Say that a trial is over; one that cannot be said ends by itself.

        Raises:
            Unavailable: The cache is away.
        """
        await self._remove(_member(owner_id, replica_id))

    async def replica_ids(self) -> set[UUID]:
        """Give the replicas of the trials that go on.

        Raises:
            Unavailable: The cache is away.
        """
        return {UUID(member.rpartition("/")[2]) for member in await self._members()}

    async def _members(self) -> list[str]:
        try:
            await self._cache.zremrangebyscore(_KEY, "-inf", time.time())
            members = await self._cache.zrange(_KEY, 0, -1)
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
        return [str(member) for member in members]

    async def _remove(self, member: str) -> None:
        try:
            await self._cache.zrem(_KEY, member)
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error


def _member(owner_id: UUID, replica_id: UUID) -> str:
    return f"{owner_id}/{replica_id}"
