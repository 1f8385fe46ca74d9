"""What this gateway says of its calls, for those who end replicas or choose how many there are."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import structlog

from gateway.routes import RouteTable
from gateway.tally import WINDOW
from mcp_platform.contracts.loads import LoadReport, Pool
from mcp_platform.errors import Unavailable
from storage.cache import Loads

log = structlog.get_logger(__name__)

_INTERVAL: Final = 1.0
_PAUSE: Final = 0.02
"""Seconds between reports, however much there is to say."""
_PATIENCE: Final = 0.5
"""Seconds that new routes wait for the cache to take the announcement."""


class LoadReporter:
    """Writes this gateway's report: each second, and at once when there is something to say.

    Args:
        table: Gives the routes, once there are any.
        pool: Counts the connections to servers.
    """

    def __init__(self, loads: Loads, table: Callable[[], RouteTable], pool: Callable[[], Pool]) -> None:
        self._loads = loads
        self._table = table
        self._pool = pool
        self._started_at = datetime.now(UTC)
        self.id = uuid4().hex
        """Tells this gateway from the others."""
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    def nudge(self) -> None:
        """Report soon: something changed that others wait for."""
        self._news.set()

    async def announce(self) -> None:
        """Report now, before calls go to new replicas; while the cache is away they go there all the same."""
        await self._write()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL - _PAUSE):
                    await self._news.wait()
            self._news.clear()
            await self._write()

    async def close(self) -> None:
        """Withdraw the report: no calls are left."""
        await self._loads.withdraw(self.id)

    async def _write(self) -> None:
        """Write what is true now; one after the other, so that an older report never replaces a newer."""
        async with self._writing:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._loads.report(self.report())
            except (Unavailable, TimeoutError) as error:
                log.warning("load_not_reported", error=str(error) or "the cache is slow")

    def report(self) -> LoadReport:
        """Tell what is true now."""
        table = self._table()
        return LoadReport(
            gateway_id=self.id,
            window=WINDOW,
            replicas=table.in_flight(),
            deployments=[live.load() for live in table.all],
            pool=self._pool(),
            started_at=self._started_at,
        )
