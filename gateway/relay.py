"""The one path of a request: slug → route → upstream, with deadline, retry rules and counting."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from gateway import figures
from gateway.arrivals import Arrivals
from gateway.balancing.member import Member
from gateway.requests import ClientSession, RelayedRequest
from gateway.routes import LiveRoute
from gateway.troubles import Troubles
from gateway.upstreams.exchange import Broken, Unreachable
from gateway.upstreams.upstream import Upstream
from mcp_platform.errors import Unavailable, UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import Era, RpcError, ServerDescription

T = TypeVar("T")
Ask = Callable[[Upstream, RelayedRequest, float], Awaitable[T]]
"""Asks one upstream, with the seconds that are left."""

_MOST_BREAKS: Final = 3
"""Attempts that may break in the middle: a call that kills each replica it meets must not kill them all."""
_PAUSE: Final = 0.2
"""Seconds after which replicas that could not be reached are tried again."""
_ASKING: Final = 5.0
"""Seconds that another replica has to tell what a tool's annotations allow."""
_SHORTEST: Final = 0.001
_AT_ONCE: Final = 1.0
"""Seconds within which it is found out cheaply that nobody listens at an address."""
_PATIENT: Final = 5.0
"""Seconds that a caller must have waited in vain for the replica to be blamed: some hardly wait."""


@dataclass(slots=True)
class _Trip:
    """What has been tried for one request whose first attempt failed."""

    live: LiveRoute
    request: RelayedRequest
    deadline: float
    error: UpstreamFailed | Unavailable
    """What came of the last attempt."""
    tried: list[Member]
    failed_at: float = field(default_factory=time.monotonic)
    """When the first attempt failed."""
    breaks: int = 0
    """Attempts that broke in the middle."""
    waited: bool = False
    """Whether all replicas were tried, and it waited for one to come back."""


class Relay:
    """Sends requests to upstreams.

    What could not be sent goes to another replica. What broke in the middle does too, unless it is a
    call of a tool whose annotations do not allow that. Where all replicas have just gone, it waits a
    moment for a successor. A budget keeps repeated attempts a small part of all.
    """

    def __init__(self, arrivals: Arrivals, troubles: Troubles, recovery_wait: float) -> None:
        self._arrivals = arrivals
        self._troubles = troubles
        self._recovery_wait = recovery_wait
        self.active = 0

    def find(self, slug: str) -> LiveRoute:
        """Give the slug's route as it is.

        Raises:
            NotFound: Nothing is deployed under the slug.
        """
        return self._arrivals.find(slug)

    def check(self, slug: str) -> LiveRoute:
        """Give the slug's route, if a request could be sent now or after a wait.

        Raises:
            NotFound: Nothing is deployed under the slug.
            Unavailable: No replica is healthy, and none is expected.
        """
        return self._arrivals.check(slug)

    async def describe(
        self,
        slug: str,
        timeout: float,
        session: ClientSession | None,
        headers: Mapping[str, str] | None = None,
    ) -> ServerDescription:
        """Ask what the server behind a slug says of itself."""
        request = RelayedRequest(
            slug, "server/discover", None, Era.MODERN, timeout, session=session, headers=headers or {}
        )
        return await self._relay(request, _describe)

    async def awaken(self, request: RelayedRequest) -> None:
        """Wait until the slug has a replica, as long as that may last; the request has less time then.

        Raises:
            NotFound: Nothing is deployed under the slug.
            Unavailable: There is no replica, and none came in time; or too many requests wait already.
        """
        tally, began = self._arrivals.find(request.slug).tally, time.monotonic()
        tally.begin()
        try:
            await self._arrivals.route(request.slug, began + request.timeout)
        finally:
            now = time.monotonic()
            tally.end(now)
            request.timeout = max(request.timeout - (now - began), _SHORTEST)

    async def send(self, request: RelayedRequest) -> dict[str, Any]:
        """Give the result, in the client's era.

        Raises:
            NotFound: Nothing is deployed under the slug.
            Unavailable: No replica is healthy, or none could be reached.
            RpcError: The server's own error.
            UpstreamFailed: The upstream broke during the call.
            UpstreamTimedOut: It did not answer in time.
        """
        return await self._relay(request, _send)

    async def _relay(self, request: RelayedRequest, ask: Ask[T]) -> T:
        live = self._arrivals.find(request.slug)
        tally, now = live.tally, time.monotonic()
        deadline = now + request.timeout
        tally.begin()
        try:
            if not live.upstreams:
                live = await self._arrivals.route(request.slug, deadline)
                now = time.monotonic()
            member = live.choose(request, now)
            try:
                if live.balancer.rules.hedge_after is not None and _may_hedge(live, member, request):
                    return await self._hedged(live, member, request, ask, deadline)
                return await self._attempt(live, member, request, ask, now, deadline)
            except (Unreachable, UpstreamFailed) as error:
                trip = _Trip(live, request, deadline, _told(error, request.slug), [member])
                return await self._travel(trip, ask, error)
        finally:
            tally.end(time.monotonic())

    async def _attempt(
        self,
        live: LiveRoute,
        member: Member,
        request: RelayedRequest,
        ask: Ask[T],
        started: float,
        deadline: float,
    ) -> T:
        """Ask one upstream, and note how it answers."""
        request.replica_id = member.replica_id
        calls_tool = request.method == "tools/call"
        if calls_tool:
            member.upstream.know_tools()
        self.active += 1
        figures.ACTIVE.inc()
        member.active += 1
        answered = True
        try:
            result = await ask(member.upstream, request, max(deadline - started, _SHORTEST))
            now = time.monotonic()
            # What was known already, and the end of a stream, show nothing of how the replica is.
            _note_answer(live, member, ask is _send and request.timeout != math.inf, started, now)
            return result
        except BaseException as error:
            now = time.monotonic()
            answered = not isinstance(error, Unreachable | Broken)
            self._note_error(live, member, error, started, now)
            raise
        finally:
            self.active -= 1
            figures.ACTIVE.dec()
            member.active -= 1
            if calls_tool and answered:
                live.tally.took(now - started, now)
            if request.session is not None:
                _remember(request.session, request.slug, member)

    async def _travel(self, trip: _Trip, ask: Ask[T], error: Unreachable | UpstreamFailed) -> T:
        """Ask one upstream after the other, where it cannot be that anything is done twice that must not."""
        while True:
            if isinstance(error, UpstreamFailed) and not await self._may_repeat(trip, error):
                raise error
            member = await self._next(trip)
            trip.tried.append(member)
            try:
                return await self._attempt(
                    trip.live, member, trip.request, ask, time.monotonic(), trip.deadline
                )
            except (Unreachable, UpstreamFailed) as another:
                error, trip.error = another, _told(another, trip.request.slug)

    async def _next(self, trip: _Trip) -> Member:
        """Choose an upstream that was not tried; where there is none, wait a moment for one."""
        while True:
            now, balancer = time.monotonic(), trip.live.balancer
            if now >= trip.deadline:
                raise trip.error  # nobody waits for the answer any more
            left = min(trip.deadline, trip.failed_at + self._recovery_wait) - now
            member = balancer.other(trip.tried, now) if trip.live.upstreams else None
            # Asking those again that do not answer is what makes an outage worse. Where the gateway stood
            # still, the wait of many calls is over at once: what they try then is within the budget, too.
            if member is not None:
                rested = left > 0 and now >= member.rests_until
                if not trip.waited or rested or balancer.may_retry(now):
                    return member
                balancer.released(member, now, now)  # if it was a probe, another call is
            if left <= 0:
                raise trip.error
            trip.live = await self._arrivals.change(trip.live, min(_PAUSE, left))
            # What could not be reached may have come back at the same address.
            trip.tried.clear()
            trip.waited = True

    async def _may_repeat(self, trip: _Trip, error: UpstreamFailed) -> bool:
        """Tell whether a request that broke may be sent once more."""
        trip.breaks += 1
        if trip.breaks >= _MOST_BREAKS:
            return False
        failed = trip.tried[-1]
        others = [member for member in trip.live.balancer.members if member not in trip.tried]
        if not others and not isinstance(error, Broken):
            return False  # it lives and answers nonsense: waiting helps nobody
        tool = trip.request.tool
        if tool is not None and not await self._repeatable(trip, tool, failed, others):
            return False
        return trip.live.balancer.may_retry(time.monotonic())

    async def _repeatable(self, trip: _Trip, tool: str, failed: Member, others: list[Member]) -> bool:
        """Tell whether the tool's annotations allow a second call."""
        for member in (failed, *trip.live.balancer.members):
            known = member.upstream.repeatable(tool)
            if known is not None:
                return known
        for member in others:
            try:
                left = max(trip.deadline - time.monotonic(), _SHORTEST)
                await member.upstream.read_tools(min(left, _ASKING))
            except (RpcError, Unreachable, UpstreamFailed, UpstreamTimedOut):
                continue
            return member.upstream.repeatable(tool) is True
        return False

    async def _hedged(
        self, live: LiveRoute, member: Member, request: RelayedRequest, ask: Ask[T], deadline: float
    ) -> T:
        """Ask a second upstream where the first takes long; the first answer counts, the other call ends."""
        balancer, copy = live.balancer, replace(request, channel=None)
        first = asyncio.create_task(self._attempt(live, member, request, ask, time.monotonic(), deadline))
        tasks = {first}
        try:
            await asyncio.wait(tasks, timeout=balancer.rules.hedge_after)
            now = time.monotonic()
            if not first.done() and (other := balancer.other([member], now)) and balancer.may_retry(now):
                figures.HEDGES.labels(request.slug).inc()
                tasks.add(asyncio.create_task(self._attempt(live, other, copy, ask, now, deadline)))
            pending = tasks
            while True:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                task = min(done, key=_without_answer)
                if not _without_answer(task) or not pending:
                    if task is not first:
                        request.replica_id = copy.replica_id
                    return task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _note_error(
        self, live: LiveRoute, member: Member, error: BaseException, started: float, now: float
    ) -> None:
        """Note how an attempt failed: whether the replica is to blame, and what of it."""
        lost, counts = isinstance(error, Unreachable | Broken), True
        if isinstance(error, Unreachable):
            kind, counts = "unreachable", now - started > _AT_ONCE
        elif isinstance(error, UpstreamFailed):
            kind = "broken"
        elif isinstance(error, UpstreamTimedOut):
            patience = min(_PATIENT, live.balancer.rules.breaker.slow_after or _PATIENT)
            kind, counts = "timeout", now - started >= patience
        elif isinstance(error, RpcError):
            return _note_answer(live, member, True, started, now)
        else:
            return live.balancer.abandoned(member, started, now)
        live.balancer.failed(member, started, now, lost=lost, counts=counts)
        figures.UPSTREAM_FAILURES.labels(live.route.slug, kind).inc()
        self._troubles.note(member.replica_id, kind)
        return None


def _send(upstream: Upstream, request: RelayedRequest, left: float) -> Awaitable[dict[str, Any]]:
    return upstream.request(
        request.method,
        request.params,
        request.era,
        left,
        channel=request.channel,
        headers=request.headers,
        session=request.session,
    )


def _describe(upstream: Upstream, request: RelayedRequest, left: float) -> Awaitable[ServerDescription]:
    return upstream.describe(left, request.headers)


def _note_answer(live: LiveRoute, member: Member, shows: bool, started: float, now: float) -> None:
    if not shows:
        live.balancer.released(member, started, now)
    elif live.balancer.answered(member, started, now):
        live.tell()


def _told(error: Unreachable | UpstreamFailed, slug: str) -> UpstreamFailed | Unavailable:
    """Give what a caller is told, if no other attempt ends better."""
    if isinstance(error, UpstreamFailed):
        return error
    return Unavailable(f"No replica of {slug!r} could be reached", part=slug)


def _without_answer(task: asyncio.Task[Any]) -> bool:
    error = task.exception()
    return error is not None and not isinstance(error, RpcError)


def _may_hedge(live: LiveRoute, member: Member, request: RelayedRequest) -> bool:
    """Tell whether a second replica may be asked as well: nothing is changed by it, and no session held."""
    tool, session = request.tool, request.session
    return (
        tool is not None
        and len(live.upstreams) > 1
        and member.upstream.repeatable(tool) is True
        and (session is None or member.replica_id not in session.upstream_sessions)
    )


def _remember(session: ClientSession, slug: str, member: Member) -> None:
    """Keep where a session holds state; requests of one that holds none go wherever there is room."""
    known = session.replicas.get(slug)
    if member.replica_id in session.upstream_sessions:
        if known != member.replica_id:
            session.replicas[slug] = member.replica_id
            session.changed = True
    elif known is not None and known not in session.upstream_sessions:
        del session.replicas[slug]
        session.changed = True
