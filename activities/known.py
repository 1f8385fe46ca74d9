"""The catalogue of known servers: what of it may be what somebody wants, and how it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from temporalio import activity

from activities.heartbeat import beating
from mcp_platform.contracts.known import (
    FindOrder,
    KnownMatches,
    RefreshOutcome,
    RegistryPage,
    RegistryProgress,
)
from mcp_platform.errors import Unavailable
from mcp_platform.names import KNOWN_SERVERS_STATE

if TYPE_CHECKING:
    from activities.clients.server_registry import ServerRegistry
    from gateway.discovery.known_servers import KnownServers
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_MOST_PAGES: Final = 300
"""Pages that one run reads; the next one goes on."""
_MOST_SERVERS: Final = 10_000
"""Servers of the registry that are kept: all of them are searched in memory."""
_NOBODY: Final = UUID(int=0)


class KnownActivities:
    """Looks into the catalogue of known servers, and adds those of a registry to it.

    Args:
        servers: The catalogue, searched.
        stores: Where the registry's servers are kept.
        registry: The registry, or None where none is set.
    """

    def __init__(self, servers: KnownServers, stores: Stores, registry: ServerRegistry | None) -> None:
        self._servers = servers
        self._stores = stores
        self._registry = registry

    @activity.defn(name="known.find")
    async def find(self, order: FindOrder) -> KnownMatches:
        """Find the known servers that may be what the text asks for, likest first."""
        return KnownMatches(matches=await self._servers.find(order.text, order.limit))

    @activity.defn(name="known.refresh")
    async def refresh(self) -> RefreshOutcome:
        """Read what is new in the registry. Where that is broken off the next run goes on."""
        if self._registry is None:
            return RefreshOutcome(complete=False, reason="no registry is set")
        async with beating():
            outcome = await self._read(self._registry)
        if outcome.complete:
            logger.info("known_servers_refreshed", **outcome.model_dump(exclude={"complete", "reason"}))
        else:
            logger.info("known_servers_not_refreshed", source=self._registry.source, reason=outcome.reason)
        return outcome

    async def _read(self, registry: ServerRegistry) -> RefreshOutcome:
        progress = await self._progress(registry.source)
        outcome = RefreshOutcome(complete=False)
        for _ in range(_MOST_PAGES):
            try:
                page = await registry.page(progress.cursor, progress.since)
            except Unavailable as away:
                return outcome.model_copy(update={"reason": str(away)})
            progress = _after(progress, page)
            outcome = await self._write(page, progress, outcome)
            if page.next_cursor is None:
                return outcome.model_copy(update={"complete": True})
        return outcome.model_copy(update={"reason": f"more than {_MOST_PAGES} pages; the next run goes on"})

    async def _progress(self, source: str) -> RegistryProgress:
        """Tell how far this registry has been read; another one's servers are forgotten."""
        async with self._stores.read() as rows:
            kept = await rows.running_settings.get(KNOWN_SERVERS_STATE)
        if kept is not None:
            progress = RegistryProgress.model_validate(kept)
            if progress.source == source:
                return progress
            async with self._stores.write() as rows:
                await rows.known_servers.clear()
        return RegistryProgress(source=source)

    async def _write(
        self, page: RegistryPage, progress: RegistryProgress, outcome: RefreshOutcome
    ) -> RefreshOutcome:
        async with self._stores.write() as rows:
            removed = await rows.known_servers.remove(page.gone)
            written = await rows.known_servers.put(page.servers, _MOST_SERVERS)
            await rows.running_settings.put(KNOWN_SERVERS_STATE, progress.model_dump(mode="json"), _NOBODY)
        return outcome.model_copy(
            update={
                "pages": outcome.pages + 1,
                "written": outcome.written + written,
                "removed": outcome.removed + removed,
                "refused": outcome.refused + page.refused + len(page.servers) - written,
            }
        )


def _after(progress: RegistryProgress, page: RegistryPage) -> RegistryProgress:
    """Tell how far it is read with this page: from the last one on only what is newer is asked for."""
    newest = max((each for each in (progress.newest, page.newest) if each is not None), default=None)
    if page.next_cursor is not None:
        return progress.model_copy(update={"cursor": page.next_cursor, "newest": newest})
    return RegistryProgress(source=progress.source, since=newest or progress.since)
