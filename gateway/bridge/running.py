"""What is set while the platform runs: one row decides, and every gateway goes by it at once."""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from mcp_platform.contracts.bridge import (
    BridgeConfig,
    ConfigChange,
    ConnectionPoolConfig,
    LoadBalancerConfig,
)
from mcp_platform.names import BRIDGE_SETTINGS, Channel
from mcp_platform.settings import Settings
from storage.cache import listen
from storage.sql.engine import WriteSession
from storage.stores import Rows, Stores

log = structlog.get_logger(__name__)

Apply = Callable[[BridgeConfig], None]

_LOAD_BALANCER: Final = "loadBalancer"
_POOL: Final = "connectionPool"


class RunningConfig:
    """The bridge's configuration: as it was set last, and else as the platform's settings say.

    Args:
        apply: Makes it so in this process.
    """

    def __init__(self, settings: Settings, stores: Stores, apply: Apply) -> None:
        self._stores = stores
        self._apply = apply
        own = settings.gateway
        self._comes_with = BridgeConfig(
            load_balancer=LoadBalancerConfig(
                algorithm=own.balancing, health_check_interval=settings.replicas.check_interval
            ),
            connection_pool=ConnectionPoolConfig(
                max_connections=own.max_connections, connection_timeout=round(own.connect_timeout * 1000)
            ),
        )
        self.present = self._comes_with
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read what is set, and go by it."""
        async with self._reading:
            async with self._stores.read() as rows:
                changed = await rows.running_settings.get(BRIDGE_SETTINGS)
            merged = self._comes_with.wire()
            for section, values in (changed or {}).items():
                if section in merged:
                    merged[section] |= values
            present = BridgeConfig.model_validate(merged)
            if present != self.present:
                log.info("running_settings_changed", **present.wire())
            self.present = present
            self._apply(present)

    async def set(self, rows: Rows[WriteSession], change: ConfigChange, changed_by: UUID) -> None:
        """Set what the change names, in a transaction; `changed` makes it so once it is committed."""
        known = await rows.running_settings.get(BRIDGE_SETTINGS) or {}
        given = change.model_dump(mode="json", by_alias=True, exclude_none=True)
        merged = {name: known.get(name, {}) | given.get(name, {}) for name in (_LOAD_BALANCER, _POOL)}
        await rows.running_settings.put(BRIDGE_SETTINGS, merged, changed_by)

    async def changed(self) -> BridgeConfig:
        """Go by what was set, here before this returns, and tell the other processes."""
        await self.refresh()
        await self._stores.publish(Channel.RUNNING_SETTINGS, {"name": BRIDGE_SETTINGS})
        return self.present

    async def follow(self) -> None:
        """Read anew when a message says so; runs until cancelled."""
        async for _ in listen(self._stores.cache, Channel.RUNNING_SETTINGS):
            await self._refresh_or_log()

    async def refresh_forever(self, interval: float) -> None:
        """Read at every interval, in case a message was lost; runs until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self._refresh_or_log()

    async def _refresh_or_log(self) -> None:
        try:
            await self.refresh()
        except Exception:
            # What was true before goes on to hold, and we ask again.
            log.exception("running_settings_not_read")
