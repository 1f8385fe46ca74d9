"""All that servers offer, by slug: tools, prompts, resources, templates. Servers tell when that changes."""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from gateway.listings import PROMPTS, RESOURCES, TEMPLATES, Kind, Listing, Listings
from gateway.relay import Relay
from gateway.tools import ToolLists
from gateway.upstreams.upstream import Upstream
from mcp_platform.errors import NotFound

log = structlog.get_logger(__name__)

TOOLS_CHANGED: Final = "notifications/tools/list_changed"
PROMPTS_CHANGED: Final = "notifications/prompts/list_changed"
RESOURCES_CHANGED: Final = "notifications/resources/list_changed"


class Catalogue:
    """The lists of all servers.

    Once anything was listed of a slug, its upstreams are watched: when one says that a list changed, that
    list is read anew. So are all that were read before the watch heard anything, as they may have changed
    meanwhile, and all when a replica is new, which may be of another version.
    """

    def __init__(self, relay: Relay, grace: float) -> None:
        self._relay = relay
        self.tools = ToolLists(relay, grace)
        self.prompts = self._listings(PROMPTS, grace)
        self.resources = self._listings(RESOURCES, grace)
        self.templates = self._listings(TEMPLATES, grace)
        self._forgetters: dict[str, tuple[Callable[[str], None], ...]] = {
            TOOLS_CHANGED: (self.tools.forget,),
            PROMPTS_CHANGED: (self.prompts.forget,),
            RESOURCES_CHANGED: (self.resources.forget, self.templates.forget),
        }
        self._seen: dict[str, frozenset[UUID]] = {}
        """By slug: the replicas that were there when it was looked at last."""
        self._watching: dict[str, dict[Upstream, asyncio.Task[None]]] = {}
        for lists in (self.tools, self.prompts, self.resources, self.templates):
            lists.on_read(self._watch)

    def _listings(self, kind: Kind, grace: float) -> Listings[Listing]:
        return Listings(self._relay, kind, Listing, grace)

    def on_change(self, listener: Callable[[str, str], None]) -> None:
        """Tell the listener which slug's list is another, and by which notification clients hear of that."""
        self.tools.on_change(lambda slug: listener(slug, TOOLS_CHANGED))
        self.prompts.on_change(lambda slug: listener(slug, PROMPTS_CHANGED))
        self.resources.on_change(lambda slug: listener(slug, RESOURCES_CHANGED))
        self.templates.on_change(lambda slug: listener(slug, RESOURCES_CHANGED))

    def told(self, slug: str) -> bool:
        """Whether all servers of a slug tell when their lists change."""
        watched = self._watching.get(slug, {})
        return bool(watched) and not any(task.done() for task in watched.values())

    def route_changed(self, slug: str) -> None:
        """Take note that a slug's replicas are others, or that it is gone."""
        try:
            live = self._relay.find(slug)
        except NotFound:
            self._seen.pop(slug, None)
            self._watching.pop(slug, None)
            self._forget(slug)
            return
        present = frozenset(upstream.address.replica_id for upstream in live.upstreams)
        if slug in self._seen and present != self._seen[slug] and not live.route.asleep:
            self._forget(slug)
            self._watch(slug)

    async def close(self) -> None:
        """Give up what is being read and watched."""
        tasks = [task for watched in self._watching.values() for task in watched.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lists in (self.tools, self.prompts, self.resources, self.templates):
            await lists.close()

    def _forget(self, slug: str) -> None:
        for lists in (self.tools, self.prompts, self.resources, self.templates):
            lists.forget(slug)

    def _watch(self, slug: str) -> None:
        """Watch all upstreams of a slug that are not watched yet."""
        try:
            upstreams = self._relay.find(slug).upstreams
        except NotFound:
            return
        self._seen[slug] = frozenset(upstream.address.replica_id for upstream in upstreams)
        known = self._watching.get(slug, {})
        # A watch ends by itself when its upstream is closed.
        watched = {upstream: task for upstream, task in known.items() if not task.done()}
        for upstream in upstreams:
            if upstream not in watched:
                watched[upstream] = asyncio.create_task(self._watch_one(slug, upstream))
        self._watching[slug] = watched

    async def _watch_one(self, slug: str, upstream: Upstream) -> None:
        def changed(method: str) -> None:
            for forget in self._forgetters.get(method, ()):
                forget(slug)

        try:
            await upstream.watch(changed)
        except Exception:
            log.exception("upstream_not_watched", slug=slug)
