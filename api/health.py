"""`/health` and `/metrics`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue as TaskQueueMessage
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

from api.dependencies import PartsDep, unmetered
from mcp_platform import __version__
from mcp_platform.contracts.base import Contract
from mcp_platform.names import TaskQueue
from storage.cache import ping as ping_cache

router = APIRouter(tags=["Operations"], dependencies=[Depends(unmetered)])

_PATIENCE = 2.0
_POLLER_AGE = 90.0
"""Seconds since its last poll within which a worker counts as alive; a poll lasts up to 60."""

Word = Literal["healthy", "unhealthy"]


class PartHealth(Contract):
    """One part by itself."""

    status: Word
    latency_ms: float | None = None
    detail: str | None = None


class PlatformHealth(Contract):
    """All parts; `healthy` only when each of them is."""

    status: Word
    version: str
    parts: dict[str, PartHealth]


@router.get("/health", responses={503: {"model": PlatformHealth}}, response_model_exclude_none=True)
async def health(parts: PartsDep, response: Response) -> PlatformHealth:
    """Each part by itself, asked now; 503 if any is away."""
    checks: dict[str, Callable[[], Awaitable[object]]] = {
        "database": parts.stores.database.ping,
        "documents": parts.stores.documents.ping,
        "cache": lambda: ping_cache(parts.stores.cache),
        "temporal": lambda: _twice(lambda: _ask_temporal(parts.temporal)),
        "worker": lambda: _twice(lambda: _find_worker(parts.temporal)),
    }
    found = await asyncio.gather(*(_check(check) for check in checks.values()))
    results = dict(zip(checks, found, strict=True))
    if parts.limits.alone:
        results["limits"] = PartHealth(
            status="healthy", detail="each process counts by itself while the cache is away"
        )
    well = all(part.status == "healthy" for part in found)
    response.status_code = 200 if well else 503
    return PlatformHealth(status="healthy" if well else "unhealthy", version=__version__, parts=results)


@router.get("/metrics", response_class=Response)
async def metrics(_parts: PartsDep) -> Response:
    """Figures in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _check(check: Callable[[], Awaitable[object]]) -> PartHealth:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE):
            await check()
    # Whatever a client library raises, the part does not serve.
    except Exception as error:
        detail = (
            "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        )
        return PartHealth(status="unhealthy", detail=detail[:200])
    return PartHealth(status="healthy", latency_ms=round((time.perf_counter() - started) * 1000, 2))


async def _twice(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask once more after a failure: Temporal closes connections for their age, with what is under way."""
    try:
        await ask()
    except RPCError:
        await ask()


async def _ask_temporal(temporal: Client) -> None:
    await temporal.workflow_service.get_system_info(GetSystemInfoRequest())


async def _find_worker(temporal: Client) -> None:
    answer = await temporal.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=temporal.namespace,
            task_queue=TaskQueueMessage(name=TaskQueue.ORCHESTRATION),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    newest = max((poller.last_access_time.ToSeconds() for poller in answer.pollers), default=0)
    if time.time() - newest > _POLLER_AGE:
        raise LookupError("no worker polls for workflows")
