"""How late, and at what cost, thousands of WebSockets hear of changes that real workflows make.

One API process serves all sockets; the clients are a process of their own, and so is the worker. Every
change carries its moment, which each client compares with the moment of its arrival.
"""

import asyncio
import resource
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psutil
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from activities.tasks import TaskActivities
    from benchmarks.servers import Platform, first_line, running, running_api, running_redis
    from benchmarks.tables import show
    from mcp_platform.connection import connect_temporal
    from mcp_platform.contracts.base import Contract
    from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState, TaskStatus
    from mcp_platform.settings import Settings, TemporalSettings
    from storage.stores import Stores, open_stores
    from workflows.tasks import TaskWorkflow

QUEUE = "bench-sockets"
SOCKETS = 5000
TASKS = 50
CHANGES = 15
INTERVAL = 2.0
"""Seconds between two changes of a task; the tasks change one after the other."""


class Counting(Contract):
    """How a task changes; times in seconds."""

    changes: int
    interval: float
    offset: float


@workflow.defn(name="bench.counting")
class CountingWorkflow(TaskWorkflow):
    """Change from time to time, once told to begin."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = False

    @workflow.run
    async def run(self, order: Counting) -> TaskStatus:
        """End after the last change, as every task does."""

        async def count() -> dict[str, int]:
            await workflow.wait_condition(lambda: self._begun)
            await workflow.sleep(order.offset)
            for number in range(order.changes):
                await workflow.sleep(order.interval)
                self._advance(number, str(workflow.time()))
            await workflow.sleep(order.interval)
            return {"changes": order.changes}

        return await self._carry_out(count)

    @workflow.signal
    def begin(self) -> None:
        """Begin to change."""
        self._begun = True


async def run(platform: Platform) -> None:
    """Measure once; the platform's own API is not asked."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    client = await connect_temporal(platform.temporal, TemporalSettings())
    async with (
        running_redis(platform.folder) as redis,
        running_api(platform, redis) as (url, pid),
        open_stores(Settings(data_dir=platform.folder / "data")) as stores,
    ):
        own = TaskActivities(stores)
        activities: list[Callable[..., Any]] = [own.begin, own.conclude]
        async with Worker(client, task_queue=QUEUE, workflows=[CountingWorkflow], activities=activities):
            tasks = await _start_tasks(platform, client, stores)
            await _measure(platform, client, tasks, url, psutil.Process(pid))


async def _measure(
    platform: Platform, client: Client, tasks: list[str], url: str, api: psutil.Process
) -> None:
    address = urlsplit(url)
    audience = [sys.executable, "-m", "benchmarks.audience", str(address.hostname), str(address.port)]
    log = platform.folder / "audience.log"
    before = api.memory_info().rss
    async with running(*audience, platform.token, str(SOCKETS), *tasks, log=log) as guests:
        await first_line(guests, log)
        seated = api.memory_info().rss
        cpu = sum(api.cpu_times()[:2])
        await asyncio.gather(
            *(client.get_workflow_handle(task).signal(CountingWorkflow.begin) for task in tasks)
        )
        assert guests.stdout is not None
        heard = await first_line(guests, log, CHANGES * INTERVAL + 120)
        after = api.memory_info().rss
        cpu = sum(api.cpu_times()[:2]) - cpu
    expected = SOCKETS * CHANGES
    show(
        f"{SOCKETS} WebSockets on {TASKS} tasks, each changing every {INTERVAL:g} s",
        ["figure", "value"],
        [
            ["p50 from change to arrival", f"{heard['p50']:.0f} ms"],
            ["p99", f"{heard['p99']:.0f} ms"],
            ["the latest", f"{heard['most']:.0f} ms"],
            ["sockets that heard their task's last state", f"{heard['ended']:.0f}"],
            ["sockets lost", f"{heard['lost']:.0f}"],
            ["states that arrived, of all", f"{heard['arrived'] / expected:.1%}"],
            ["memory a socket, seated", f"{(seated - before) / SOCKETS / 1024:.1f} KB"],
            ["memory a socket, at the end", f"{(after - before) / SOCKETS / 1024:.1f} KB"],
            ["CPU a message", f"{cpu / heard['arrived'] * 1e6:.0f} µs"],
        ],
    )


async def _start_tasks(platform: Platform, client: Client, stores: Stores) -> list[str]:
    """Start workflows that wait, with records as the API would have made them."""
    owner = UUID((await platform.ask("GET", "/auth/me"))["id"])
    tasks = [str(uuid4()) for _ in range(TASKS)]
    async with stores.write() as rows:
        for task in tasks:
            record = TaskRecord(
                task_id=task,
                kind=TaskKind.FEASIBILITY,
                owner_id=owner,
                status=TaskState.PENDING,
                created_at=datetime.now(UTC),
            )
            await rows.tasks.add(record)
    for number, task in enumerate(tasks):
        order = Counting(changes=CHANGES, interval=INTERVAL, offset=number * INTERVAL / TASKS)
        await client.start_workflow(CountingWorkflow.run, order, id=task, task_queue=QUEUE)
    return tasks
