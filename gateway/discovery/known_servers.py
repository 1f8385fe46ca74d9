"""The catalogue of known servers as it is now, searched."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from gateway.discovery.known import SURE, KnownIndex
from mcp_platform.contracts.known import KnownMatch, KnownServer
from mcp_platform.known_servers import other_products, shipped_servers
from storage.stores import Stores

_HIGHEST_UNTRIED: Final = SURE - 0.1
"""The score of a server that nobody here has tried, and whose words are its publisher's, is no higher."""


class KnownServers:
    """Our own catalogue, and beside it what a registry has.

    It is read when somebody first asks. The two are searched apart: whatever is published in the registry
    changes nothing of what is found in ours.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._shipped: KnownIndex | None = None
        self._registry = KnownIndex(())
        self._stamp: tuple[int, datetime | None] = (0, None)
        self._opening = asyncio.Lock()

    async def find(self, text: str, limit: int) -> list[KnownMatch]:
        """Find the servers that may be what is wanted, likest first."""
        shipped, registry = await self._opened()
        return await asyncio.to_thread(_find, shipped, registry, text, limit)

    async def list(self) -> list[KnownServer]:
        """List all: ours first, each in the order of the slugs."""
        shipped, registry = await self._opened()
        return [*shipped.servers.values(), *registry.servers.values()]

    async def get(self, slug: str) -> KnownServer | None:
        """Find the server of this slug."""
        shipped, registry = await self._opened()
        return shipped.servers.get(slug) or registry.servers.get(slug)

    async def _opened(self) -> tuple[KnownIndex, KnownIndex]:
        async with self._opening:
            if self._shipped is None:
                self._shipped = await asyncio.to_thread(_open_shipped)
            async with self._stores.read() as rows:
                stamp = await rows.known_servers.stamp()
                changed = stamp != self._stamp
                servers = await rows.known_servers.list() if changed else []
            if changed:
                self._registry, self._stamp = await asyncio.to_thread(KnownIndex, servers), stamp
            return self._shipped, self._registry


def _open_shipped() -> KnownIndex:
    return KnownIndex(shipped_servers(), other_products())


def _find(shipped: KnownIndex, registry: KnownIndex, text: str, limit: int) -> list[KnownMatch]:
    found = [*shipped.find(text, limit), *_bounded(registry.find(text, limit))]
    return sorted(found, key=lambda match: -match.score)[:limit] if registry.servers else found


def _bounded(matches: list[KnownMatch]) -> Iterator[KnownMatch]:
    for match in matches:
        yield match.model_copy(update={"score": min(match.score, _HIGHEST_UNTRIED)})
