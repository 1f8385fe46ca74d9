"""Sessions by HTTP+SSE whose opening is given up, or fails: their streams do not stay; and their ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.upstreams.connection import Unreachable
from gateway.upstreams.exchange import Exchange
from gateway.upstreams.sessions import Profile
from gateway.upstreams.sse import SseSession
from mcp_platform.errors import UpstreamFailed
from mcp_platform.wire import Era
from tests.upstreams.conftest import LIMITS, Desk, Recorder, modern, until
from tests.waiting import PATIENCE

VERSION = "2024-11-05"


class _Server:
    """Gives each stream an address of its own, and answers there."""

    def __init__(self) -> None:
        self.url = ""
        self.streams: dict[str, web.StreamResponse] = {}
        self.opened = 0
        self.refuses = ""
        """The method that it does not take."""
        self.asked: list[str] = []
        self.holds = ""
        """The method whose messages wait."""
        self.go_on = asyncio.Event()
        self.end = asyncio.Event()
        """Ends the streams that are open, and those that are opened later."""

    async def get(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        self.opened += 1
        name = str(self.opened)
        self.streams[name] = stream
        try:
            await stream.write(f"event: endpoint\ndata: /messages/{name}\n\n".encode())
            await self.end.wait()
        finally:
            del self.streams[name]
        return stream

    async def post(self, request: web.Request) -> web.Response:
        message: dict[str, Any] = await request.json()
        self.asked.append(message["method"])
        if message["method"] == self.holds:
            await self.go_on.wait()
        stream = self.streams.get(request.match_info["name"])
        if stream is None:
            return web.Response(status=404)
        if message["method"] == self.refuses:
            return web.Response(status=500)
        if "id" in message:
            result = {"protocolVersion": VERSION, "capabilities": {}, "serverInfo": {}, "tools": []}
            answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
            await stream.write(f"data: {answer}\n\n".encode())
        return web.Response(status=202)


@pytest.fixture
async def server() -> AsyncIterator[_Server]:
    async with _running() as server:
        yield server


@asynccontextmanager
async def _running() -> AsyncIterator[_Server]:
    server = _Server()
    app = web.Application()
    app.router.add_get("/mcp", server.get)
    app.router.add_post("/messages/{name}", server.post)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        yield server
    finally:
        await runner.cleanup()


async def test_a_session_that_fails_after_the_handshake_leaves_no_stream(desk: Desk, server: _Server) -> None:
    server.refuses = "notifications/initialized"
    upstream = desk.open(server.url)
    with pytest.raises(UpstreamFailed):
        await upstream.describe(PATIENCE)
    assert server.opened == 1
    await until(lambda: not server.streams)


async def test_a_session_that_is_given_up_after_the_handshake_leaves_no_stream(
    desk: Desk, server: _Server
) -> None:
    upstream = desk.open(server.url)
    server.holds = "notifications/initialized"
    describing = asyncio.create_task(upstream.describe(PATIENCE))
    await until(lambda: server.holds in server.asked)
    describing.cancel()
    await asyncio.gather(describing, return_exceptions=True)
    await until(lambda: not server.streams)


@pytest.mark.parametrize("hears", [False, True], ids=["a request", "a listener"])
async def test_who_waits_for_a_session_that_is_given_up_is_sent_to_another(
    desk: Desk, server: _Server, hears: bool
) -> None:
    session = SseSession(Exchange(desk.http, server.url, {}, LIMITS), Profile({}), desk.spawn)
    server.holds = "initialize"
    first = asyncio.create_task(session.request("tools/list", None, PATIENCE, None, {}))
    await until(lambda: server.asked == ["initialize"])
    waiting = session.hear(Recorder()) if hears else session.request("tools/list", None, PATIENCE, None, {})
    second = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    server.go_on.set()
    with pytest.raises(Unreachable):
        await asyncio.wait_for(second, PATIENCE)
    assert not session.alive
    assert server.opened == 1
    await until(lambda: not server.streams)


async def test_a_subscription_ends_with_the_session_that_it_was_made_in(desk: Desk, server: _Server) -> None:
    upstream = desk.open(server.url)
    channel = Recorder()
    subscribing = asyncio.create_task(
        upstream.request("subscriptions/listen", modern({}), Era.MODERN, PATIENCE, channel=channel)
    )
    await channel.hears("notifications/subscriptions/acknowledged")
    assert not subscribing.done()
    server.end.set()
    assert await asyncio.wait_for(subscribing, PATIENCE) == {"resultType": "complete"}
