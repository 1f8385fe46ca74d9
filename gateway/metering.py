"""What was called, counted in memory and written in batches."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import structlog

from gateway import figures
from mcp_platform.contracts.deployments import CallFigures, Route
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """How a tool call ended."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    REFUSED = "refused"
    """The server refused it with a JSON-RPC error."""
    FAILED = "failed"
    """No answer: the upstream was away, broke or was too slow."""
    CANCELLED = "cancelled"
    """The caller left."""


@dataclass
class _Sum:
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0

    def add(self, other: "_Sum") -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.seconds += other.seconds


class Meter:
    """Sums for each deployment; nothing is lost while the database is away."""

    def __init__(self, database: Database, flush_interval: float) -> None:
        self._database = database
        self._interval = flush_interval
        self._sums: dict[UUID, _Sum] = {}

    def count(self, route: Route, outcome: Outcome, seconds: float) -> None:
        """Count one call."""
        figures.CALLS.labels(route.slug, outcome.value).inc()
        figures.LATENCY.labels(route.slug).observe(seconds)
        figures.FIGURES_UNWRITTEN.inc()
        error = outcome not in (Outcome.OK, Outcome.CANCELLED)
        self._sums.setdefault(route.deployment_id, _Sum()).add(_Sum(1, int(error), seconds))

    async def flush_forever(self) -> None:
        """Write at every interval; runs until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted; what cannot be written is kept for the next time."""
        taken, self._sums = self._sums, {}
        if not taken:
            return
        batch = [
            CallFigures(
                deployment_id=key, requests=each.requests, errors=each.errors, latency_ms=each.seconds * 1000
            )
            for key, each in taken.items()
        ]
        try:
            async with self._database.write() as session:
                await DeploymentRepository(session).add_calls(batch)
        except Exception:
            log.exception("figures_not_written", deployments=len(batch))
            self._put_back(taken)
            return
        except asyncio.CancelledError:
            self._put_back(taken)  # the last flush, at the end, writes them
            raise
        figures.FIGURES_UNWRITTEN.dec(sum(each.requests for each in taken.values()))

    def _put_back(self, taken: dict[UUID, _Sum]) -> None:
        for key, each in taken.items():
            self._sums.setdefault(key, _Sum()).add(each)
