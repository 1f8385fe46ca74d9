"""How many replicas a deployment needs, by the load that the gateways report."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from temporalio import activity

from activities.heartbeat import beating
from mcp_platform.contracts.deployments import Autoscaling
from mcp_platform.contracts.loads import LoadReport, ObserveOrder, ScaleDecision
from mcp_platform.errors import Unavailable

if TYPE_CHECKING:
    from storage.cache import Message
    from storage.stores import Stores

log = structlog.get_logger(__name__)

UP_WINDOW: Final = 5.0
"""Seconds over which the load is averaged before there are more replicas."""
DOWN_WINDOW: Final = 30.0
"""Seconds of which the highest load decides before there are fewer."""
TOLERANCE: Final = 0.1
"""By how much of itself the load may miss the target without anything being done."""
_INTERVAL: Final = 1.0
_GAP: Final = 3.0
"""Seconds without a report after which nobody knows what happened meanwhile."""
_MISSED: Final = DOWN_WINDOW
"""Seconds for which a gateway whose reports ended may still have calls."""


@dataclass(frozen=True)
class Sight:
    """What all gateways together saw of a deployment; `at` in seconds since somebody began to look."""

    at: float
    in_flight: int = 0
    """Calls at replicas, and calls that wait for one."""
    waiting: int = 0
    calls: int = 0
    latency_ms: float = 0.0
    idle: float = 0.0
    complete: bool = True
    """Whether every gateway reported; otherwise there may be more load than this."""


def see(reports: Sequence[LoadReport], deployment_id: UUID, at: float, complete: bool) -> Sight:
    """Add up what the gateways reported of one deployment."""
    loads = [load for report in reports for load in report.deployments if load.deployment_id == deployment_id]
    calls = sum(load.calls for load in loads)
    took = sum(load.calls * load.latency_ms for load in loads)
    return Sight(
        at=at,
        in_flight=sum(load.in_flight + load.waiting for load in loads),
        waiting=sum(load.waiting for load in loads),
        calls=calls,
        latency_ms=took / calls if calls else 0.0,
        idle=min((load.idle for load in loads), default=0.0),
        complete=complete and len(loads) == len(reports) > 0,
    )


def decide(order: ObserveOrder, seen: Sequence[Sight], now: float) -> ScaleDecision | None:
    """Choose another number of replicas, or None to leave it as it is; times in seconds since the order."""
    scaling, replicas = order.autoscaling, order.replicas
    if now < order.cool_down_left:
        return None
    within = _within(scaling, replicas)
    if within != replicas:
        return ScaleDecision(replicas=within, reason=f"between {scaling.min} and {scaling.max} are asked for")
    last = seen[-1] if seen and now - seen[-1].at <= _GAP else None
    if last is None:
        return None
    if scaling.idle_after is not None and _is_idle(last, scaling.idle_after):
        return ScaleDecision(replicas=0, reason=f"no call for {scaling.idle_after:g} s")
    recent = [sight for sight in seen if sight.at > now - UP_WINDOW]
    if _unbroken(seen, now, UP_WINDOW):
        wanted = _within(scaling, _needed(scaling, replicas, recent))
        if wanted > replicas:
            return ScaleDecision(replicas=wanted, reason=_reason(scaling, recent))
    longer = [sight for sight in seen if sight.at > now - DOWN_WINDOW]
    if _unbroken(seen, now, DOWN_WINDOW) and all(sight.complete for sight in longer):
        wanted = _within(scaling, max(_needed(scaling, replicas, [sight]) for sight in longer))
        if wanted < replicas:
            return ScaleDecision(replicas=wanted, reason=_reason(scaling, longer))
    return None


def _is_idle(last: Sight, idle_after: float) -> bool:
    return last.complete and not last.in_flight and last.idle >= idle_after


def _within(scaling: Autoscaling, replicas: int) -> int:
    return min(max(replicas, scaling.min), scaling.max)


def _unbroken(seen: Sequence[Sight], now: float, window: float) -> bool:
    """Whether something was seen all the time, from the window's beginning on."""
    moments = [sight.at for sight in seen if sight.at > now - window - _GAP]
    begun = bool(moments) and moments[0] <= now - window + _INTERVAL / 2
    return begun and all(after - before <= _GAP for before, after in pairwise(moments))


def _needed(scaling: Autoscaling, replicas: int, seen: Sequence[Sight]) -> int:
    """Tell how many replicas the load needs, on average, at their present speed."""
    in_flight = sum(sight.in_flight for sight in seen) / len(seen)
    shares: list[float] = []
    if scaling.calls_in_flight is not None:
        shares.append(in_flight / (replicas * scaling.calls_in_flight))
    if scaling.latency_ms is not None:
        latency = _latency(seen)
        if latency is not None:
            shares.append(latency / scaling.latency_ms)
        elif in_flight:
            shares.append(1.0)  # nobody knows yet how long these calls take
    share = max(shares, default=0.0)
    if abs(share - 1) <= TOLERANCE:
        return replicas
    return ceil(replicas * share - 1e-9)


def _latency(seen: Sequence[Sight]) -> float | None:
    calls = sum(sight.calls for sight in seen)
    return sum(sight.calls * sight.latency_ms for sight in seen) / calls if calls else None


def _reason(scaling: Autoscaling, seen: Sequence[Sight]) -> str:
    parts = []
    if scaling.calls_in_flight is not None:
        in_flight = sum(sight.in_flight for sight in seen) / len(seen)
        parts.append(f"{in_flight:.1f} calls in flight (wished: {scaling.calls_in_flight:g} a replica)")
    latency = _latency(seen)
    if scaling.latency_ms is not None and latency is not None:
        parts.append(f"calls take {latency:.0f} ms (wished: {scaling.latency_ms:g} ms)")
    return ", ".join(parts) or "no calls"


class _Gateways:
    """What the gateways report, read once a second for everybody who observes; and whom they wake."""

    def __init__(self, stores: "Stores") -> None:
        self._stores = stores
        self._observers = 0
        self._news = asyncio.Event()
        self._seen: dict[str, float] = {}
        """When each gateway's last report was read."""
        self._sleepers: dict[UUID, asyncio.Event] = {}
        self.reports: list[LoadReport] = []
        """Empty while nobody reports, or the cache is away."""
        self.complete = False

    async def read_forever(self) -> None:
        """Read while somebody observes, until cancelled."""
        while True:
            if self._observers:
                await self._read()
                self._news.set()
                self._news = asyncio.Event()
            await asyncio.sleep(_INTERVAL)

    async def hear(self, messages: "AsyncIterator[Message]") -> None:
        """Wake those whom a gateway asks for (`Channel.WAKE`), until cancelled."""
        async for message in messages:
            with suppress(ValueError):
                sleeper = self._sleepers.get(UUID(str(message.data.get("deployment_id"))))
                if sleeper is not None:
                    sleeper.set()

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Have the reports read while the body runs."""
        self._observers += 1
        try:
            yield
        finally:
            self._observers -= 1

    async def next(self) -> None:
        """Return once the reports have been read again."""
        await self._news.wait()

    @contextmanager
    def sleeping(self, deployment_id: UUID) -> Iterator[asyncio.Event]:
        """Give what is set once somebody calls the deployment."""
        woken = self._sleepers.setdefault(deployment_id, asyncio.Event())
        try:
            yield woken
        finally:
            if self._sleepers.get(deployment_id) is woken:
                del self._sleepers[deployment_id]

    async def _read(self) -> None:
        try:
            self.reports = await self._stores.loads.read()
        except Unavailable as error:
            log.warning("reports_not_read", error=str(error))
            self.reports, self.complete = [], False
            return
        now = time.monotonic()
        self._seen |= {report.gateway_id: now for report in self.reports}
        self._seen = {known: at for known, at in self._seen.items() if now - at < _MISSED}
        self.complete = len(self._seen) == len(self.reports) > 0


class AutoscalingActivities:
    """Observes the load of deployments; one reader and one listener serve all that this worker observes."""

    def __init__(self, stores: "Stores") -> None:
        self._gateways = _Gateways(stores)

    @asynccontextmanager
    async def following(self, calls: "AsyncIterator[Message]") -> AsyncIterator[None]:
        """Read the gateways' reports, and hear of calls that wake (`Channel.WAKE`), while the body runs."""
        loops = [self._gateways.read_forever(), self._gateways.hear(calls)]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @activity.defn(name="deployments.observe")
    async def observe(self, order: ObserveOrder) -> ScaleDecision:
        """Return once there should be another number of replicas."""
        async with beating():
            with self._gateways.observed():
                if order.asleep:
                    return await self._until_called(order)
                return await self._until_decided(order)

    async def _until_called(self, order: ObserveOrder) -> ScaleDecision:
        with self._gateways.sleeping(order.deployment_id) as woken:
            while not woken.is_set():
                # The reports say so too, in case the message was lost.
                if self._see(order, 0.0).waiting:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(_INTERVAL):
                        await woken.wait()
        return ScaleDecision(replicas=order.autoscaling.min, reason="a call woke it")

    async def _until_decided(self, order: ObserveOrder) -> ScaleDecision:
        began = time.monotonic()
        seen: list[Sight] = []
        while True:
            await self._gateways.next()
            now = time.monotonic() - began
            if self._gateways.reports:
                seen = [each for each in seen if each.at > now - DOWN_WINDOW - _GAP] + [self._see(order, now)]
            decision = decide(order, seen, now)
            if decision is not None:
                return decision

    def _see(self, order: ObserveOrder, at: float) -> Sight:
        return see(self._gateways.reports, order.deployment_id, at, self._gateways.complete)
