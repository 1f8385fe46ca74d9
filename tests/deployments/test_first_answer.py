"""Waiting for a replica's first answer leaves nothing behind that still goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from activities.clients.remotes import RemoteServer
from activities.deployments.health import Health
from activities.deployments.troubles import Troubles
from mcp_platform.contracts.deployments import Driver, ReplicaOrder
from tests.waiting import PATIENCE


class HangingProbe:
    """Asks a server that never answers, and takes a moment to let go of it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = 0

    async def check(self, *_: Any, **__: Any) -> None:
        async with self._connected():
            self.asked.set()
            await asyncio.Event().wait()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        self.open += 1
        try:
            yield
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            self.open -= 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_nobody_asks_on_once_it_is_known_or_nobody_waits(cancelled: bool) -> None:
    probe: Any = HangingProbe()
    unused: Any = None
    health = Health(unused, probe, Troubles(), unused, lambda order: order)
    order = ReplicaOrder(
        deployment_id=uuid4(),
        ordinal=0,
        replica_id=uuid4(),
        driver=Driver.REMOTE,
        patience=PATIENCE if cancelled else 0.1,
        check_interval=1.0,
        check_timeout=1.0,
        failures_allowed=1,
    )
    running = RemoteServer("http://192.0.2.1/mcp", "http://192.0.2.1/mcp", {})
    waiting = asyncio.create_task(health.first_answer(order, running))
    await asyncio.wait_for(probe.asked.wait(), PATIENCE)
    if cancelled:
        waiting.cancel()
    await asyncio.wait({waiting})
    assert probe.open == 0
    assert waiting.cancelled() or waiting.result() == "it did not answer within 0.1 s"
