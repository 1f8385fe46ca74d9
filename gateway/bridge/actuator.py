"""`/actuator/health`: each part that the platform depends on, in Spring's words."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.routes import RouteTable
from mcp_platform.contracts.bridge import ActuatorHealth, Component, UpOrDown
from mcp_platform.contracts.loads import LoadReport
from mcp_platform.names import TEMPORAL_PART
from storage.cache import ping as ping_cache
from storage.stores import Stores

log = structlog.get_logger(__name__)

_PATIENCE: Final = 2.0
_KEPT: Final = 1.0
"""Seconds for which an answer is given again: anybody may ask."""


class Actuator:
    """Asks the parts, at most once a second.

    Whether Temporal is well is what the workers say: calls do not need it, and gateways do not talk to it.

    Args:
        report: Makes this process's own report, as it is now.
    """

    def __init__(self, stores: Stores, routes: RouteTable, report: Callable[[], LoadReport]) -> None:
        self._stores = stores
        self._routes = routes
        self._report = report
        self._answer: ActuatorHealth | None = None
        self._asked_at = 0.0
        self._asking = asyncio.Lock()

    async def health(self) -> ActuatorHealth:
        """Tell how each part fares; `UP` unless one of them is down."""
        async with self._asking:
            if self._answer is None or time.monotonic() - self._asked_at >= _KEPT:
                self._answer = await self._ask()
                self._asked_at = time.monotonic()
            return self._answer

    async def _ask(self) -> ActuatorHealth:
        checks: dict[str, Callable[[], Awaitable[Component]]] = {
            "database": lambda: _answering(self._stores.database.ping),
            "documents": lambda: _answering(self._stores.documents.ping),
            "cache": lambda: _answering(lambda: ping_cache(self._stores.cache)),
            "temporal": self._temporal,
        }
        found = await asyncio.gather(*(check() for check in checks.values()))
        components = dict(zip(checks, found, strict=True)) | {"mcpBridge": self._bridge()}
        down = any(each.status is UpOrDown.DOWN for each in components.values())
        return ActuatorHealth(status=UpOrDown.DOWN if down else UpOrDown.UP, components=components)

    async def _temporal(self) -> Component:
        told = await self._stores.parts.read(TEMPORAL_PART)
        if told is None:
            return Component(status=UpOrDown.UNKNOWN, details={"reason": "no worker says how it fares"})
        if not told.healthy:
            return Component(status=UpOrDown.DOWN, details={"reason": told.detail})
        return Component(status=UpOrDown.UP)

    def _bridge(self) -> Component:
        routes, pool = self._routes.all, self._report().pool
        details = {
            "activeConnections": pool.open - pool.idle,
            "registeredServices": len(routes),
            "healthyServices": sum(bool(live.upstreams) or live.route.asleep for live in routes),
        }
        return Component(status=UpOrDown.UP, details=details)


async def _answering(ask: Callable[[], Awaitable[object]]) -> Component:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE):
            await ask()
    # Whatever a client library raises, the part does not serve.
    except Exception as error:
        log.warning("part_down", error=str(error))
        reason = "no answer in time" if isinstance(error, TimeoutError) else "it cannot be reached"
        return Component(status=UpOrDown.DOWN, details={"reason": reason})
    return Component(
        status=UpOrDown.UP, details={"latencyMs": round((time.perf_counter() - started) * 1000, 2)}
    )
