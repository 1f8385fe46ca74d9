"""What a durable call costs on this machine: `make bench`.

One workflow with one activity, on an embedded server with its database file as `mcp-platform up` runs
it: one call after the other, then 50 at once.
"""

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from mcp_platform.cli.temporal_server import TemporalServer, find_or_get
    from mcp_platform.plugin import PLATFORM
    from mcp_platform.settings import TemporalSettings

QUEUE: Final = "bench"
ONE_BY_ONE: Final = 100
AT_ONCE: Final = 50
TOTAL: Final = 500


@activity.defn(name="bench.echo")
async def echo(text: str) -> str:
    """Return the text."""
    return text


@workflow.defn(name="bench.one_activity")
class OneActivityWorkflow:
    """Run one activity."""

    @workflow.run
    async def run(self, text: str) -> str:
        """Return what the activity returns."""
        return await workflow.execute_activity(echo, text, start_to_close_timeout=timedelta(seconds=30))


async def call(client: Client) -> float:
    """Run one workflow to its end; returns milliseconds."""
    started = time.perf_counter()
    await client.execute_workflow(OneActivityWorkflow.run, "hello", id=str(uuid4()), task_queue=QUEUE)
    return (time.perf_counter() - started) * 1000


async def measure(client: Client) -> None:
    """Write both tables' rows to standard output."""
    for _ in range(10):
        await call(client)
    alone = sorted([await call(client) for _ in range(ONE_BY_ONE)])
    row(f"one after the other, {ONE_BY_ONE} calls", alone, sum(alone) / 1000)
    gate = asyncio.Semaphore(AT_ONCE)
    crowd: list[float] = []

    async def one() -> None:
        async with gate:
            crowd.append(await call(client))

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(TOTAL):
            group.create_task(one())
    row(f"{AT_ONCE} at once, {TOTAL} calls", crowd, time.perf_counter() - started)


def row(name: str, milliseconds: list[float], seconds: float) -> None:
    """Write one row of figures."""
    cuts = statistics.quantiles(milliseconds, n=100)
    rate = len(milliseconds) / seconds
    sys.stdout.write(f"{name}: p50 {cuts[49]:.1f} ms, p95 {cuts[94]:.1f} ms, {rate:.0f} a second\n")
    sys.stdout.flush()


def say(line: str) -> None:
    """Tell the user, beside the figures."""
    sys.stderr.write(f"{line}\n")


async def main() -> None:
    """Start a server of our own in a temporary folder, and measure."""
    program = await find_or_get(TemporalSettings(), say)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = {"port": one.getsockname()[1], "ui_port": two.getsockname()[1]}
    with tempfile.TemporaryDirectory() as folder:
        async with TemporalServer(program, Path(folder), **ports) as server:
            client = await Client.connect(server.address, plugins=[PLATFORM])
            async with Worker(client, task_queue=QUEUE, workflows=[OneActivityWorkflow], activities=[echo]):
                await measure(client)


if __name__ == "__main__":
    asyncio.run(main())
    os._exit(0)  # Temporal's SDK may crash at the interpreter's own exit (sdk-python#300)
