"""When deployments were last seen to answer."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from redis.asyncio import Redis

from storage.cache.connection import AWAY

log = structlog.get_logger(__name__)

_KEPT: Final = timedelta(days=1)


class HealthStamps:
    """Moments at which replicas answered, kept for a day. Losing them does no harm, so none raises."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def seen(self, deployment_id: UUID, replica_id: UUID, moment: datetime) -> None:
        """Note that a replica answered; an older moment never replaces a newer one."""
        await self.seen_all({deployment_id: {replica_id: moment}})

    async def seen_all(self, moments: Mapping[UUID, Mapping[UUID, datetime]]) -> None:
        """Note when replicas answered, by deployment."""
        try:
            async with self._cache.pipeline(transaction=False) as pipeline:
                for deployment_id, replicas in moments.items():
                    key = _key(deployment_id)
                    scores = {str(replica_id): moment.timestamp() for replica_id, moment in replicas.items()}
                    pipeline.zadd(key, scores, gt=True)
                    oldest = max(replicas.values()) - _KEPT
                    pipeline.zremrangebyscore(key, "-inf", oldest.timestamp())
                    pipeline.expire(key, _KEPT)
                await pipeline.execute()
        except AWAY as error:
            log.warning("stamps_not_written", deployments=len(moments), error=str(error))

    async def last(self, deployment_ids: Iterable[UUID]) -> dict[UUID, datetime]:
        """Tell when any replica of each deployment last answered; who is not known is left out."""
        ids = list(deployment_ids)
        try:
            async with self._cache.pipeline(transaction=False) as pipeline:
                for deployment_id in ids:
                    pipeline.zrange(_key(deployment_id), -1, -1, withscores=True)
                answers = await pipeline.execute()
        except AWAY as error:
            log.warning("stamps_not_read", error=str(error))
            return {}
        return {
            deployment_id: datetime.fromtimestamp(newest[0][1], UTC)
            for deployment_id, newest in zip(ids, answers, strict=True)
            if newest
        }


def _key(deployment_id: UUID) -> str:
    return f"mcp-platform.seen.{deployment_id}"
