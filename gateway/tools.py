"""Which tools servers have, for whoever needs their definitions: policies, groups, discovery, the bridge."""

from dataclasses import dataclass
from typing import Any

from gateway.listings import TOOLS, Listing, Listings
from gateway.relay import Relay


@dataclass(frozen=True, eq=False)
class ToolList(Listing):
    """The tools of one server."""

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        """The definitions by name, as the server wrote them."""
        return self.items


class ToolLists(Listings[ToolList]):
    """The tools of all servers, by slug: see `Listings` for how long they are kept."""

    def __init__(self, relay: Relay, grace: float) -> None:
        super().__init__(relay, TOOLS, ToolList, grace)
