"""Whether the drivers' engines can be reached, as the workers report it every few seconds."""

from typing import Final

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.drivers import DriverState
from storage.cache.connection import AWAY

log = structlog.get_logger(__name__)

_KEPT: Final = 15
"""Seconds for which a report holds; afterwards nothing is known, and nobody is refused for it."""


class DriverStates:
    """The last report on each driver. Losing them does no harm, so none raises."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def report(self, driver: Driver, state: DriverState) -> None:
        """Keep what a worker sees."""
        try:
            await self._cache.set(_key(driver), state.model_dump_json(), ex=_KEPT)
        except AWAY as error:
            log.warning("driver_state_not_kept", driver=driver, error=str(error))

    async def read(self, driver: Driver) -> DriverState | None:
        """Give what was last seen; None where no worker has looked lately."""
        try:
            kept = await self._cache.get(_key(driver))
            return DriverState.model_validate_json(kept) if kept else None
        except AWAY as error:
            log.warning("driver_state_not_read", driver=driver, error=str(error))
        except ValidationError:
            log.warning("driver_state_not_understood", driver=driver)
        return None

    async def trouble(self, driver: Driver) -> str | None:
        """Tell why no replica can be run; None if they can, or nothing is known."""
        state = await self.read(driver)
        return state.trouble if state else None


def _key(driver: Driver) -> str:
    return f"mcp-platform.driver.{driver}"
