"""Which groups there are: a table in memory that pub/sub keeps fresh."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog
from redis.asyncio import Redis

from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.groups import GroupRoute
from mcp_platform.errors import NotFound
from mcp_platform.names import Channel
from storage.cache import listen
from storage.sql.engine import Database
from storage.sql.groups import GroupRepository

log = structlog.get_logger(__name__)


class GroupTable:
    """All groups, with their MCPs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._groups: dict[str, GroupRoute] = {}
        self._of_slug: dict[str, list[str]] = {}
        self._reading = asyncio.Lock()
        self._listeners: list[Callable[[str], None]] = []

    def find(self, name: str, caller: Principal) -> GroupRoute:
        """Find a group by its name.

        Raises:
            NotFound: There is none, or none that this caller may know of.
        """
        group = self._groups.get(name)
        if group is None or not group.admits(caller):
            raise NotFound("group", name)
        return group

    def with_slug(self, slug: str) -> list[str]:
        """Name the groups that an MCP is in."""
        return self._of_slug.get(slug, [])

    def with_mcp(self, mcp_id: UUID) -> list[str]:
        """Name the groups that an MCP is in, by its id."""
        groups = self._groups.values()
        return [group.name for group in groups if any(mcp.mcp_id == mcp_id for mcp in group.mcps)]

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Tell the listener the name of each group that is new, another, or gone."""
        self._listeners.append(listener)

    async def refresh(self) -> None:
        """Read all groups anew."""
        async with self._reading:
            async with self._database.read() as session:
                groups = {group.name: group for group in await GroupRepository(session).routes()}
            former, self._groups = self._groups, groups
            self._of_slug = {}
            for group in groups.values():
                for mcp in group.mcps:
                    self._of_slug.setdefault(mcp.slug, []).append(group.name)
        for name in former.keys() | groups.keys():
            if former.get(name) != groups.get(name):
                for listener in self._listeners:
                    listener(name)

    async def follow(self, cache: Redis) -> None:
        """Read anew whenever a message says that a group changed; runs until cancelled."""
        async for _message in listen(cache, Channel.GROUPS):
            await self._refresh_or_log()

    async def refresh_forever(self, interval: float) -> None:
        """Read anew at every interval, in case a message was lost; runs until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self._refresh_or_log()

    async def _refresh_or_log(self) -> None:
        try:
            await self.refresh()
        except Exception:
            # Whatever it was, the groups we have are better than none, and we ask again.
            log.exception("groups_not_read")
