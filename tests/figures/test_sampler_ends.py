"""What replicas use is written, also what was just being written when the worker ended."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from activities.clients.remotes import RemoteServer
from activities.usage import UsageSampler
from mcp_platform.contracts.deployments import Driver, ReplicaOrder
from tests.waiting import PATIENCE

ORDER = ReplicaOrder(
    deployment_id=uuid4(),
    ordinal=0,
    replica_id=uuid4(),
    driver=Driver.REMOTE,
    patience=1.0,
    check_interval=1.0,
    check_timeout=1.0,
    failures_allowed=1,
)


async def test_stamps_that_are_being_written_as_the_worker_ends_are_written() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    written: set[UUID] = set()

    async def put(*_: Any) -> None:
        return None

    async def seen_all(moments: Mapping[UUID, Any]) -> None:
        begun.set()
        await go_on.wait()
        written.update(moments)

    @asynccontextmanager
    async def write() -> AsyncIterator[Any]:
        yield SimpleNamespace(figures=SimpleNamespace(add_usage=put))

    usages, stamps = SimpleNamespace(put=put), SimpleNamespace(seen_all=seen_all)
    stores: Any = SimpleNamespace(usages=usages, stamps=stamps, write=write)
    sampler = UsageSampler(stores, 0.01)

    async def run() -> None:
        async with sampler.running():
            sampler.answered(ORDER, RemoteServer("http://192.0.2.1/", "http://192.0.2.1/", {}))
            await asyncio.wait_for(begun.wait(), PATIENCE)

    running = asyncio.create_task(run())
    await asyncio.wait_for(begun.wait(), PATIENCE)
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    await running
    assert ORDER.deployment_id in written
