"""Checks of one address at once: what one of them runs into is not the others' trouble."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from activities.clients.probe import McpProbe
from activities.drivers import ReplicaFault
from tests.upstreams.odd import DISCOVERED
from tests.waiting import PATIENCE

TOOLS = {"resultType": "complete", "tools": [], "ttlMs": 0, "cacheScope": "private"}


class Slow:
    """A server that keeps whoever comes first waiting, until it is told to answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        message: dict[str, Any] = await request.json()
        if not self.asked.is_set():
            self.asked.set()
            await self.answers.wait()
        result = DISCOVERED if message["method"] == "server/discover" else TOOLS
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})


async def test_a_check_without_patience_ends_no_other_of_the_same_server() -> None:
    slow = Slow()
    app = web.Application()
    app.router.add_post("/mcp", slow.answer)
    async with TestServer(app) as server, McpProbe() as probe:
        url = str(server.make_url("/mcp"))
        hasty = asyncio.create_task(probe.check(url, {}, 3.0))
        await asyncio.wait_for(slow.asked.wait(), PATIENCE)
        patient = asyncio.create_task(probe.check(url, {}, PATIENCE))
        with pytest.raises(ReplicaFault, match=r"no answer to initialize within 3 s"):
            await hasty
        await patient
        slow.answers.set()
