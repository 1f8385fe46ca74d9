"""How often replicas are checked, where their deployments do not say: it may be changed while running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import structlog

from mcp_platform.contracts.deployments import ReplicaOrder
from mcp_platform.names import BRIDGE_SETTINGS, Channel
from storage.cache import listen
from storage.stores import Stores

logger = structlog.get_logger(__name__)


class CheckInterval:
    """The interval that holds now: as set by the bridge's configuration, and else as the settings say.

    Args:
        comes_with: The settings' interval, which orders have where their deployment names none.
    """

    def __init__(self, stores: Stores, comes_with: float) -> None:
        self._stores = stores
        self._comes_with = comes_with
        self._present = comes_with

    def applied(self, order: ReplicaOrder) -> ReplicaOrder:
        """Give the order as it is to be followed now; a deployment's own interval stays."""
        if order.check_interval != self._comes_with or self._present == self._comes_with:
            return order
        return order.model_copy(update={"check_interval": self._present})

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Go by changes while the body runs; each holds from the next check of each replica."""
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _follow(self) -> None:
        # Who is called off while it reads would else leave the subscription to the garbage collector.
        async with aclosing(listen(self._stores.cache, Channel.RUNNING_SETTINGS)) as messages:
            async for _ in messages:
                await self._read()

    async def _read(self) -> None:
        try:
            async with self._stores.read() as rows:
                changed = await rows.running_settings.get(BRIDGE_SETTINGS)
        except Exception:
            # What was true before goes on to hold, until the next message.
            logger.exception("running_settings_not_read")
            return
        own = (changed or {}).get("loadBalancer", {})
        self._present = float(own.get("healthCheckInterval", self._comes_with))
