"""The one path of a request: slug → route → upstream, with deadline, retry rules and counting."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from gateway import figures
from gateway.metering import Meter, Outcome
from gateway.routes import LiveRoute, RouteTable
from gateway.upstreams.exchange import Listener, Unreachable
from gateway.upstreams.upstream import Upstream
from mcp_platform.errors import Unavailable, UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import Era, RpcError, ServerDescription

_MOST_ATTEMPTS = 2


@dataclass
class Stickiness:
    """Remembers the replica of one client's session."""

    replica_id: UUID | None = None


@dataclass(frozen=True)
class RelayedRequest:
    """A request on its way to some upstream of a slug."""

    slug: str
    method: str
    params: dict[str, Any] | None
    era: Era
    timeout: float
    listener: Listener | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stickiness: Stickiness | None = None


class Relay:
    """Sends requests to upstreams."""

    def __init__(self, routes: RouteTable, meter: Meter) -> None:
        self._routes = routes
        self._meter = meter
        self.active = 0

    def check(self, slug: str) -> LiveRoute:
        """Give the slug's route, if a request could be sent now.

        Raises:
            NotFound: Nothing is deployed under the slug.
            Unavailable: No replica is healthy.
        """
        live = self._routes.find(slug)
        if not live.upstreams:
            live.pick()
        return live

    async def describe(self, slug: str, timeout: float, stickiness: Stickiness | None) -> ServerDescription:
        """Ask what the server behind a slug says of itself."""
        live = self._routes.find(slug)
        tried: list[Upstream] = []
        while True:
            upstream = _choose(live, stickiness, tried)
            try:
                return await upstream.describe(timeout)
            except Unreachable:
                self._note_failure(slug, "unreachable")
                if _last(live, tried):
                    raise _unreached(slug) from None
            except UpstreamFailed:
                self._note_failure(slug, "broken")
                if _last(live, tried):
                    raise

    async def send(self, request: RelayedRequest) -> dict[str, Any]:
        """Give the result, in the client's era; a tool call is counted.

        Raises:
            NotFound: Nothing is deployed under the slug.
            Unavailable: No replica is healthy, or none could be reached.
            RpcError: The server's own error.
            UpstreamFailed: The upstream broke during the call.
            UpstreamTimedOut: It did not answer in time.
        """
        live = self._routes.find(request.slug)
        if request.method != "tools/call":
            return await self._attempt(live, request)
        started = time.perf_counter()
        outcome = Outcome.FAILED
        try:
            result = await self._attempt(live, request)
            outcome = Outcome.TOOL_ERROR if result.get("isError") else Outcome.OK
            return result
        except RpcError:
            outcome = Outcome.REFUSED
            raise
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED
            raise
        finally:
            self._meter.count(live.route, outcome, time.perf_counter() - started)

    async def _attempt(self, live: LiveRoute, request: RelayedRequest) -> dict[str, Any]:
        """Send to one upstream, and to a second where it cannot be that anything is done twice."""
        deadline = time.monotonic() + request.timeout
        tried: list[Upstream] = []
        while True:
            upstream = _choose(live, request.stickiness, tried)
            try:
                return await self._once(upstream, request, deadline - time.monotonic())
            except Unreachable:
                self._note_failure(request.slug, "unreachable")
                if _last(live, tried):
                    raise _unreached(request.slug) from None
            except UpstreamFailed:
                self._note_failure(request.slug, "broken")
                if _last(live, tried) or request.method == "tools/call":
                    raise
            except UpstreamTimedOut:
                self._note_failure(request.slug, "timeout")
                raise

    async def _once(self, upstream: Upstream, request: RelayedRequest, left: float) -> dict[str, Any]:
        self.active += 1
        figures.ACTIVE.inc()
        try:
            return await upstream.request(
                request.method,
                request.params,
                request.era,
                max(left, 0.001),
                request.listener,
                request.headers,
            )
        finally:
            self.active -= 1
            figures.ACTIVE.dec()

    def _note_failure(self, slug: str, kind: str) -> None:
        figures.UPSTREAM_FAILURES.labels(slug, kind).inc()


def _choose(live: LiveRoute, stickiness: Stickiness | None, tried: list[Upstream]) -> Upstream:
    upstream = live.pick(stickiness.replica_id if stickiness else None, tried)
    tried.append(upstream)
    if stickiness is not None:
        stickiness.replica_id = upstream.address.replica_id
    return upstream


def _last(live: LiveRoute, tried: list[Upstream]) -> bool:
    return len(tried) == _MOST_ATTEMPTS or len(tried) >= len(live.upstreams)


def _unreached(slug: str) -> Unavailable:
    return Unavailable(f"No replica of {slug!r} could be reached", part=slug)
