"""Which endpoints' lists have changed, for the clients that want to hear of it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final
from uuid import UUID

from gateway.catalogue import PROMPTS_CHANGED, RESOURCES_CHANGED, TOOLS_CHANGED, Catalogue
from gateway.groups.table import GroupTable

Notify = Callable[[dict[str, Any]], Awaitable[None]]

LISTS: Final = (TOOLS_CHANGED, PROMPTS_CHANGED, RESOURCES_CHANGED)


class _Follower:
    """What one client was not told yet."""

    def __init__(self, methods: Collection[str], regrouped: asyncio.Event | None) -> None:
        self.methods = methods
        self.regrouped = regrouped
        self.pending: list[str] = []
        self.told = asyncio.Event()

    def tell(self, method: str) -> None:
        if method in self.methods and method not in self.pending:
            self.pending.append(method)
            self.told.set()


class News:
    """Tells clients that a list of their endpoint is another: a slug's, or a group's."""

    def __init__(self, catalogue: Catalogue, groups: GroupTable) -> None:
        self._groups = groups
        self._followers: dict[str, set[_Follower]] = {}
        catalogue.on_change(self._list_changed)
        groups.on_change(self._group_changed)

    async def follow(
        self,
        endpoint: str,
        notify: Notify,
        regrouped: asyncio.Event | None = None,
        *,
        methods: Collection[str] = LISTS,
        first: dict[str, Any] | None = None,
    ) -> None:
        """Send a notification whenever a list of this endpoint has changed; runs until cancelled.

        Args:
            endpoint: Whose lists these are.
            notify: Sends it.
            regrouped: Set whenever the endpoint's group is another than it was.
            methods: The notifications that are wanted.
            first: Sent before all others; what changes from before it was sent on is told after it.
        """
        follower = _Follower(methods, regrouped)
        followers = self._followers.setdefault(endpoint, set())
        followers.add(follower)
        try:
            if first is not None:
                await notify(first)
            while True:
                await follower.told.wait()
                follower.told.clear()
                while follower.pending:
                    await notify({"jsonrpc": "2.0", "method": follower.pending.pop(0)})
        finally:
            followers.discard(follower)
            if not followers and self._followers.get(endpoint) is followers:
                del self._followers[endpoint]

    def policy_changed(self, mcp_id: UUID) -> None:
        """Take note that other tools of an MCP may be called."""
        for name in self._groups.with_mcp(mcp_id):
            self._tell(f"group/{name}", TOOLS_CHANGED)

    def _list_changed(self, slug: str, method: str) -> None:
        self._tell(slug, method)
        for name in self._groups.with_slug(slug):
            self._tell(f"group/{name}", method)

    def _group_changed(self, name: str) -> None:
        for follower in self._followers.get(f"group/{name}", ()):
            if follower.regrouped is not None:
                follower.regrouped.set()
        for method in LISTS:
            self._tell(f"group/{name}", method)

    def _tell(self, endpoint: str, method: str) -> None:
        for follower in self._followers.get(endpoint, ()):
            follower.tell(method)
