"""Finds the service that has a tool, by the tool's name alone."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Final

from gateway.listings import FAILURES
from gateway.policy.table import Policies
from gateway.routes import LiveRoute, RouteTable
from gateway.tools import ToolList, ToolLists
from mcp_platform.contracts.access import Principal
from mcp_platform.errors import NotFound

READING: Final = 5.0
"""Seconds that services have to list their tools before they are left out."""
_AT_ONCE: Final = 16


class Finder:
    """An index of tools by name, which follows the lists as they change."""

    def __init__(self, routes: RouteTable, tools: ToolLists, policies: Policies) -> None:
        self._routes = routes
        self._tools = tools
        self._policies = policies
        self._slugs: defaultdict[str, set[str]] = defaultdict(set)
        self._names: dict[str, frozenset[str]] = {}
        self._end = tools.on_change(self._index)

    def close(self) -> None:
        """Follow the lists no more."""
        self._end()

    def visible(self, principal: Principal) -> list[LiveRoute]:
        """List the services that a caller may use, by name."""
        usable = [live for live in self._routes.all if principal.may_use(live.route.mcp_id)]
        return sorted(usable, key=lambda live: live.route.slug)

    async def find(self, principal: Principal, tool: str, timeout: float) -> LiveRoute | None:
        """Find the service that has a tool; of several the first by name that has a healthy instance.

        Services whose tools are not known yet are asked, but for those that sleep: looking for a name
        wakes nobody.
        """
        found = self._known(principal, tool)
        if found is None or not found.upstreams:
            await self._read_unknown(principal, timeout)
            found = self._known(principal, tool)
        return found

    async def lists(self, live: list[LiveRoute], timeout: float) -> dict[str, ToolList]:
        """Give the tools of these services, as far as they can be had in time."""
        turn = asyncio.Semaphore(_AT_ONCE)
        found: dict[str, ToolList] = {}

        async def read(slug: str) -> None:
            async with turn:
                with suppress(*FAILURES, TimeoutError):
                    async with asyncio.timeout(timeout):
                        found[slug] = await self._tools.read(slug, timeout)
            last = self._tools.known(slug)
            if slug not in found and last is not None:
                found[slug] = last

        asked = [
            each.route.slug for each in live if not each.route.asleep or self._tools.known(each.route.slug)
        ]
        await asyncio.gather(*(read(slug) for slug in asked))
        return found

    def may_know(self, principal: Principal, live: LiveRoute, tool: str) -> bool:
        """Tell whether the caller may call a tool of a service, by its policy."""
        return self._policies.of(live.route.mcp_id).visible(principal, tool)

    def _known(self, principal: Principal, tool: str) -> LiveRoute | None:
        spare = None
        for slug in sorted(self._slugs.get(tool, ())):
            try:
                live = self._routes.find(slug)
            except NotFound:
                continue
            if not principal.may_use(live.route.mcp_id) or not self.may_know(principal, live, tool):
                continue
            if live.upstreams:
                return live
            spare = spare or live
        return spare

    async def _read_unknown(self, principal: Principal, timeout: float) -> None:
        unknown = [
            live
            for live in self.visible(principal)
            if live.upstreams and self._tools.known(live.route.slug) is None
        ]
        await self.lists(unknown, min(timeout, READING))

    def _index(self, slug: str) -> None:
        listed = self._tools.known(slug)
        names = frozenset(listed.tools) if listed is not None else frozenset[str]()
        former = self._names.get(slug, frozenset())
        for name in former - names:
            self._slugs[name].discard(slug)
            if not self._slugs[name]:
                del self._slugs[name]
        for name in names - former:
            self._slugs[name].add(slug)
        if names:
            self._names[slug] = names
        else:
            self._names.pop(slug, None)
