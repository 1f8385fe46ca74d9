"""Lists of what servers have: how they are read, kept and given up."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

import gateway.listings
from gateway.relay import Relay
from gateway.requests import RelayedRequest
from gateway.tools import ToolLists
from mcp_platform.errors import NotFound, Unavailable, UpstreamTimedOut
from mcp_platform.wire import METHOD_NOT_FOUND, RpcError
from tests.waiting import eventually


class Server:
    """Stands where the relay is: answers `tools/list` with pages of one tool each."""

    def __init__(self, *tools: str) -> None:
        self.tools = list(tools)
        self.reads = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.there = True
        self.asleep = False

    def find(self, slug: str) -> Any:
        """Give the route."""
        if not self.there:
            raise NotFound("mcp_tool", slug)
        return SimpleNamespace(route=SimpleNamespace(asleep=self.asleep))

    async def send(self, request: RelayedRequest) -> dict[str, Any]:
        """Answer one page."""
        place = int((request.params or {}).get("cursor", 0))
        self.reads += place == 0
        tools = list(self.tools)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        page: dict[str, Any] = {"tools": [{"name": name} for name in tools[place : place + 1]]}
        if place + 1 < len(tools):
            page["nextCursor"] = str(place + 1)
        return page


@pytest.fixture
async def server() -> Server:
    """Give a server with three tools."""
    return Server("a", "b", "c")


@pytest.fixture
async def lists(server: Server) -> AsyncIterator[ToolLists]:
    """Give the lists, with a long grace time."""
    made = ToolLists(cast(Relay, server), grace=60)
    yield made
    await made.close()


async def test_all_pages_are_read_once_for_all_who_ask(server: Server, lists: ToolLists) -> None:
    found = await asyncio.gather(*(lists.read("x", 5) for _ in range(20)))
    assert all(list(each.tools) == ["a", "b", "c"] for each in found)
    assert (await lists.read("x", 5)) is found[0]
    assert server.reads == 1


async def test_whoever_does_not_want_to_wait_longer_does_not_end_the_reading(
    server: Server, lists: ToolLists
) -> None:
    server.gate.clear()
    with pytest.raises(UpstreamTimedOut):
        await lists.read("x", 0.01)
    server.gate.set()
    assert list((await lists.read("x", 5)).tools) == ["a", "b", "c"]
    assert server.reads == 1


async def test_what_was_forgotten_is_read_again_and_listeners_hear_only_of_changes(
    server: Server, lists: ToolLists
) -> None:
    heard: list[str] = []
    lists.on_change(heard.append)
    await lists.read("x", 5)
    assert heard == ["x"]
    lists.forget("x")
    await eventually(lambda: _value(server.reads), lambda reads: reads == 2)
    await lists.read("x", 5)
    assert heard == ["x"], "the list is the same"
    server.tools.append("d")
    lists.forget("x")
    await eventually(lambda: _value(list(heard)), lambda so_far: so_far == ["x", "x"])
    known = lists.known("x")
    assert known is not None
    assert "d" in known.tools


async def test_a_list_that_is_forgotten_while_it_is_read_is_read_once_more(
    server: Server, lists: ToolLists
) -> None:
    await lists.read("x", 5)
    server.gate.clear()
    lists.forget("x")
    reading = asyncio.create_task(lists.read("x", 5))
    await eventually(lambda: _value(server.reads), lambda reads: reads == 2)
    server.tools.append("d")
    lists.forget("x")
    server.gate.set()
    assert "d" in (await reading).tools


async def test_the_last_good_list_is_given_for_the_grace_time(server: Server, lists: ToolLists) -> None:
    good = await lists.read("x", 5)
    server.error = Unavailable("gone", part="x")
    lists.forget("x")
    assert await lists.read("x", 5) is good
    assert lists.failing("x") is server.error
    lists._grace = 0
    with pytest.raises(Unavailable):
        await lists.read("x", 5)
    assert lists.known("x") is None
    assert lists.last("x") is good


async def test_a_failure_is_not_asked_for_again_at_once(
    server: Server, lists: ToolLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.listings, "_FAILURE_KEPT", 60.0)
    server.error = Unavailable("gone", part="x")
    for _ in range(5):
        with pytest.raises(Unavailable):
            await lists.read("x", 5)
    assert server.reads == 1


async def test_a_server_without_tools_has_an_empty_list(server: Server, lists: ToolLists) -> None:
    server.error = RpcError(METHOD_NOT_FOUND, "Method not found")
    assert (await lists.read("x", 5)).tools == {}


async def test_a_sleeping_server_is_not_woken_for_a_list_that_is_known(
    server: Server, lists: ToolLists
) -> None:
    good = await lists.read("x", 5)
    server.asleep = True
    lists._entries["x"].fresh = False
    assert await lists.read("x", 5) is good
    assert server.reads == 1


async def test_what_is_not_deployed_any_more_is_gone_and_listeners_hear_of_it(
    server: Server, lists: ToolLists
) -> None:
    await lists.read("x", 5)
    heard: list[str] = []
    end = lists.on_change(heard.append)
    server.there = False
    with pytest.raises(NotFound):
        await lists.read("x", 5)
    assert lists.known("x") is None
    assert heard == ["x"]
    end()


async def _value(value: Any) -> Any:
    return value


async def test_only_the_list_of_a_server_that_is_still_deployed_is_missed(
    server: Server, lists: ToolLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed: list[str] = []
    warn = SimpleNamespace(warning=lambda _event, slug, **_more: missed.append(slug))
    monkeypatch.setattr(gateway.listings, "log", warn)
    server.error = Unavailable("away", "stays")
    with pytest.raises(Unavailable):
        await lists.read("stays", 5)
    assert missed == ["stays"]
    server.gate.clear()
    reading = asyncio.create_task(lists.read("goes", 5))
    await eventually(lambda: _asked(server, 2))
    server.there = False  # while it is asked
    server.gate.set()
    with pytest.raises(Unavailable):
        await reading
    assert missed == ["stays"]


async def _asked(server: Server, reads: int) -> bool:
    return server.reads == reads
