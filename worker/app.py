"""Puts the workers together and runs them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

from mcp_platform import __version__
from mcp_platform.names import TaskQueue
from mcp_platform.settings import Settings
from storage.stores import Stores
from worker.catalogue import WORKFLOWS
from worker.rooms import Rooms, opened_rooms
from worker.schedules import keep_schedules
from worker.search_attributes import ensure_search_attributes

logger = structlog.get_logger(__name__)

_FAREWELL = timedelta(seconds=1)
"""How long running activities get to finish when the worker stops, before they are cancelled."""
_LARGEST_BEAT_INTERVAL = timedelta(seconds=2)
"""How late, at most, a running activity hears that it was cancelled."""


@asynccontextmanager
async def running_worker(settings: Settings, temporal: Client, stores: Stores) -> AsyncIterator[None]:
    """Workers for every queue, and their schedules; at the end their replicas are gone too."""
    async with opened_rooms(settings, temporal, stores) as rooms:
        await rooms.monitoring.forget_lost_replicas()
        await ensure_search_attributes(temporal)
        working = [worker.run() for worker in _workers(settings, temporal, rooms)]
        # Beside them: a Temporal that has just come back may take half a minute to answer about schedules.
        async with _together([*working, keep_schedules(temporal)]):
            logger.info("worker_started", process_driver=settings.process_driver)
            yield
            logger.info("worker_stopping")


@asynccontextmanager
async def _together(parts: list[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run workers and what they need while the body runs; the first that fails ends the body with its error.

    A worker's own context manager cancels the task that entered it, so two of them that fail at once
    interrupt each other's ending, and the error is lost. Here each has a task.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
            try:
                yield
            finally:
                # The SDK drains a worker that is cancelled, within its graceful shutdown timeout.
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _workers(settings: Settings, temporal: Client, rooms: Rooms) -> list[Worker]:
    # Without a build id the SDK would make one at each start from the code of every loaded module.
    serving = partial(Worker, temporal, build_id=__version__, graceful_shutdown_timeout=_FAREWELL)
    return [
        serving(task_queue=TaskQueue.ORCHESTRATION, workflows=WORKFLOWS, activities=rooms.orchestration),
        serving(
            task_queue=TaskQueue.REPLICAS,
            activities=rooms.replicas,
            max_concurrent_activities=settings.worker.replicas,
            max_heartbeat_throttle_interval=_LARGEST_BEAT_INTERVAL,
        ),
        serving(
            task_queue=TaskQueue.MODELS,
            activities=rooms.asking,
            max_concurrent_activities=settings.models.concurrency,
            max_heartbeat_throttle_interval=_LARGEST_BEAT_INTERVAL,
        ),
        serving(
            task_queue=TaskQueue.BUILDS,
            activities=rooms.builds,
            max_concurrent_activities=settings.docker.builds_at_once,
            max_heartbeat_throttle_interval=_LARGEST_BEAT_INTERVAL,
        ),
    ]
