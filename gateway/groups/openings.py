"""What a group says of itself when a client begins: `initialize` and `server/discover`."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from gateway.groups.merging import PATIENCE
from gateway.openings import opening
from gateway.relay import Relay
from mcp_platform.contracts.groups import GroupMcp, GroupRight, GroupRoute
from mcp_platform.errors import NotFound, PlatformError
from mcp_platform.wire import Era, RpcError, ServerDescription

_OF_RIGHT: Final = {
    GroupRight.EXECUTE: ("tools",),
    GroupRight.READ: ("prompts", "resources", "completions"),
}
"""What a group offers of a member, by what may be done with it; all else is one server's own."""
_CHANGING: Final = frozenset({"tools", "prompts", "resources"})
_LONGEST: Final = 4_000
"""Characters of all members' instructions together."""


class Openings:
    """Describes groups by what their members say of themselves.

    A member that does not answer within two seconds counts by what it said the last time.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._known: dict[str, ServerDescription] = {}

    async def describe(
        self, group: GroupRoute, members: Sequence[GroupMcp], era: Era, wanted: object
    ) -> dict[str, Any]:
        """Give the result of the request by which a client begins, in its era.

        Args:
            group: Which group.
            members: Those of its members that the caller may use.
            era: The client's.
            wanted: The version that a client of the older protocol asked for.
        """
        described = await asyncio.gather(*(self._ask(mcp.slug) for mcp in members))
        known = [(mcp, each) for mcp, each in zip(members, described, strict=True) if each is not None]
        instructions = _instructions(group, known)
        return opening(era, wanted, group.name, group.display_name, _capabilities(known), instructions)

    async def _ask(self, slug: str) -> ServerDescription | None:
        try:
            if not self._relay.find(slug).route.asleep:
                async with asyncio.timeout(PATIENCE):
                    self._known[slug] = await self._relay.describe(slug, PATIENCE, None)
        except NotFound:
            self._known.pop(slug, None)
        except (PlatformError, RpcError, TimeoutError):
            pass  # what it said the last time holds
        return self._known.get(slug)


def _capabilities(known: Iterable[tuple[GroupMcp, ServerDescription]]) -> dict[str, Any]:
    """Give what any member offers that works through a group; tools in any case, for they may come."""
    offered: dict[str, Any] = {"tools": {"listChanged": True}}
    for mcp, server in known:
        theirs = server.raw.get("capabilities")
        if not isinstance(theirs, dict):
            continue
        for right in mcp.permissions:
            for name in _OF_RIGHT[right]:
                if name in theirs:
                    offered[name] = {"listChanged": True} if name in _CHANGING else {}
    return offered


def _instructions(group: GroupRoute, known: Iterable[tuple[GroupMcp, ServerDescription]]) -> str:
    parts = [group.description] if group.description else []
    parts += [
        f"{mcp.slug}: {server.raw['instructions']}"
        for mcp, server in known
        if isinstance(server.raw.get("instructions"), str)
    ]
    return "\n\n".join(parts)[:_LONGEST]
