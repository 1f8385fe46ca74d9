"""The tools of all servers, found by what they are for: only those that the caller may call."""

import asyncio
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import structlog

from gateway.catalogue import Catalogue
from gateway.discovery.glossary import glossary
from gateway.discovery.index import IndexedTool, Match, ToolIndex
from gateway.discovery.texts import Question, question_of, text_of
from gateway.groups.names import Names, Origin
from gateway.listings import FAILURES, KEPT
from gateway.policy.table import Policies
from gateway.routes import LiveRoute, RouteTable
from gateway.tools import ToolList
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.discovery import ToolFound
from mcp_platform.errors import NotFound
from storage.knowledge.built_in import embed_built_in
from storage.knowledge.models import Vectors

log = structlog.get_logger(__name__)

_READING: Final = 10.0
"""Seconds that one server's list may take."""
_PATIENCE: Final = 2.0
"""Seconds that the first who asks waits for servers that have not been asked yet."""
_AT_ONCE: Final = 16
"""Servers that are asked at the same time."""
_PAUSE: Final = 0.05
"""Seconds in which several changes become one index."""
_LONGEST_QUERY: Final = 1_000


@dataclass(frozen=True)
class FoundTool:
    """A tool that somebody may call, under the name by which the smart endpoint calls it."""

    shown: str
    slug: str
    mcp_id: UUID
    tool: dict[str, Any]
    score: float = 1.0

    def told(self) -> ToolFound:
        """Give it as the API tells of it."""
        title, schema = self.tool.get("title"), self.tool.get("inputSchema")
        return ToolFound(
            name=self.shown,
            tool=self.tool["name"],
            slug=self.slug,
            mcp_id=self.mcp_id,
            title=title if isinstance(title, str) else None,
            description=str(self.tool.get("description") or ""),
            input_schema=schema if isinstance(schema, dict) else {},
            score=self.score,
        )


class Discovery:
    """Searches the tools of all servers.

    Nothing is read before somebody asks. From then on the lists of all servers that are awake are known,
    and the index follows them. A server that sleeps is not woken to be searched: its tools are those
    that it listed while it was awake.
    """

    def __init__(self, catalogue: Catalogue, routes: RouteTable, policies: Policies) -> None:
        self._catalogue = catalogue
        self._lists = lists = catalogue.tools
        self._routes = routes
        self._policies = policies
        self._indexed: dict[str, tuple[str, list[IndexedTool]]] = {}
        self._index = ToolIndex({})
        self._names: Names | None = None
        self._dirty: set[str] = set()
        self._changes = self._taken_in = 0
        self._changed = asyncio.Event()
        self._settled = asyncio.Condition()
        self._asked = False
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._reading: dict[str, tuple[asyncio.Task[None], float]] = {}
        """By slug: the reading that is under way, and when it began."""
        lists.on_change(self._list_changed)
        routes.on_change(self._route_changed)

    async def search(self, caller: Principal, query: str, limit: int) -> list[FoundTool]:
        """Find the tools that suit best what is asked for, in English or Chinese, the best first."""
        await self._ready()
        question, vector = await asyncio.to_thread(read_question, query[:_LONGEST_QUERY])
        usable = {live.route.slug: live for live in self._usable(caller)}

        def visible(slug: str, name: str) -> bool:
            return self._policies.of(usable[slug].route.mcp_id).visible(caller, name)

        matches = self._index.search(question, vector, usable, visible, limit)
        return [
            found
            for match in matches
            if (found := self._found(match, usable[match.slug].route.mcp_id)) is not None
        ]

    async def find(self, caller: Principal, name: str) -> FoundTool | None:
        """Find a tool by its name, or by `{slug}__{name}`.

        Of several servers that have a tool of this name, those come first whose replicas are up, then the
        one whose slug comes first in the alphabet.
        """
        found = self._named(caller, name)
        if found is None:
            await self._ready()
            found = self._named(caller, name)
        return found

    def left_out(self, caller: Principal, name: str) -> LiveRoute | None:
        """Find the server without a replica that had a tool of this name, which the caller might call."""
        origin = self._all_names().find(name)
        for live in sorted(self._routes.all, key=lambda live: live.route.slug):
            slug, mcp_id = live.route.slug, live.route.mcp_id
            if live.upstreams or live.route.asleep or not caller.may_use(mcp_id):
                continue
            if origin is not None and origin.slug != slug:
                continue
            tool = name if origin is None else origin.name
            listed = self._lists.last(slug)
            had = listed is not None and tool in listed.tools
            if had and self._policies.of(mcp_id).visible(caller, tool):
                return live
        return None

    async def similar(self, caller: Principal, name: str, limit: int) -> list[str]:
        """Name tools that somebody may have meant who asked for one that there is not."""
        by_name = [
            shown
            for shown in self._all_names().similar(name)
            if (origin := self._all_names().find(shown)) is not None
            and self._for_caller(caller, origin) is not None
        ]
        by_meaning = [found.shown for found in await self.search(caller, name, limit)]
        return list(dict.fromkeys([*by_name, *by_meaning]))[:limit]

    async def run(self) -> None:
        """Keep the index in step with the lists; runs until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_PAUSE)
            self._changed.clear()
            changes = self._changes
            try:
                await self._take_in()
            except Exception:
                # What there was is still searched, and the next change is taken in.
                log.exception("tool_index_not_refreshed")
            async with self._settled:
                self._taken_in = changes
                self._settled.notify_all()

    async def close(self) -> None:
        """Give up what is being read."""
        tasks = [task for task, _ in self._reading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ready(self) -> None:
        """See to it that the lists of all servers are known, or being read for a while already."""
        if not self._asked:
            self._asked = True
            self._changed.set()
        now = time.monotonic()
        for live in self._routes.all:
            self._read_if_due(live, now)
        young = [task for task, began in self._reading.values() if now - began < _PATIENCE]
        if young:
            await asyncio.wait(young, timeout=_PATIENCE)
        changes = self._changes
        if self._taken_in < changes:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE), self._settled:
                    await self._settled.wait_for(lambda: self._taken_in >= changes)

    def _read_if_due(self, live: LiveRoute, now: float) -> None:
        """Begin to read a list that is not known; or an old one of a server that does not tell of changes."""
        slug = live.route.slug
        if not live.upstreams or slug in self._reading:
            return
        listed = self._lists.last(slug)
        failing = self._lists.failing(slug) is not None
        if listed is None or failing or (now - listed.read_at > KEPT and not self._catalogue.told(slug)):
            task = asyncio.create_task(self._read(slug))
            # Who failed the last time is waited for by nobody.
            self._reading[slug] = task, -math.inf if failing or listed is not None else now
            task.add_done_callback(lambda _: self._reading.pop(slug, None))

    async def _read(self, slug: str) -> None:
        async with self._gate:
            with suppress(*FAILURES):  # its tools are found once it answers
                await self._lists.read(slug, _READING)

    def _named(self, caller: Principal, name: str) -> FoundTool | None:
        origin = self._all_names().find(name)
        if origin is not None:
            return self._for_caller(caller, origin)
        candidates = [live for live in self._usable(caller) if self._has(live.route.slug, name)]
        candidates.sort(key=lambda live: (not live.upstreams, live.route.slug))
        found = (self._for_caller(caller, Origin(live.route.slug, name)) for live in candidates)
        return next((each for each in found if each is not None), None)

    def _usable(self, caller: Principal) -> Iterable[LiveRoute]:
        """List the servers that could be called now, or woken, and that the caller may use."""
        for live in self._routes.all:
            if (live.upstreams or live.route.asleep) and caller.may_use(live.route.mcp_id):
                yield live

    def _for_caller(self, caller: Principal, origin: Origin) -> FoundTool | None:
        try:
            live = self._routes.find(origin.slug)
        except NotFound:
            return None
        listed = self._listed(origin.slug)
        tool = listed.tools.get(origin.name) if listed is not None else None
        mcp_id = live.route.mcp_id
        if tool is None or not caller.may_use(mcp_id) or not (live.upstreams or live.route.asleep):
            return None
        if not self._policies.of(mcp_id).visible(caller, origin.name):
            return None
        return FoundTool(self._shown(origin), origin.slug, mcp_id, tool)

    def _found(self, match: Match, mcp_id: UUID) -> FoundTool | None:
        listed = self._listed(match.slug)
        tool = listed.tools.get(match.name) if listed is not None else None
        if tool is None:
            return None
        return FoundTool(self._shown(Origin(match.slug, match.name)), match.slug, mcp_id, tool, match.score)

    def _listed(self, slug: str) -> ToolList | None:
        return self._lists.known(slug)

    def _has(self, slug: str, name: str) -> bool:
        listed = self._listed(slug)
        return listed is not None and name in listed.tools

    def _shown(self, origin: Origin) -> str:
        return self._all_names().shown(origin.slug, origin.name)

    def _all_names(self) -> Names:
        """Give the names of all servers' tools: the same for every caller."""
        if self._names is None:
            lists = sorted((live.route.slug, self._lists.last(live.route.slug)) for live in self._routes.all)
            self._names = Names([(slug, list(listed.tools) if listed else []) for slug, listed in lists])
        return self._names

    def _list_changed(self, slug: str) -> None:
        self._names = None
        self._dirty.add(slug)
        self._changes += 1
        if self._asked:
            self._changed.set()

    def _route_changed(self, slug: str) -> None:
        self._names = None
        if self._asked and slug not in self._indexed:
            with suppress(NotFound):
                self._read_if_due(self._routes.find(slug), time.monotonic())

    async def _take_in(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for slug in dirty:
            listed = self._lists.last(slug)
            known = self._indexed.get(slug)
            if listed is None:
                self._indexed.pop(slug, None)
            elif known is None or known[0] != listed.digest:
                tools = await asyncio.to_thread(indexed_tools, slug, list(listed.tools.values()))
                self._indexed[slug] = listed.digest, tools
        servers = {slug: tools for slug, (_, tools) in self._indexed.items()}
        self._index = await asyncio.to_thread(ToolIndex, servers)


def read_question(query: str) -> tuple[Question, Vectors]:
    """Read a query, and give its vector."""
    question = question_of(query, glossary())
    vector: Vectors = embed_built_in([question.meaning])[0]
    return question, vector


def indexed_tools(slug: str, tools: list[dict[str, Any]]) -> list[IndexedTool]:
    """Make a server's tools ready for the search."""
    texts = [text_of(slug, tool, glossary()) for tool in tools]
    if not texts:
        return []
    vectors = embed_built_in([text.meaning for text in texts]).astype(np.float16)
    return [
        IndexedTool(str(tool["name"]), text.terms, vector.tobytes())
        for tool, text, vector in zip(tools, texts, vectors, strict=True)
    ]
