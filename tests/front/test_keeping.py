"""What a request changed in its session is kept, if not by itself then by the next one."""

import asyncio
from collections.abc import Collection
from uuid import uuid4

import pytest

from gateway.front.sessions import Sessions
from gateway.requests import ClientSession
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from storage.cache import Message
from tests.waiting import PATIENCE


class _Store:
    """Keeps texts in memory; writing waits, or fails, as it is told to."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.held: asyncio.Event | None = None
        self.writing = asyncio.Event()
        self.away = False
        self.reading = asyncio.Event()
        self.held_reading: asyncio.Event | None = None

    async def count(self, owner: str) -> tuple[int, int]:
        return len(self.kept), 0

    async def put(self, number: str, owner: str, text: str) -> None:
        self.writing.set()
        if self.held is not None:
            await self.held.wait()
        if self.away:
            raise Unavailable("the store is away", "cache", 1)
        self.kept[number] = text

    async def get(self, number: str) -> str | None:
        self.reading.set()
        if self.held_reading is not None:
            await self.held_reading.wait()
        return self.kept.get(number)

    async def touch(self, used: Collection[tuple[str, str]]) -> set[str]:
        return set()

    async def delete(self, number: str, owner: str) -> None:
        self.kept.pop(number, None)


async def _nobody(*_: object) -> None:
    """Tell nobody."""


@pytest.mark.parametrize("left", [True, False], ids=["the client leaves", "the store is away"])
async def test_a_change_that_could_not_be_kept_is_kept_by_the_next_request(left: bool) -> None:
    store = _Store()
    sessions = Sessions(store, _nobody, lambda _: None, 60.0, 10, 10)
    session = ClientSession("", None, "x", "2025-11-25", {}, {})
    live = await sessions.open(session)
    live.data.subscriptions.add("memo://one")
    live.data.changed = True
    if left:
        store.writing.clear()
        store.held = asyncio.Event()
        saving = asyncio.create_task(sessions.save(live))
        await asyncio.wait_for(store.writing.wait(), PATIENCE)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        store.held = None
    else:
        store.away = True
        with pytest.raises(Unavailable):
            await sessions.save(live)
        store.away = False
    await sessions._read_again(live.data.id)
    assert live.data.subscriptions == {"memo://one"}, "what is kept is older"
    assert live.data.changed
    await sessions.save(live)
    assert "memo://one" in store.kept[live.data.id]
    await sessions.close()


async def test_a_session_that_ends_while_others_are_looked_at_holds_up_no_tidying() -> None:
    store = _Store()
    sessions = Sessions(store, _nobody, lambda _: None, 60.0, 10, 10)
    first, second = [
        await sessions.open(ClientSession("", None, "x", "2025-11-25", {}, {})) for _ in range(2)
    ]
    first.data.upstream_sessions[uuid4()] = "there"
    first.used_at = second.used_at = -1000.0
    store.held_reading = asyncio.Event()
    tidying = asyncio.create_task(sessions.tidy())
    await asyncio.wait_for(store.reading.wait(), PATIENCE)
    await sessions.hear(Message(Channel.SESSIONS, {"ended": second.data.id}))
    store.held_reading.set()
    await asyncio.wait_for(tidying, PATIENCE)
    await sessions.close()
