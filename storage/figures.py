"""What is known of deployments and their replicas, from all stores together."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from mcp_platform.contracts.deployments import Deployment, Replica, ReplicaState
from mcp_platform.contracts.figures import (
    DeploymentFigures,
    Histogram,
    LatestUsage,
    ReplicaFigures,
    quantiles,
)
from storage.sql.call_sums import CallSum
from storage.stores import Stores

_ANSWERING: Final = frozenset({ReplicaState.HEALTHY, ReplicaState.DRAINING})


async def figures_of(
    stores: Stores, deployment: Deployment, replicas: Sequence[Replica]
) -> tuple[DeploymentFigures, dict[UUID, ReplicaFigures]]:
    """Give the figures of a deployment as a whole, and of each of these replicas of it."""
    async with stores.read() as rows:
        totals = await rows.figures.totals(deployment.id)
    latest = await stores.usages.read(deployment.id)
    now = datetime.now(UTC)
    each = {
        replica.id: _replica_figures(replica, totals.get(replica.id), latest.get(replica.id), now)
        for replica in replicas
    }
    whole = CallSum(
        # The deployment's own row decides: it counts since before there were figures of replicas.
        deployment.requests_total,
        deployment.errors_total,
        deployment.latency_ms_total,
        totals[deployment.id].histogram if deployment.id in totals else Histogram(),
    )
    measured = [figures for figures in each.values() if figures.memory_bytes is not None]
    return (
        DeploymentFigures(
            **_of_calls(whole),
            cpu_cores=round(sum(one.cpu_cores or 0.0 for one in measured), 4) if measured else None,
            memory_bytes=sum(one.memory_bytes or 0 for one in measured) if measured else None,
            restarts=sum(one.restarts for one in each.values()),
            uptime_seconds=max((one.uptime_seconds for one in each.values()), default=0.0),
        ),
        each,
    )


def _replica_figures(
    replica: Replica, calls: CallSum | None, usage: LatestUsage | None, now: datetime
) -> ReplicaFigures:
    answering = replica.state in _ANSWERING
    used = usage if answering and usage else LatestUsage(until=now)
    return ReplicaFigures(
        **_of_calls(calls or CallSum()),
        cpu_cores=None if used.cpu_cores is None else round(used.cpu_cores, 4),
        memory_bytes=used.memory_bytes,
        restarts=replica.restarts,
        uptime_seconds=round((now - replica.started_at).total_seconds(), 3) if answering else 0.0,
    )


def _of_calls(calls: CallSum) -> dict[str, float | int | None]:
    requests = calls.requests
    return {
        "requests_total": requests,
        "errors_total": calls.errors,
        "avg_response_time_ms": round(calls.latency_ms / requests, 3) if requests else 0.0,
        "error_rate": round(calls.errors / requests, 4) if requests else 0.0,
        **quantiles(calls.histogram),
    }
