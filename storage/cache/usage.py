"""What replicas used when they were last measured."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from mcp_platform.contracts.figures import LatestUsage
from storage.cache.connection import AWAY

log = structlog.get_logger(__name__)

_KEPT: Final = timedelta(hours=3)
"""Longer than any replica's measure holds; each says itself for how long it does."""


class LatestUsages:
    """The last measure of each replica. Losing them does no harm, so none raises."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def put(
        self, found: Mapping[UUID, Mapping[UUID, LatestUsage]], gone: Collection[tuple[UUID, UUID]] = ()
    ) -> None:
        """Keep measures by deployment and replica, and forget what is gone."""
        try:
            async with self._cache.pipeline(transaction=False) as pipeline:
                for deployment_id, replica_id in gone:
                    pipeline.hdel(_key(deployment_id), str(replica_id))
                for deployment_id, replicas in found.items():
                    values: dict[FieldT, EncodableT] = {
                        str(replica_id): each.model_dump_json() for replica_id, each in replicas.items()
                    }
                    pipeline.hset(_key(deployment_id), mapping=values)
                    pipeline.expire(_key(deployment_id), _KEPT)
                await pipeline.execute()
        except AWAY as error:
            log.warning("usage_not_kept", error=str(error))

    async def read(self, deployment_id: UUID) -> dict[UUID, LatestUsage]:
        """Give what still holds, by replica."""
        try:
            stored = await self._cache.hgetall(_key(deployment_id))
        except AWAY as error:
            log.warning("usage_not_read", error=str(error))
            return {}
        now = datetime.now(UTC)
        found = {UUID(str(key)): LatestUsage.model_validate_json(text) for key, text in stored.items()}
        return {key: each for key, each in found.items() if each.until > now}


def _key(deployment_id: UUID) -> str:
    return f"mcp-platform.usage.{deployment_id}"
