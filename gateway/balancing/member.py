"""One replica among those that serve a slug: how busy it is, and how its calls have ended lately."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from gateway.balancing.window import Window
from gateway.upstreams.upstream import Upstream

_MEMORY: Final = 5.0
"""Seconds after which a latency counts for a third of what it did."""
_FAILED: Final = 10
"""A failure weighs like a call that took so many times as long: answering wrongly at once is not quick."""


class State(StrEnum):
    """Whether calls go to a replica."""

    READY = "ready"
    RESTING = "resting"
    """It could not be reached a moment ago: the others are asked first."""
    EJECTED = "ejected"
    """It does far worse than its peers: they are asked first."""
    OPEN = "open"
    """Its calls failed: it is not asked."""
    HALF_OPEN = "half_open"
    """They did, and one call is let through to see."""


@dataclass(frozen=True)
class Condition:
    """How a replica fares, as this gateway sees it."""

    replica_id: UUID
    weight: float
    state: State
    active: int
    """Requests in flight."""
    calls: int
    """Of the last seconds, as many as its breaker looks back."""
    error_rate: float
    latency_ms: float
    """The mean of those calls."""
    seconds_left: float
    """How long it is left out from now on."""


class Member:
    """A replica's upstream, and what its balancer knows of it."""

    __slots__ = (
        "_latency",
        "_seen_at",
        "active",
        "credit",
        "ejected_until",
        "ejections",
        "open_until",
        "opened_at",
        "openings",
        "replica_id",
        "rests_until",
        "troubled",
        "upstream",
        "usable",
        "weight",
        "window",
    )

    def __init__(self, upstream: Upstream, weight: float, span: float) -> None:
        self.upstream = upstream
        self.replica_id = upstream.address.replica_id
        self.weight = weight
        self.window = Window(span)
        self.active = 0
        """Requests in flight."""
        self.credit = 0.0
        """What is due to it when calls are dealt out by weight."""
        self.usable = True
        """Whether it is among those that are ready."""
        self.troubled = False
        """Whether a good answer would change its state."""
        self.rests_until = 0.0
        self.ejected_until = 0.0
        self.ejections = 0
        """Times in a row."""
        self.openings = 0
        """Times in a row that its breaker opened; 0: it is closed."""
        self.opened_at = 0.0
        self.open_until = 0.0
        self._latency = 0.0
        self._seen_at = 0.0

    def state(self, now: float) -> State:
        """Tell whether calls go there."""
        if self.openings:
            return State.OPEN if now < self.open_until else State.HALF_OPEN
        if now < self.ejected_until:
            return State.EJECTED
        return State.RESTING if now < self.rests_until else State.READY

    def condition(self, now: float) -> Condition:
        """Tell how it fares."""
        self.window.turn(now)
        until = self.open_until if self.openings else max(self.ejected_until, self.rests_until)
        return Condition(
            self.replica_id,
            self.weight,
            self.state(now),
            self.active,
            self.window.calls,
            self.window.error_rate,
            self.window.latency * 1000,
            max(until - now, 0.0),
        )

    def observe(self, now: float, seconds: float) -> None:
        """Take a call's duration into the moving average: a longer one at once, a shorter one slowly."""
        known = self._latency
        if seconds < known:
            kept = math.exp((self._seen_at - now) / _MEMORY)
            seconds = known * kept + seconds * (1 - kept)
        self._latency = seconds
        self._seen_at = now

    def observe_failure(self, now: float, seconds: float) -> None:
        """Take a failed call into the average, as one that took long."""
        self.observe(now, max(seconds, _FAILED * self._latency))

    def cost(self, now: float) -> float:
        """Estimate how long another call would take here; what was long ago counts less and less."""
        if not self._latency:
            return math.inf if self.active else 0.0  # one call tells, before more of them come
        return self._latency * math.exp((self._seen_at - now) / _MEMORY) * (self.active + 1) / self.weight
