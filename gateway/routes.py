"""Which replicas serve a slug: a table in memory that pub/sub keeps fresh."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol
from uuid import UUID

import structlog
from redis.asyncio import Redis

from gateway.balancing.balancer import Balancer
from gateway.balancing.capacity import Capacity, Gate
from gateway.balancing.member import Condition, Member
from gateway.requests import RelayedRequest
from gateway.tally import Tally
from gateway.upstreams.legs import Spawn
from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.balancing import Algorithm, Balancing, CallLimits
from mcp_platform.contracts.deployments import Route, UpstreamAddress
from mcp_platform.contracts.loads import DeploymentLoad
from mcp_platform.errors import NotFound, Unavailable
from mcp_platform.names import Channel
from storage.cache import listen
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database

log = structlog.get_logger(__name__)

OpenUpstream = Callable[[Route, UpstreamAddress], Upstream]

Announce = Callable[[], Awaitable[None]]
"""Tells everybody to which replicas calls may go: what `in_flight` names."""


class Terms(Protocol):
    """What an MCP's policy says of its calls."""

    @property
    def balancing(self) -> Balancing:
        """How they are spread."""
        ...

    @property
    def limits(self) -> CallLimits:
        """How many there may be at once, and how large."""
        ...


class LiveRoute:
    """A slug's route with its upstreams, and what its calls have to wait for."""

    def __init__(self, route: Route, upstreams: list[Upstream], balancer: Balancer, gate: Gate) -> None:
        self.route = route
        self.upstreams = upstreams
        self.tally = Tally()
        self.balancer = balancer
        self.gate = gate
        self.body_limit = 0
        """The size of the largest body that a request may have."""
        self.asleep_at = time.monotonic() if route.asleep else -math.inf
        """When it was seen to be scaled to zero last."""
        self.lost_at = -math.inf if upstreams else time.monotonic()
        """When its last upstream went; perhaps a moment ago where it had none when it was seen first."""
        self._changed = asyncio.Event()
        balancer.put(upstreams, route.weights)
        balancer.look(time.monotonic())

    def put(self, route: Route, upstreams: list[Upstream]) -> None:
        """Take over what is true now, and tell whoever waits for a change."""
        if self.route.asleep or route.asleep:
            self.asleep_at = time.monotonic()
        if self.upstreams and not upstreams:
            self.lost_at = time.monotonic()
        if upstreams and not self.upstreams:
            self.tally.touch()
        if self.upstreams != upstreams or self.route.weights != route.weights:
            self.balancer.put(upstreams, route.weights)
        self.balancer.look(time.monotonic())
        self.route, self.upstreams = route, upstreams
        self.tell()

    def load(self) -> DeploymentLoad:
        """Tell how busy it is; without a replica it is not idle, but starting."""
        load = self.tally.load(self.route.deployment_id)
        return load if self.upstreams else load.model_copy(update={"idle": 0.0})

    def state(self) -> list[Condition]:
        """Tell how each replica fares, as this gateway sees it."""
        return self.balancer.conditions(time.monotonic())

    def tell(self) -> None:
        """Let those go on who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, timeout: float) -> None:
        """Wait until the route is another, or for this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()

    def choose(self, request: RelayedRequest, now: float) -> Member:
        """Choose the replica for a request: the one that holds its session's state, while that is well.

        Raises:
            Unavailable: There is none, or the calls of all have failed lately.
        """
        session = request.session
        prefer = session.replicas.get(request.slug) if session is not None and session.replicas else None
        member = self.balancer.pick(request, now, prefer)
        if member is None:
            raise self.unavailable(now)
        return member

    def pick(self, prefer: UUID | None = None) -> Upstream:
        """Choose an upstream for what is no call: the preferred one while it is there, else the least busy.

        Raises:
            Unavailable: There is none, or the calls of all have failed lately.
        """
        for upstream in self.upstreams if prefer is not None else ():
            if upstream.address.replica_id == prefer:
                return upstream
        now = time.monotonic()
        member = self.balancer.other((), now)
        if member is None:
            raise self.unavailable(now)
        return member.upstream

    def unavailable(self, now: float) -> Unavailable:
        """Make the error of a call for which there is no replica."""
        slug = self.route.slug
        if not self.upstreams and self.route.offline:
            return Unavailable(
                f"All healthy replicas of {slug!r} were taken offline", part=slug, retry_after=2
            )
        if not self.upstreams:
            return Unavailable(f"No healthy replica of {slug!r} right now", part=slug, retry_after=2)
        wait = max(math.ceil(self.balancer.opens_in(now)), 1)
        return Unavailable(
            f"The calls of all replicas of {slug!r} failed lately; it is tried again in {wait} s",
            part=slug,
            retry_after=wait,
        )


class RouteTable:
    """All routes.

    Reads follow one another under a lock, so an older reading never replaces a newer one. Replicas that
    are new are announced, and the routes then read once more, before any call goes there: whoever ends a
    replica records that first and looks for announcements then, so one of the two sees the other.

    Args:
        patience: Seconds that an upstream which left has for its calls in flight.
        left: Told when an upstream left, and when the last call there has ended.
        terms: Gives what an MCP's policy says of its calls.
        default: How calls are spread where it does not say.
    """

    def __init__(
        self,
        database: Database,
        open_upstream: OpenUpstream,
        announce: Announce,
        spawn: Spawn,
        patience: float,
        left: Callable[[], None],
        terms: Callable[[UUID], Terms],
        capacity: Capacity,
        default: Algorithm,
    ) -> None:
        self._database = database
        self._open_upstream = open_upstream
        self._announce = announce
        self._spawn = spawn
        self._patience = patience
        self._left = left
        self._terms = terms
        self._capacity = capacity
        self._default = default
        self._routes: dict[str, LiveRoute] = {}
        self._leaving: set[Upstream] = set()
        self._announced: set[UUID] = set()
        """Replicas that are named while routes are read, whatever becomes of them."""
        self._reading = asyncio.Lock()
        self._listeners: list[Callable[[str], None]] = []

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Tell the listener each slug whose route was read, or is gone."""
        self._listeners.append(listener)

    def find(self, slug: str) -> LiveRoute:
        """Find the route of a slug.

        Raises:
            NotFound: Nothing is deployed under it.
        """
        live = self._routes.get(slug)
        if live is None:
            raise NotFound("mcp_tool", slug, f"No MCP is deployed as {slug!r}, or its deployment is stopped")
        return live

    @property
    def default_algorithm(self) -> Algorithm:
        """How calls are spread where an MCP's policy does not say; holds at once when it is set."""
        return self._default

    @default_algorithm.setter
    def default_algorithm(self, algorithm: Algorithm) -> None:
        if algorithm is not self._default:
            self._default = algorithm
            for live in self.all:
                self._configure(live)

    def govern(self, mcp_id: UUID) -> None:
        """Go by an MCP's policy as it is now."""
        for live in self.all:
            if live.route.mcp_id == mcp_id:
                self._configure(live)

    @property
    def all(self) -> list[LiveRoute]:
        """All routes."""
        return list(self._routes.values())

    def in_flight(self) -> dict[UUID, int]:
        """Count the requests at each replica that calls may go to, or that still has some."""
        counts = Counter(dict.fromkeys(self._announced, 0))
        for upstream in [*(u for live in self.all for u in live.upstreams), *self._leaving]:
            counts[upstream.address.replica_id] += upstream.active
        return dict(counts)

    async def refresh(self, slug: str | None = None) -> None:
        """Read one slug's route anew, or all."""
        async with self._reading:
            try:
                self._replace(await self._read(slug), slug)
            finally:
                self._announced = set()

    async def follow(self, cache: Redis) -> None:
        """Read anew whatever a message names; runs until cancelled."""
        async for message in listen(cache, Channel.ROUTES):
            slug = message.data.get("slug") if message.channel is not None else None
            await self._refresh_or_log(slug)

    async def refresh_forever(self, interval: float) -> None:
        """Read all routes at every interval, in case a message was lost; runs until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self._refresh_or_log(None)

    async def close(self) -> None:
        """Close all upstreams."""
        upstreams = [*(u for live in self.all for u in live.upstreams), *self._leaving]
        for live in self.all:
            live.balancer.close()
        self._routes.clear()
        self._leaving.clear()
        for upstream in upstreams:
            await upstream.close()

    async def _refresh_or_log(self, slug: str | None) -> None:
        try:
            await self.refresh(slug)
        except Exception:
            # Whatever it was, the routes we have are better than none, and we ask again.
            log.exception("routes_not_read", slug=slug)

    async def _read(self, slug: str | None) -> dict[str, Route]:
        """Read until every replica is one that was announced before the reading began."""
        self._announced = set(self.in_flight())
        while True:
            async with self._database.read() as session:
                found = {route.slug: route for route in await DeploymentRepository(session).routes(slug)}
            new = {a.replica_id for route in found.values() for a in route.upstreams} - self._announced
            if not new:
                return found
            self._announced |= new
            await self._announce()

    def _replace(self, found: dict[str, Route], slug: str | None) -> None:
        gone = [known for known in self._routes if known not in found and (slug is None or known == slug)]
        dropped: list[Upstream] = []
        for name in gone:
            live = self._routes.pop(name)
            dropped += live.upstreams
            live.balancer.close()
            live.tell()
        for route in found.values():
            dropped += self._put(route)
        self._see_off(dropped)
        for name in (*gone, *found):
            for listener in self._listeners:
                listener(name)

    def _put(self, route: Route) -> list[Upstream]:
        """Take over the route; upstreams that stay keep their connections. Returns those that go."""
        live = self._routes.get(route.slug)
        old = live.upstreams if live is not None else []
        kept = {upstream.address: upstream for upstream in old}
        upstreams = [kept.get(a) or self._open_upstream(route, a) for a in route.upstreams]
        if live is None or live.route.deployment_id != route.deployment_id:
            if live is not None:
                live.balancer.close()
                live.tell()
            terms = self._terms(route.mcp_id)
            balancer = Balancer(route.slug, terms.balancing, self._default)
            gate = self._capacity.gate(route.slug, terms.limits)
            live = self._routes[route.slug] = LiveRoute(route, upstreams, balancer, gate)
            live.body_limit = self._capacity.body_limit(terms.limits)
        else:
            live.put(route, upstreams)
        return [upstream for upstream in old if upstream not in upstreams]

    def _configure(self, live: LiveRoute) -> None:
        terms = self._terms(live.route.mcp_id)
        live.balancer.configure(terms.balancing, self._default)
        live.gate.configure(self._capacity.bounds(terms.limits))
        live.body_limit = self._capacity.body_limit(terms.limits)

    def _see_off(self, upstreams: list[Upstream]) -> None:
        """Close upstreams to which no new calls go, once those in flight have ended."""

        async def see_off(upstream: Upstream) -> None:
            try:
                await upstream.until_idle(self._patience)
                await upstream.close()
            finally:
                self._leaving.discard(upstream)
                self._left()

        for upstream in upstreams:
            self._leaving.add(upstream)
            self._spawn(see_off(upstream))
        if upstreams:
            self._left()
