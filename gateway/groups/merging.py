"""The lists of a group's members as one list."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.listings import FAILURES, Listing, Listings
from mcp_platform.contracts.groups import GroupMcp, MemberState
from mcp_platform.errors import NotFound
from mcp_platform.wire import RpcError

L = TypeVar("L", bound=Listing)
N = TypeVar("N")
T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds that a list waits for a member whose part has not been read lately."""
_IMPATIENCE: Final = 0.05
"""The same for a member that did not answer the last time."""


@dataclass(frozen=True)
class Part(Generic[L]):
    """What one member adds to a list."""

    mcp: GroupMcp
    listing: L | None
    """None: it is left out."""
    trouble: str | None = None
    """Why it is left out, or why its part may be old."""

    @property
    def state(self) -> MemberState:
        """How the member takes part."""
        if self.listing is None:
            return MemberState.LEFT_OUT
        return MemberState.LISTED if self.trouble is None else MemberState.STALE


async def gather(lists: Listings[L], mcps: Sequence[GroupMcp]) -> list[Part[L]]:
    """Read the members' lists side by side; a member that is slow or dead holds up nobody for long."""
    return list(await asyncio.gather(*(_part(lists, mcp) for mcp in mcps)))


async def _part(lists: Listings[L], mcp: GroupMcp) -> Part[L]:
    patience = PATIENCE if lists.failing(mcp.slug) is None else _IMPATIENCE
    try:
        listing = await lists.read(mcp.slug, patience)
    except NotFound:
        return Part(mcp, None, "it is not deployed")
    except FAILURES as error:
        return Part(mcp, None, explain(error))
    trouble = lists.failing(mcp.slug)
    return Part(mcp, listing, None if trouble is None else explain(trouble))


def explain(error: Exception) -> str:
    """Say what went wrong, in few words."""
    text = error.message if isinstance(error, RpcError) else str(getattr(error, "detail", error))
    return text[:300]


class Namings(Generic[L, N]):
    """The names of one kind of item in each group, worked out anew when a member's list is another.

    The last known list of a member counts even while it is left out: its death renames nothing.
    """

    def __init__(self, lists: Listings[L], make: Callable[[Sequence[tuple[str, Sequence[str]]]], N]) -> None:
        self._lists = lists
        self._make = make
        self._made: dict[str, tuple[tuple[tuple[str, str], ...], N]] = {}

    def of(self, group: str, mcps: Sequence[GroupMcp]) -> N:
        """Give the names in a group that has these members."""
        known = [(mcp.slug, self._lists.last(mcp.slug)) for mcp in mcps]
        state = tuple((slug, listing.digest if listing else "") for slug, listing in known)
        made = self._made.get(group)
        if made is None or made[0] != state:
            made = state, self._make([(slug, list(x.items) if x else []) for slug, x in known])
            self._made[group] = made
        return made[1]

    async def find(self, group: str, mcps: Sequence[GroupMcp], look: Callable[[N], T | None]) -> T | None:
        """Look something up; if it is not there, once more when all members' lists were read."""
        found = look(self.of(group, mcps))
        if found is None and any(self._lists.last(mcp.slug) is None for mcp in mcps):
            await gather(self._lists, mcps)
            found = look(self.of(group, mcps))
        return found

    def forget(self, group: str) -> None:
        """Drop what is kept of a group."""
        self._made.pop(group, None)
