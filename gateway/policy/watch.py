"""Watches whether the replicas still define their pinned tools as they were pinned."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog

from gateway.listings import FAILURES
from gateway.policy.pins import Pins
from gateway.policy.readings import offered
from gateway.policy.table import Policies
from gateway.requests import RelayedRequest
from gateway.routes import LiveRoute
from gateway.tools import ToolLists
from gateway.upstreams.connection import Unreachable
from gateway.upstreams.legs import Spawn
from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.policies import Offer, Pin, definition_digest
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from storage.sql.audit import AuditLog
from storage.stores import Stores

log = structlog.get_logger(__name__)

_PATIENCE: Final = 5.0
"""Seconds that a replica has to list its tools before a call goes on without."""
_PAUSE: Final = 2.0
"""Seconds after which a replica that did not is asked again."""
_NOT_READ: Final = (*FAILURES, Unreachable)
"""How the reading of one replica's list ends without it."""

Routes = Callable[[], Iterable[LiveRoute]]


class PinWatch:
    """Compares what each replica offers with what was pinned.

    Every replica before it is asked by a call of a pinned tool for the first time, all of them when a
    list changes, and at every interval, for servers that do not tell. What differs is quarantined here
    at once, and everywhere by a record, which also stands in the audit log.
    """

    def __init__(
        self,
        stores: Stores,
        audit: AuditLog,
        policies: Policies,
        tool_lists: ToolLists,
        routes: Routes,
        spawn: Spawn,
    ) -> None:
        self._stores = stores
        self._audit = audit
        self._policies = policies
        self._tool_lists = tool_lists
        self._routes = routes
        self._spawn = spawn
        self._reading: dict[tuple[UUID, Pins], asyncio.Task[None]] = {}
        self._failed: dict[UUID, float] = {}

    def open(self) -> None:
        """Hear of changed lists and policies, and of questions, from now on."""
        self._tool_lists.on_change(self._list_changed)
        self._tool_lists.on_read(self._list_read)
        self._policies.on_change(self._policy_changed)
        self._policies.on_question(lambda mcp_id, question: self._spawn(self._tell(mcp_id, question)))

    async def run(self, interval: float) -> None:
        """Compare all replicas at every interval; runs until cancelled."""
        while True:
            await asyncio.sleep(interval)
            self._failed.clear()
            for live in self._routes():
                pins = self._policies.of(live.route.mcp_id).pins
                if pins is not None:
                    pins.forget_others(each.address.replica_id for each in live.upstreams)
                    if pins.listed_formerly:
                        self._tool_lists.forget(live.route.slug)
                    await self._compare_all(live, pins, live.upstreams)

    async def close(self) -> None:
        """Give up what is being compared."""
        reading = list(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    async def check(self, live: LiveRoute, pins: Pins, request: RelayedRequest) -> None:
        """See to it that all replicas were compared, as far as they can be asked."""
        left = [each for each in live.upstreams if each.address.replica_id not in pins.seen]
        if left:
            await self._compare_all(live, pins, left, _own_headers(request))

    async def confirm(self, live: LiveRoute, pins: Pins, request: RelayedRequest) -> None:
        """See to it that the replica which has answered was compared.

        Raises:
            Unavailable: It cannot be.
        """
        replica_id = request.replica_id
        if replica_id in pins.seen:
            return
        left = [each for each in live.upstreams if each.address.replica_id == replica_id]
        await self._compare_all(live, pins, left, _own_headers(request))
        if replica_id not in pins.seen:
            slug = live.route.slug
            raise Unavailable(
                f"A replica of {slug!r} does not tell whether its tools are as they were pinned", part=slug
            )

    def note(
        self,
        live: LiveRoute,
        pins: Pins,
        tools: Iterable[tuple[str, dict[str, Any]]],
        replica_id: UUID | None,
    ) -> None:
        """Quarantine what differs among tools that a replica has just listed; None: some replica."""
        for pin, definition in pins.compare(tools, replica_id):
            log.warning("tool_quarantined", slug=live.route.slug, tool=pin.tool)
            self._spawn(self._record(live.route.slug, pin, definition))

    async def _compare_all(
        self,
        live: LiveRoute,
        pins: Pins,
        upstreams: Iterable[Upstream],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        begun = (self._compare(live, pins, upstream, headers) for upstream in upstreams)
        readings = [each for each in begun if each]
        if readings:
            await asyncio.wait(readings, timeout=_PATIENCE)

    def _compare(
        self, live: LiveRoute, pins: Pins, upstream: Upstream, headers: Mapping[str, str] | None
    ) -> asyncio.Task[None] | None:
        """Begin to compare one replica, unless somebody does, or has just failed."""
        replica_id, generation = upstream.address.replica_id, pins.generation
        known = self._reading.get((replica_id, pins))
        if known is not None:
            return known
        if not headers and time.monotonic() - self._failed.get(replica_id, -_PAUSE) < _PAUSE:
            return None

        async def compare() -> None:
            try:
                tools = await offered(upstream, _PATIENCE, headers)
            except _NOT_READ as error:
                self._failed[replica_id] = time.monotonic()
                log.warning("pins_not_compared", slug=live.route.slug, error=str(error))
            else:
                pins.read_anew(replica_id)
                self.note(live, pins, tools.items(), replica_id)
                if pins.generation == generation:
                    pins.seen.add(replica_id)

        task = self._reading[replica_id, pins] = asyncio.create_task(compare())
        task.add_done_callback(lambda _: self._reading.pop((replica_id, pins), None))
        return task

    async def _record(self, slug: str, pin: Pin, definition: dict[str, Any]) -> None:
        digest, now = definition_digest(definition), datetime.now(UTC)
        try:
            async with self._stores.write() as rows:
                mcp = await rows.mcps.get(pin.mcp_id)
                recorded = await rows.policies.quarantine(pin, digest, definition, now)
            if mcp is None or not recorded:
                return  # another process was first, or somebody has decided
            await self._stores.publish(Channel.POLICIES, {"mcp_id": str(pin.mcp_id)})
            data = {"mcp_id": str(pin.mcp_id), "slug": slug, "tool": pin.tool, "changed_digest": digest}
            told = Event(type=EventType.TOOL_QUARANTINED, owner_id=mcp.author_id, data=data)
            await self._stores.publish(Channel.EVENTS, told)
            await self._audit.append([_entry(pin, digest, slug, now)])
        except Unavailable as error:
            log.warning("quarantine_not_recorded", slug=slug, tool=pin.tool, error=str(error))

    def _list_changed(self, slug: str) -> None:
        for live in self._routes():
            if live.route.slug == slug:
                self._look_again(live)

    def _list_read(self, slug: str) -> None:
        """Compare what was read before anybody is shown it; in the background, what other replicas offer."""
        known = self._tool_lists.known(slug)
        for live in self._routes():
            pins = self._policies.of(live.route.mcp_id).pins if live.route.slug == slug else None
            if pins is not None:
                pins.forget_others(each.address.replica_id for each in live.upstreams)
                if known is not None:
                    pins.read_anew(None)
                    self.note(live, pins, known.tools.items(), None)
                self._spawn(self._compare_all(live, pins, live.upstreams))

    def _policy_changed(self, mcp_id: UUID) -> None:
        for live in self._routes():
            if live.route.mcp_id == mcp_id:
                self._look_again(live)

    def _look_again(self, live: LiveRoute) -> None:
        pins = self._policies.of(live.route.mcp_id).pins
        if pins is not None:
            pins.look_again()
            self._spawn(self._compare_all(live, pins, live.upstreams))

    async def _tell(self, mcp_id: UUID, question: str) -> None:
        """Answer what an MCP's replicas offer; a gateway that knows no route to it leaves it to others."""
        live = next((each for each in self._routes() if each.route.mcp_id == mcp_id), None)
        if live is None:
            return
        if not live.upstreams:
            with suppress(*FAILURES):
                await self._tool_lists.read(live.route.slug, 2 * _PATIENCE)
        await self._stores.definitions.answer(question, await _offer(live.upstreams))


def _own_headers(request: RelayedRequest) -> dict[str, str]:
    """Give what a server wants to see of this caller; parameters of the call are none of a list's."""
    return {name: value for name, value in request.headers.items() if not name.startswith("mcp-param-")}


async def _offer(upstreams: list[Upstream]) -> Offer:
    asked: list[Coroutine[Any, Any, dict[str, dict[str, Any]]]] = [offered(u, _PATIENCE) for u in upstreams]
    found: list[dict[str, dict[str, Any]]] = []
    problem = "no replica is healthy"
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(outcome, Unreachable):
            problem = "the MCP server cannot be reached"  # at which address is for operators
        elif isinstance(outcome, FAILURES):
            problem = str(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            found.append(outcome)
    if not found:
        return Offer(problem=problem)
    names = {name for tools in found for name in tools}
    differing = [
        name
        for name in sorted(names)
        if len({definition_digest(t[name]) if name in t else None for t in found}) > 1
    ]
    return Offer(tools=found[0], differing=differing)


def _entry(pin: Pin, digest: str, slug: str, now: datetime) -> AuditEvent:
    return AuditEvent(
        at=now,
        actor_name="platform",
        action="policies.quarantine",
        resource_type="pin",
        resource_id=f"{pin.mcp_id}/{pin.tool}",
        outcome=AuditOutcome.SUCCESS,
        status=0,
        details={"slug": slug, "pinned_digest": pin.digest, "changed_digest": digest},
    )
