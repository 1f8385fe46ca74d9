"""Following the settings that may be changed while running leaves no subscription behind."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from storage.cache import Message
from tests.waiting import PATIENCE
from worker import check_interval
from worker.check_interval import CheckInterval


class SlowStores:
    """Stores whose database does not answer."""

    cache: Any = None

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        self.asked.set()
        await asyncio.Event().wait()
        yield


async def test_who_is_called_off_while_reading_has_ended_the_subscription(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscriptions = 0

    async def listen(*_: Any) -> AsyncGenerator[Message]:
        nonlocal subscriptions
        subscriptions += 1
        try:
            yield Message(None)
        finally:
            for _step in range(10):
                await asyncio.sleep(0)
            subscriptions -= 1

    monkeypatch.setattr(check_interval, "listen", listen)
    stores: Any = SlowStores()
    async with CheckInterval(stores, 5.0).followed():
        await asyncio.wait_for(stores.asked.wait(), PATIENCE)
    assert subscriptions == 0
