"""What the live parts leave behind when they are closed: nothing that still reads from a store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import uuid4

from redis.asyncio import Redis
from temporalio.client import Client

from api.listeners import Listeners
from api.outbox import Outbox
from api.status_hub import StatusHub
from api.task_reader import TaskReader
from mcp_platform.contracts.access import Principal
from storage.stores import Stores
from tests.waiting import PATIENCE, eventually


class SlowStores:
    """Stores that answer nobody, and take their time, each reader less, when somebody gives up."""

    def __init__(self, cache: Redis) -> None:
        self.cache = cache
        self.begun = 0
        self.ended = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        """Wait for ever."""
        self.begun += 1
        delay = 0.2 / self.begun**2
        try:
            await asyncio.Event().wait()
            yield
        finally:
            await asyncio.sleep(delay)
            self.ended += 1


async def begun(stores: SlowStores, count: int) -> None:
    async def readers() -> int:
        return stores.begun

    await eventually(readers, lambda seen: seen == count)


def somebody() -> Principal:
    return Principal(user_id=uuid4(), username="somebody", permissions=frozenset(), credential="session:1")


def outbox() -> Outbox:
    return Outbox(10, lambda: None)


async def test_a_watcher_that_nobody_needs_any_more_ends_before_the_hub_is_closed(cache: Redis) -> None:
    stores, told = SlowStores(cache), outbox()
    client = cast("Client", None)
    hub = StatusHub(TaskReader(cast("Stores", stores), client), client)
    async with asyncio.timeout(PATIENCE), hub.open():
        hub.subscribe("a task", told)
        await begun(stores, 1)
        hub.leave(told)
    assert stores.ended == 1


async def test_a_listener_that_leaves_leaves_nobody_reading_for_it(cache: Redis) -> None:
    stores = SlowStores(cache)
    client = cast("Client", None)
    reader = TaskReader(cast("Stores", stores), client)
    listeners = Listeners(cast("Stores", stores), reader, StatusHub(reader, client))
    async with asyncio.timeout(PATIENCE), listeners.listening(somebody(), outbox(), None):
        await begun(stores, 1)
        # Who begins to hear tells every listener anew what it may have missed.
        async with listeners.open():
            await begun(stores, 2)
    assert stores.ended == 2
