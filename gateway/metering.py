"""What was called, counted in memory and written in batches."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import Counter
from prometheus_client import Histogram as Shown

from gateway import figures
from gateway.journal import Journal
from gateway.requests import RelayedRequest
from mcp_platform.contracts.calls import Outcome as Outcome
from mcp_platform.contracts.calls import ToolCount
from mcp_platform.contracts.deployments import CallFigures, Route
from mcp_platform.contracts.figures import CallCount, Histogram
from mcp_platform.errors import Unavailable
from mcp_platform.request_context import current_request_id
from storage.sql.calls import LONGEST_TOOL, sanitized
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.figures import FigureRepository
from storage.sql.tool_figures import ToolFigureRepository

log = structlog.get_logger(__name__)

_MOST_UNWRITTEN: Final = 5_000
"""Minutes of single replicas and tools; while more cannot be written, calls are kept without their minute."""
_MOST_NAMES: Final = 1_000
"""Names of one MCP's tools in one writing; callers may call whatever they like, and most names are none."""
_LAST_TRIES: Final = 3

_Key = tuple[UUID, UUID | None, str, int, bool]
"""The deployment, the replica that answered, the tool, the minute, and whether the gateway itself refused."""


@dataclass(slots=True)
class _Sum:
    route: Route
    requests: int = 0
    errors: int = 0
    milliseconds: float = 0.0
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, other: "_Sum") -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.milliseconds += other.milliseconds
        self.histogram.add(other.histogram)


class _Slug:
    """What Prometheus sees of one slug, looked up once."""

    def __init__(self, slug: str) -> None:
        self.calls: dict[Outcome, Counter] = {
            outcome: figures.CALLS.labels(slug, outcome.value) for outcome in Outcome
        }
        self.latency: Shown = figures.LATENCY.labels(slug)


class Meter:
    """Sums for each deployment, replica, tool and minute, and a line in the journal for each call.

    While the database is away sums wait for it, and none is lost; so do lines, within a bound.

    Args:
        database: Where both go.
        flush_interval: Seconds between writings.
        journal_bound: How many lines may wait.
    """

    def __init__(self, database: Database, flush_interval: float, journal_bound: int = 50_000) -> None:
        self._database = database
        self._interval = flush_interval
        self._journal = Journal(journal_bound)
        self._sums: dict[_Key, _Sum] = {}
        self._slugs: dict[str, _Slug] = {}
        self._flushing = asyncio.Lock()

    def count(
        self, request: RelayedRequest, tool: str, route: Route, outcome: Outcome, seconds: float
    ) -> None:
        """Count one call, and note whose it was and who answered: a few microseconds, and no I/O."""
        slug = self._slugs.get(route.slug)
        if slug is None:
            slug = self._slugs[route.slug] = _Slug(route.slug)
        slug.calls[outcome].inc()
        slug.latency.observe(seconds)
        figures.FIGURES_UNWRITTEN.inc()
        denied = outcome is Outcome.DENIED
        key = (route.deployment_id, request.replica_id, tool, _this_minute(), denied)
        own = self._sums.get(key)
        if own is None:
            own = self._sums[key] = _Sum(route)
        own.requests += 1
        own.errors += outcome.is_error
        own.milliseconds += seconds * 1000
        own.histogram.observe(seconds * 1000)
        self._journal.note(
            route,
            request.replica_id,
            tool,
            request.principal,
            request.via,
            outcome,
            seconds,
            request.request_id or current_request_id(),
            request.error_code,
        )

    async def flush_forever(self) -> None:
        """Write at every interval; runs until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted and noted; what cannot be written is kept for the next time.

        Who is cancelled while it waits leaves the writing to go on: nothing is written twice.
        """
        async with self._flushing:
            writing = asyncio.ensure_future(self._write())
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait({writing})
                raise

    async def close(self) -> None:
        """Write the last of it; what the database does not take is counted as lost, after some tries."""
        for _ in range(_LAST_TRIES):
            await self.flush()
            if not self._sums and not self._journal.left:
                return
        self._journal.give_up()

    async def _write(self) -> None:
        await self._write_sums()
        await self._journal.write(self._database)

    async def _write_sums(self) -> None:
        taken, self._sums = self._sums, {}
        if not taken:
            return
        try:
            async with self._database.write() as session:
                # Deployments first, as everybody does.
                await DeploymentRepository(session).add_calls(_by_deployment(taken))
                await FigureRepository(session).add_calls(_counts(taken))
                await ToolFigureRepository(session).add(_by_tool(taken))
        except Unavailable as error:
            log.warning("figures_not_written", replicas=len(taken), error=str(error))
            self._put_back(taken)
        except Exception:
            log.exception("figures_not_written", replicas=len(taken))
            self._put_back(taken)
        else:
            figures.FIGURES_UNWRITTEN.dec(sum(each.requests for each in taken.values()))

    def _put_back(self, taken: dict[_Key, _Sum]) -> None:
        now = _this_minute() if len(taken) > _MOST_UNWRITTEN else None
        for (deployment_id, replica_id, tool, minute, denied), each in taken.items():
            key = (deployment_id, replica_id, tool, minute if now is None else now, denied)
            self._sums.setdefault(key, _Sum(each.route)).add(each)


def _this_minute() -> int:
    now = int(time.time())
    return now - now % 60


def _by_deployment(sums: dict[_Key, _Sum]) -> list[CallFigures]:
    """Sum up what deployments were asked; a call that the gateway refused is none of theirs."""
    whole: dict[UUID, _Sum] = {}
    for (deployment_id, _, _, _, denied), each in sums.items():
        if not denied:
            whole.setdefault(deployment_id, _Sum(each.route)).add(each)
    return [
        CallFigures(
            deployment_id=key, requests=each.requests, errors=each.errors, latency_ms=each.milliseconds
        )
        for key, each in whole.items()
    ]


def _counts(sums: dict[_Key, _Sum]) -> list[CallCount]:
    whole: dict[tuple[UUID, UUID | None, int], _Sum] = {}
    for (deployment_id, replica_id, _, minute, denied), each in sums.items():
        if not denied:
            whole.setdefault((deployment_id, replica_id, minute), _Sum(each.route)).add(each)
    return [
        CallCount(deployment_id=deployment_id, replica_id=replica_id, minute=minute, **_figures(each))
        for (deployment_id, replica_id, minute), each in whole.items()
    ]


def _by_tool(sums: dict[_Key, _Sum]) -> list[ToolCount]:
    names: defaultdict[UUID, set[str]] = defaultdict(set)
    whole: dict[tuple[UUID, str, int], _Sum] = {}
    for (_, _, tool, minute, _), each in sums.items():
        known = names[each.route.mcp_id]
        name = sanitized(tool, LONGEST_TOOL)
        if name not in known and len(known) >= _MOST_NAMES:
            name = ""
        known.add(name)
        whole.setdefault((each.route.mcp_id, name, minute), _Sum(each.route)).add(each)
    return [
        ToolCount(mcp_id=mcp_id, tool=tool, minute=minute, **_figures(each))
        for (mcp_id, tool, minute), each in whole.items()
    ]


def _figures(each: _Sum) -> dict[str, Any]:
    return {
        "requests": each.requests,
        "errors": each.errors,
        "latency_ms": each.milliseconds,
        "histogram": each.histogram.counts,
    }
