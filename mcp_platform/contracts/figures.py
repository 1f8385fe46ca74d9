"""What was counted and measured of deployments and their replicas."""

import math
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment

_GROWTH: Final = math.log(1.2)
"""Each bucket ends a fifth above its beginning, so its middle is at most 9.6 % from anything in it."""
_SMALLEST: Final = 0.1
"""Milliseconds: all that is faster counts as this."""
_BUCKETS: Final = 96
"""The last one begins at almost an hour."""


class Histogram:
    """How often calls took how long: counts by logarithmic bucket, which add up over processes and time."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts = counts if counts is not None else {}

    def observe(self, milliseconds: float) -> None:
        """Count one call."""
        place = 0
        if milliseconds > _SMALLEST:
            place = min(int(math.log(milliseconds / _SMALLEST) / _GROWTH), _BUCKETS - 1)
        self.counts[place] = self.counts.get(place, 0) + 1

    def add(self, other: "Histogram") -> None:
        """Count all that the other has counted, too."""
        for place, count in other.counts.items():
            self.counts[place] = self.counts.get(place, 0) + count

    def quantile(self, share: float) -> float | None:
        """Give the milliseconds within which this share of the calls ended, or None if there were none."""
        rank = math.ceil(share * sum(self.counts.values()))
        for place in sorted(self.counts):
            rank -= self.counts[place]
            if rank <= 0:
                return round(_SMALLEST * math.exp((place + 0.5) * _GROWTH), 3)
        return None

    def stored(self) -> dict[str, int]:
        """Give it as JSON."""
        return {str(place): count for place, count in sorted(self.counts.items())}

    @classmethod
    def read(cls, stored: dict[str, int] | None) -> "Histogram":
        """Make it from JSON."""
        return cls({int(place): count for place, count in (stored or {}).items()})


class Figures(Contract):
    """What is known of a deployment, or of one replica, since it began."""

    requests_total: int = 0
    errors_total: int = 0
    avg_response_time_ms: float = 0.0
    error_rate: float = 0.0
    """Between 0 and 1."""
    p50_ms: float | None = None
    """Half of the calls took no longer; at most 10 % off, as are the others."""
    p95_ms: float | None = None
    p99_ms: float | None = None
    cpu_cores: float | None = None
    """Used now; None where it cannot be measured."""
    memory_bytes: int | None = None
    restarts: int = 0
    uptime_seconds: float = 0.0
    """For how long it has been answering; 0 if it is not."""


class ReplicaFigures(Figures):
    """The figures of one replica."""


class DeploymentFigures(Figures):
    """The figures of a deployment: CPU, memory and restarts of its replicas together."""


class Window(StrEnum):
    """How far back a history goes."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}[self.value]

    @property
    def step(self) -> timedelta:
        """How long each of its points is."""
        return timedelta(minutes={"1h": 1, "24h": 5, "7d": 15}[self.value])


class HistoryPoint(Contract):
    """What was counted and measured from `at` until the next point begins."""

    at: Moment
    requests: int = 0
    errors: int = 0
    avg_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    cpu_cores: float | None = None
    """On average."""
    memory_bytes: int | None = None
    """At most; of several replicas, the sum of the most of each."""
    replicas: float = 0.0
    """How many answered, on average."""
    restarts: int = 0


class History(Contract):
    """The points of a chart, oldest first and without gaps; the last one is not over yet."""

    deployment_id: UUID
    replica_id: UUID | None = None
    window: Window
    step_seconds: int
    points: list[HistoryPoint]


class CallCount(Contract):
    """The calls of one minute that went to one deployment, or to one of its replicas."""

    deployment_id: UUID
    replica_id: UUID | None
    """None: no replica answered."""
    minute: int
    """Its beginning, in seconds since 1970."""
    requests: int
    errors: int
    latency_ms: float
    histogram: dict[int, int]


class UsageCount(Contract):
    """What one replica used within one minute, as far as it has not been told before."""

    deployment_id: UUID
    replica_id: UUID
    minute: int
    seconds: float
    """For how much of the minute this holds."""
    cpu_seconds: float
    memory_bytes: int | None
    restarts: int | None = None
    """How many replicas stood in its place before, since it began; None: as many as was told before."""


class LatestUsage(Contract):
    """What a replica used when it was last measured."""

    until: Moment
    """When this is too old to be shown."""
    cpu_cores: float | None = None
    memory_bytes: int | None = None


def quantiles(histogram: Histogram) -> dict[str, float | None]:
    """Give the three that are shown."""
    return {f"p{share}_ms": histogram.quantile(share / 100) for share in (50, 95, 99)}


def begin_of(moment: datetime, step: timedelta) -> int:
    """Give the beginning of the step that a moment lies in, in seconds since 1970."""
    seconds = int(moment.timestamp())
    return seconds - seconds % int(step.total_seconds())
