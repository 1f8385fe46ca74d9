"""What replicas use: from single measures to what charts, the API and Prometheus show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from activities.drivers import RunningReplica, Usage
from activities.finishing import to_its_end
from mcp_platform.contracts.deployments import ReplicaOrder
from mcp_platform.contracts.figures import LatestUsage, UsageCount

if TYPE_CHECKING:
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_HOLDS: Final = 60.0
"""Seconds for which a measure is shown, at least."""
_MEASURED_EVERY: Final = 15.0
"""Seconds between two measures of a replica, as finding all its processes costs more than a check."""
_CHECKS_BETWEEN: Final = 3
"""Where checks are frequent, it is measured at each third."""
_MEASURED_WITHIN: Final = 10.0
_CHECKS_MISSED: Final = 3
"""It is shown for as many checks, and two of them that far apart have nothing between them."""
_MOST_UNWRITTEN: Final = 20_000
"""Minutes of single replicas that wait for the database at most."""


@dataclass
class Measured:
    """A replica, as it was last measured."""

    deployment_id: UUID
    replica_id: UUID
    place: int
    restarts: int
    at: float
    """On the monotonic clock, as is `until`."""
    until: float
    cpu_seconds: float | None
    memory_bytes: int | None
    cpu_cores: float | None = None


@dataclass
class _Minute:
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int | None = None
    restarts: int | None = None

    def add(self, seconds: float, cpu_seconds: float, memory_bytes: int | None, restarts: int | None) -> None:
        self.seconds += seconds
        self.cpu_seconds += cpu_seconds
        if memory_bytes is not None:
            self.memory_bytes = max(self.memory_bytes or 0, memory_bytes)
        if restarts is not None:
            self.restarts = restarts


class UsageSampler:
    """Keeps what this worker's replicas use, and writes it in batches.

    Args:
        stores: Where it is written.
        interval: Seconds between batches.
    """

    def __init__(self, stores: Stores, interval: float) -> None:
        self._stores = stores
        self._interval = interval
        self._measured: dict[UUID, Measured] = {}
        self._measuring: dict[UUID, asyncio.Task[None]] = {}
        self._minutes: dict[tuple[UUID, UUID, int], _Minute] = {}
        self._answered: dict[UUID, dict[UUID, datetime]] = {}
        self._kept_at = 0.0

    def answered(self, order: ReplicaOrder, running: RunningReplica) -> None:
        """Note that a replica answered just now, and measure now and then what it uses."""
        replica_id = order.replica_id
        self._answered.setdefault(order.deployment_id, {})[replica_id] = datetime.now(UTC)
        before = self._measured.get(replica_id)
        every = min(_CHECKS_BETWEEN * order.check_interval, _MEASURED_EVERY)
        if before is not None and before.restarts == order.restarts and time.monotonic() - before.at < every:
            return
        if replica_id in self._measuring:
            return
        task = asyncio.create_task(self._measure(order, running))
        self._measuring[replica_id] = task
        task.add_done_callback(lambda _: self._measuring.pop(replica_id))

    def sample(self, order: ReplicaOrder, usage: Usage | None) -> None:
        """Note what a replica that answers has used so far; None where it cannot be measured."""
        replica_id, now = order.replica_id, time.monotonic()
        before = self._measured.get(replica_id)
        lasts = max(_HOLDS, _CHECKS_MISSED * order.check_interval)
        measured = Measured(
            deployment_id=order.deployment_id,
            replica_id=replica_id,
            place=order.ordinal,
            restarts=order.restarts,
            at=now,
            until=now + lasts,
            cpu_seconds=usage.cpu_seconds if usage else None,
            memory_bytes=usage.memory_bytes if usage else None,
        )
        self._measured[replica_id] = measured
        same = before is not None and before.restarts == order.restarts
        seconds, cpu = (
            _since(before, measured) if before and same and now - before.at <= lasts else (0.0, 0.0)
        )
        if seconds and measured.cpu_seconds is not None:
            measured.cpu_cores = cpu / seconds
        restarts = None if same else order.restarts
        for minute, share in _minutes(time.time(), seconds):
            key = (order.deployment_id, replica_id, minute)
            self._minutes.setdefault(key, _Minute()).add(
                seconds * share, cpu * share, measured.memory_bytes, restarts
            )

    def current(self) -> list[Measured]:
        """Give the measures of this worker that still hold."""
        now = time.monotonic()
        return [each for each in list(self._measured.values()) if each.until > now]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write at every interval while the body runs, and once more at the end."""
        writing = asyncio.create_task(self._flush_forever())
        try:
            yield
        finally:
            tasks = [writing, *self._measuring.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.flush()

    async def flush(self) -> None:
        """Write what was measured; what cannot be written is kept for the next time."""
        gone = self._forget()
        found: dict[UUID, dict[UUID, LatestUsage]] = {}
        now, clock = datetime.now(UTC), time.monotonic()
        since, self._kept_at = self._kept_at, clock
        for each in self._measured.values():
            if each.at < since:
                continue
            found.setdefault(each.deployment_id, {})[each.replica_id] = LatestUsage(
                until=now + timedelta(seconds=each.until - clock),
                cpu_cores=each.cpu_cores,
                memory_bytes=each.memory_bytes,
            )
        await self._stores.usages.put(found, gone)
        answered, self._answered = self._answered, {}
        await self._stores.stamps.seen_all(answered)
        await self._write()

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                # What it has taken and not written yet would be lost with it.
                await to_its_end(self.flush())
            except Exception:
                logger.exception("usage_not_written")

    async def _measure(self, order: ReplicaOrder, running: RunningReplica) -> None:
        try:
            async with asyncio.timeout(_MEASURED_WITHIN):
                usage = await running.usage()
        # Whatever an engine or a process that ends brings about: the check itself went well.
        except Exception as error:
            logger.warning("usage_not_measured", replica_id=str(order.replica_id), error=str(error))
            usage = None
        self.sample(order, usage)

    async def _write(self) -> None:
        taken, self._minutes = self._minutes, {}
        if not taken:
            return
        counts = [
            UsageCount(
                deployment_id=deployment_id,
                replica_id=replica_id,
                minute=minute,
                seconds=each.seconds,
                cpu_seconds=each.cpu_seconds,
                memory_bytes=each.memory_bytes,
                restarts=each.restarts,
            )
            for (deployment_id, replica_id, minute), each in taken.items()
        ]
        try:
            async with self._stores.write() as rows:
                await rows.figures.add_usage(counts)
        except Exception:
            logger.exception("usage_not_written", replicas=len(taken))
            self._put_back(taken)
        except asyncio.CancelledError:
            self._put_back(taken)
            raise

    def _put_back(self, taken: dict[tuple[UUID, UUID, int], _Minute]) -> None:
        if len(taken) > _MOST_UNWRITTEN:
            logger.error("usage_forgotten", replicas=len(taken))
            return
        newer, self._minutes = self._minutes, taken
        for key, each in newer.items():
            self._minutes.setdefault(key, _Minute()).add(
                each.seconds, each.cpu_seconds, each.memory_bytes, each.restarts
            )

    def _forget(self) -> list[tuple[UUID, UUID]]:
        """Forget who has not been measured for long."""
        now = time.monotonic()
        gone = [each for each in self._measured.values() if each.until <= now]
        for each in gone:
            del self._measured[each.replica_id]
        return [(each.deployment_id, each.replica_id) for each in gone]


def _since(before: Measured, measured: Measured) -> tuple[float, float]:
    """Give the seconds between two measures, and the CPU seconds that were used in them."""
    seconds = measured.at - before.at
    if before.cpu_seconds is None or measured.cpu_seconds is None:
        return seconds, 0.0
    # Less than before: something that it had started has ended, or it is another container.
    return seconds, max(measured.cpu_seconds - before.cpu_seconds, 0.0)


def _minutes(now: float, seconds: float) -> Iterator[tuple[int, float]]:
    """Give the minutes in which the last seconds lie, and each one's share of them."""
    begin = now - seconds
    while True:
        minute = int(begin) - int(begin) % 60
        end = min(now, minute + 60.0)
        yield minute, (end - begin) / seconds if seconds else 1.0
        if end >= now:
            return
        begin = end
