"""The worker's figures for Prometheus: deployments, replicas, and what those use that it watches."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from activities.usage import UsageSampler
from mcp_platform.contracts.deployments import DeploymentState, ReplicaState
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.figures import FigureRepository, Standing

log = structlog.get_logger(__name__)

_BY_REPLICA: Final = ["slug", "place"]


@dataclass
class Fleet:
    """What one worker knows of all replicas, as it last read it."""

    sampler: UsageSampler
    slugs: dict[UUID, str] = field(default_factory=dict)
    statuses: Counter[DeploymentState] = field(default_factory=Counter)
    replicas: list[Standing] = field(default_factory=list)


class Fleets(Collector):
    """Shows the fleets of this process; what is gone from them is gone from here."""

    def __init__(self) -> None:
        self.known: list[Fleet] = []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Give all series as they are now."""
        fleets = list(self.known)
        yield _deployments(fleets)
        yield from _replicas(fleets)
        yield from _usage(fleets)


@asynccontextmanager
async def shown_fleet(database: Database, sampler: UsageSampler, interval: float) -> AsyncIterator[None]:
    """Show deployments and replicas while the body runs, read anew at every interval."""
    fleet = Fleet(sampler)
    FLEETS.known.append(fleet)
    reading = asyncio.create_task(_read_forever(database, fleet, interval))
    try:
        yield
    finally:
        FLEETS.known.remove(fleet)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def create_app() -> Starlette:
    """Serve the figures of this process under `/metrics`."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", metrics)])


async def _read_forever(database: Database, fleet: Fleet, interval: float) -> None:
    while True:
        try:
            async with database.read() as session:
                active = await DeploymentRepository(session).active()
                replicas = await FigureRepository(session).standing()
        except Exception:
            # What was read last is shown until the database is back.
            log.exception("fleet_not_read")
        else:
            fleet.slugs = {each.id: each.slug for each in active}
            fleet.statuses = Counter(each.status for each in active)
            fleet.replicas = replicas
        await asyncio.sleep(interval)


def _deployments(fleets: list[Fleet]) -> GaugeMetricFamily:
    family = GaugeMetricFamily("mcp_platform_deployments", "Deployments by status.", labels=["status"])
    for status in DeploymentState:
        if fleets and status is not DeploymentState.STOPPED:
            family.add_metric([status.value], sum(fleet.statuses[status] for fleet in fleets))
    return family


def _replicas(fleets: list[Fleet]) -> Iterable[GaugeMetricFamily]:
    states = GaugeMetricFamily("mcp_platform_replicas", "Replicas by state.", labels=["state"])
    up = GaugeMetricFamily("mcp_platform_replica_up", "Whether a replica answers.", labels=_BY_REPLICA)
    restarts = GaugeMetricFamily(
        "mcp_platform_replica_restarts", "Replicas that stood in this place before.", labels=_BY_REPLICA
    )
    found = [replica for fleet in fleets for replica in fleet.replicas]
    counts = Counter(replica.state for replica in found)
    for state in ReplicaState:
        if fleets and state is not ReplicaState.STOPPED:
            states.add_metric([state.value], counts[state])
    answers: dict[tuple[str, str], bool] = {}
    before: Counter[tuple[str, str]] = Counter()
    for replica in found:
        # While one revision takes over from another, two stand in one place.
        key = (replica.slug, str(replica.place))
        answers[key] = answers.get(key, False) or replica.state is ReplicaState.HEALTHY
        before[key] += replica.restarts
    for key, well in answers.items():
        up.add_metric(key, float(well))
        restarts.add_metric(key, before[key])
    return states, up, restarts


def _usage(fleets: list[Fleet]) -> Iterable[GaugeMetricFamily]:
    cpu = GaugeMetricFamily("mcp_platform_replica_cpu_cores", "CPU that it uses.", labels=_BY_REPLICA)
    memory = GaugeMetricFamily("mcp_platform_replica_memory_bytes", "Memory it uses.", labels=_BY_REPLICA)
    cores: defaultdict[tuple[str, str], float] = defaultdict(float)
    held: Counter[tuple[str, str]] = Counter()
    for fleet in fleets:
        living = {replica.id for replica in fleet.replicas}
        for each in fleet.sampler.current():
            if each.replica_id not in living or each.memory_bytes is None:
                continue
            key = (fleet.slugs[each.deployment_id], str(each.place))
            held[key] += each.memory_bytes
            if each.cpu_cores is not None:
                cores[key] += each.cpu_cores
    for key, value in cores.items():
        cpu.add_metric(key, value)
    for key, value in held.items():
        memory.add_metric(key, value)
    return cpu, memory


FLEETS: Final = Fleets()
REGISTRY.register(FLEETS)
