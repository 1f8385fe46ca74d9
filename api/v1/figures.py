"""`/api/v1/deployments/{id}/metrics`: what deployments and replicas did, and what they used."""

import time
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.dependencies import PartsDep
from api.v1.deployments.lookup import Reader, find_deployment
from mcp_platform.contracts.figures import History, HistoryPoint, Window, begin_of, quantiles
from mcp_platform.errors import NotFound
from storage.sql.call_sums import CallSum
from storage.sql.figures import UsageSum

router = APIRouter(prefix="/deployments", tags=["Deployments"])


@router.get("/{deployment_id}/metrics")
async def get_history(
    deployment_id: UUID,
    caller: Reader,
    parts: PartsDep,
    window: Annotated[Window, Query(description="How far back.")] = Window.HOUR,
    replica: Annotated[UUID | None, Query(description="Only this replica's, by its id.")] = None,
) -> History:
    """Give what a deployment or one of its replicas did over time, for charts: points without gaps."""
    await find_deployment(parts, deployment_id, caller)
    async with parts.stores.read() as rows:
        if replica is not None:
            found = await rows.deployments.get_replica(replica)
            if found is None or found.deployment_id != deployment_id:
                raise NotFound("replica", replica)
        begins = _begins(window)
        calls = await rows.figures.calls(deployment_id, replica, window.step, begins[0])
        usage = await rows.figures.usage(deployment_id, replica, window.step, begins[0])
    seconds = int(window.step.total_seconds())
    return History(
        deployment_id=deployment_id,
        replica_id=replica,
        window=window,
        step_seconds=seconds,
        points=[_point(begin, seconds, calls.get(begin), usage.get(begin)) for begin in begins],
    )


def _begins(window: Window) -> list[int]:
    """Give the beginning of each of the window's steps; the last one is going on."""
    step = int(window.step.total_seconds())
    last = begin_of(datetime.now(UTC), window.step)
    count = int(window.length / window.step)
    return [last - step * ago for ago in reversed(range(count))]


def _point(begin: int, step: int, calls: CallSum | None, usage: UsageSum | None) -> HistoryPoint:
    point: dict[str, float | int | None] = {}
    if calls is not None and calls.requests:
        point |= {
            "requests": calls.requests,
            "errors": calls.errors,
            "avg_ms": round(calls.latency_ms / calls.requests, 3),
            **quantiles(calls.histogram),
        }
    if usage is not None:
        # What is still going on was measured up to some seconds ago.
        over = begin + step <= time.time()
        length = step if over else usage.longest
        measured = usage.memory_bytes is not None
        point |= {
            "cpu_cores": round(usage.cpu_seconds / length, 4) if measured and length else None,
            "memory_bytes": usage.memory_bytes,
            "replicas": round(usage.seconds / length, 1) if length else 0.0,
            "restarts": usage.restarts,
        }
    return HistoryPoint(at=datetime.fromtimestamp(begin, UTC), **point)
