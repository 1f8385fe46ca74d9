"""What gateways report of their calls: short-lived, and never the only copy of anything."""

import time
from typing import Final
from uuid import UUID

import structlog
from redis.asyncio import Redis

from mcp_platform.contracts.loads import LoadReport
from mcp_platform.errors import Unavailable
from storage.cache.connection import AWAY

log = structlog.get_logger(__name__)

_KEPT: Final = 10
"""Seconds after its last report for which a gateway counts as living: it may stand still for a moment."""
_KNOWN: Final = 3600
"""Seconds for which its name is remembered: far more than clocks of machines differ."""
_GATEWAYS: Final = "mcp-platform.gateways"
_PREFIX: Final = "mcp-platform.load."


class Loads:
    """The last report of each living gateway."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def report(self, report: LoadReport) -> None:
        """Replace this gateway's report; it holds for some seconds.

        Raises:
            Unavailable: The cache is away.
        """
        now = time.time()
        try:
            async with self._cache.pipeline(transaction=True) as pipeline:
                pipeline.set(_PREFIX + report.gateway_id, report.model_dump_json(), ex=_KEPT)
                pipeline.zadd(_GATEWAYS, {report.gateway_id: now})
                pipeline.zremrangebyscore(_GATEWAYS, "-inf", now - _KNOWN)
                await pipeline.execute()
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error

    async def withdraw(self, gateway_id: str) -> None:
        """Forget a gateway that ends; one that cannot say so is forgotten after some seconds."""
        try:
            await self._cache.delete(_PREFIX + gateway_id)
            await self._cache.zrem(_GATEWAYS, gateway_id)
        except AWAY as error:
            log.warning("report_not_withdrawn", error=str(error))

    async def read(self) -> list[LoadReport]:
        """Give the reports of all living gateways.

        Raises:
            Unavailable: The cache is away.
        """
        return [LoadReport.model_validate_json(text) for text in await self._texts()]

    async def drained(self, replica_id: UUID) -> bool:
        """Tell whether a replica has no calls, and gets none any more.

        To be asked after it was recorded as draining. A gateway names a replica in its report before it
        reads, for the last time, that it may send calls there; so whichever comes first, the record or
        the report, one of the two is seen. While the cache is away the answer is no.
        """
        try:
            # Asked often, and by every replica that ends: looking for its id is cheaper than parsing.
            return not any(str(replica_id) in text for text in await self._texts())
        except Unavailable as error:
            log.warning("reports_not_read", error=str(error))
            return False

    async def _texts(self) -> list[str]:
        try:
            names = await self._cache.zrange(_GATEWAYS, 0, -1)
            texts = await self._cache.mget([f"{_PREFIX}{name!s}" for name in names]) if names else []
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
        return [str(text) for text in texts if text]
