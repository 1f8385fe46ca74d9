"""How many requests there may be at once: more wait for a moment, and beyond that are refused at once."""

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import orjson

from gateway import figures
from gateway.requests import RelayedRequest
from gateway.upstreams.lasting import Lasting
from mcp_platform.contracts.balancing import CallLimits
from mcp_platform.contracts.calls import Via
from mcp_platform.errors import PayloadTooLarge, Unavailable
from mcp_platform.gateway_settings import GatewaySettings

_SHORTEST: Final = 0.001
_SHARED: Final = frozenset({Via.GROUP, Via.SMART, Via.BRIDGE})
"""Doors with many MCPs behind them: which one a request is for is known only once its body was read."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a gate lets through."""

    most: int
    """Requests at once."""
    most_per_caller: int | None
    """Of one caller; None: no bound of its own."""
    queue: int
    """Requests that may wait."""
    queue_timeout: float
    """Seconds that they do."""


class Gate:
    """Lets so many requests through at once.

    Those that wait are let in in turns of their callers, so that the flood of one delays nobody else.
    Whenever a place is free and somebody waits, it is only for their own caller's bound: a newcomer
    that may enter passes nobody.
    """

    __slots__ = ("_callers", "_what", "_whose", "active", "bounds", "queues", "waiting")

    def __init__(self, what: str, whose: str, bounds: Bounds) -> None:
        self.bounds = bounds
        self.active = 0
        """Requests that were let through and have not left."""
        self.waiting = 0
        self.queues: dict[str, deque[asyncio.Future[None]]] = {}
        """By caller, in the order of their turns."""
        self._what = what
        self._whose = whose
        self._callers: dict[str, int] = {}
        """How many of each have entered."""

    def configure(self, bounds: Bounds) -> None:
        """Go by these bounds from now on."""
        self.bounds = bounds
        if self.waiting:
            self._admit()

    def enter(self, caller: str) -> bool:
        """Let a request through, if there is a place for it now."""
        if self.active >= self.bounds.most:
            return False
        present = self._callers.get(caller, 0)
        if self.bounds.most_per_caller is not None and present >= self.bounds.most_per_caller:
            return False
        self.active += 1
        self._callers[caller] = present + 1
        return True

    def leave(self, caller: str) -> None:
        """Give a place back."""
        self.active -= 1
        present = self._callers[caller]
        if present == 1:
            del self._callers[caller]
        else:
            self._callers[caller] = present - 1
        if self.waiting:
            self._admit()

    async def wait(self, caller: str, timeout: float) -> None:
        """Wait for a place, which is then taken.

        Raises:
            Unavailable: Too many wait already, or none became free in time.
        """
        patience = min(self.bounds.queue_timeout, timeout)
        if patience <= 0 or not (self.waiting < self.bounds.queue or self._make_room(caller)):
            raise self._refusal("queue_full")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self.queues.setdefault(caller, deque()).append(turn)
        self.waiting += 1
        figures.QUEUED.inc()
        timer = loop.call_later(patience, self._give_up, caller, turn, "queue_timeout", patience)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(caller)  # the place came just as the caller left
            else:
                self._forget(caller, turn)
            raise
        finally:
            timer.cancel()
            figures.QUEUED.dec()

    def _make_room(self, caller: str) -> bool:
        """Refuse the newest of whoever has the most waiting, unless that would be this caller."""
        if not self.queues:
            return False
        greedy = max(self.queues, key=lambda each: len(self.queues[each]))
        if len(self.queues[greedy]) <= len(self.queues.get(caller, ())) + 1:
            return False
        self._give_up(greedy, self.queues[greedy][-1], "queue_full")
        return True

    def _give_up(self, caller: str, turn: asyncio.Future[None], reason: str, patience: float = 0.0) -> None:
        self._forget(caller, turn)
        if not turn.done():
            turn.set_exception(self._refusal(reason, patience))

    def _forget(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self.queues.get(caller)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        self.waiting -= 1
        if not queue:
            del self.queues[caller]

    def _admit(self) -> None:
        """Let in whoever may enter, each caller in turn."""
        passed = 0
        while self.active < self.bounds.most and passed < len(self.queues):
            caller = next(iter(self.queues))
            queue = self.queues.pop(caller)
            if queue[0].done():  # the caller left this very moment
                queue.popleft()
                self.waiting -= 1
            elif self.enter(caller):
                passed = 0
                self.waiting -= 1
                queue.popleft().set_result(None)
            else:
                passed += 1
            if queue:
                self.queues[caller] = queue  # behind the others

    def _refusal(self, reason: str, patience: float = 0.0) -> Unavailable:
        figures.OVERLOADED.labels(reason).inc()
        why = f"{self.bounds.most} are under way and {self.waiting} wait"
        if reason == "queue_timeout":
            why = f"no place became free within {patience:g} s"
        return Unavailable(
            f"Too many requests to {self._whose} at once: {why}",
            part=self._what,
            retry_after=max(math.ceil(self.bounds.queue_timeout), 1),
        )


class Capacity:
    """The limits of this process, and what they make of those of single MCPs."""

    def __init__(self, settings: GatewaySettings, lasting: Lasting) -> None:
        self._settings = settings
        self._lasting = lasting
        bounds = Bounds(settings.max_concurrency_total, None, settings.max_queue, settings.queue_timeout)
        self.whole = Gate("gateway", "the gateway", bounds)
        """All requests together."""

    def gate(self, slug: str, limits: CallLimits) -> Gate:
        """Make the gate of one MCP."""
        return Gate(slug, repr(slug), self.bounds(limits))

    def bounds(self, limits: CallLimits) -> Bounds:
        """Complete an MCP's limits with those of the settings."""
        own = self._settings
        return Bounds(
            limits.concurrency or own.max_concurrency,
            limits.concurrency_per_caller or own.max_concurrency_per_caller,
            own.max_queue if limits.queue is None else limits.queue,
            own.queue_timeout if limits.queue_timeout is None else limits.queue_timeout,
        )

    def body_limit(self, limits: CallLimits) -> int:
        """Give the size of the largest body."""
        most = self._settings.max_body_bytes
        return most if limits.max_body_bytes is None else min(most, limits.max_body_bytes)

    def check_size(self, limit: int, request: RelayedRequest) -> None:
        """Refuse what is too large for its MCP, where its body was read before that was known.

        Raises:
            PayloadTooLarge: Its parameters are larger than the MCP's own limit.
        """
        if limit >= self._settings.max_body_bytes or request.via not in _SHARED:
            return
        if len(orjson.dumps(request.params)) > limit:
            raise PayloadTooLarge(limit)

    async def enter(self, gate: Gate, request: RelayedRequest) -> str:
        """Take a place at an MCP and one of the process; wait where there is none, within the time it has.

        One that lasts takes a place among those that do instead: its stream is no work.

        Returns:
            Whose place it is, for `leave`.

        Raises:
            Unavailable: Too many wait already, or none became free in time; or too many last.
        """
        caller = request.principal.credential if request.principal is not None else ""
        if request.timeout == math.inf:
            self._lasting.enter(caller)
            return caller
        if not gate.enter(caller):
            await _wait(gate, caller, request)
        if not self.whole.enter(caller):
            try:
                await _wait(self.whole, caller, request)
            except BaseException:
                gate.leave(caller)
                raise
        return caller

    def leave(self, gate: Gate, request: RelayedRequest, caller: str) -> None:
        """Give back what was taken."""
        if request.timeout == math.inf:
            self._lasting.leave(caller)
            return
        self.whole.leave(caller)
        gate.leave(caller)


async def _wait(gate: Gate, caller: str, request: RelayedRequest) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await gate.wait(caller, request.timeout)
    request.timeout = max(request.timeout - (loop.time() - began), _SHORTEST)
