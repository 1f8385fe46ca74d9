"""A resource that clients subscribe to and give up at the same moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from mcp_platform.duplex import DuplexSession
from mcp_platform.wire import METHOD_NOT_FOUND, Era, RpcError, ServerDescription
from runner.changes import Changes
from runner.endpoint import CLIENT_INFO, create_app
from runner.sessions import Bounds, Sessions
from tests.runner.conftest import until

URI = "memo://one"


class _Server:
    """The shared server: it notes what it is asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.description = ServerDescription(Era.LEGACY, "2025-11-25", {"capabilities": {"resources": {}}})
        self.asked: list[str] = []
        self.held: asyncio.Event | None = None
        self.refuses = False

    async def request(self, method: str, *_: Any) -> dict[str, Any]:
        self.asked.append(method)
        if self.held is not None:
            await self.held.wait()
        if self.refuses:
            raise RpcError(METHOD_NOT_FOUND, "no such resource")
        return {}


class _Client:
    """A client with a session at the runner."""

    def __init__(self, http: aiohttp.ClientSession, url: str, number: str) -> None:
        self._http, self._url, self.number = http, url, number

    async def send(self, method: str) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": f"resources/{method}", "params": {"uri": URI}}
        async with self._http.post(
            self._url, json=message, headers={"Mcp-Session-Id": self.number}
        ) as answer:
            found: dict[str, Any] = await answer.json()
            return found


@asynccontextmanager
async def _clients(server: _Server, changes: Changes) -> AsyncIterator[tuple[_Client, _Client]]:
    sessions = Sessions(cast(Any, None), Bounds(), CLIENT_INFO)
    runner = web.AppRunner(create_app(cast(DuplexSession, server), sessions, changes), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        async with aiohttp.ClientSession() as http:
            yield _Client(http, url, sessions.new_id()), _Client(http, url, sessions.new_id())
    finally:
        await runner.cleanup()


async def test_a_subscription_on_its_way_is_not_ended_by_another_client_that_gives_its_own_up() -> None:
    server = _Server()
    async with _clients(server, Changes()) as (one, other):
        assert "result" in await one.send("subscribe")
        server.held = asyncio.Event()
        subscribing = asyncio.create_task(other.send("subscribe"))

        async def on_its_way() -> bool:
            return len(server.asked) == 2

        await until(on_its_way)
        assert "result" in await asyncio.wait_for(one.send("unsubscribe"), 30.0)
        server.held.set()
        assert "result" in await subscribing
    assert server.asked == ["resources/subscribe", "resources/subscribe"]


@pytest.mark.parametrize("before", [True, False])
async def test_a_subscription_that_is_refused_changes_nothing(before: bool) -> None:
    server, changes = _Server(), Changes()
    async with _clients(server, changes) as (one, _):
        if before:
            await one.send("subscribe")
        server.refuses = True
        assert "error" in await one.send("subscribe")
        assert changes.watched(one.number) == ([URI] if before else [])
