"""A server of 2025-11-25 that asks its client in the middle of a call, and tells it things."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import web

QUESTION = {
    "message": "How many?",
    "requestedSchema": {"type": "object", "properties": {"n": {"type": "integer"}}},
}


class AskingServer:
    """Its tool `ask` elicits as many numbers as its argument says, and answers with their sum."""

    def __init__(self) -> None:
        self.url = ""
        self.capabilities: list[dict[str, Any]] = []
        """What each client declared that shook hands."""
        self.notified: list[str] = []
        """The notifications that came."""
        self.cancelled = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take one message."""
        message = await request.json()
        method = message.get("method")
        if method == "initialize":
            self.capabilities.append(message["params"]["capabilities"])
            return web.json_response(_result(message, _HELLO), headers={"Mcp-Session-Id": uuid4().hex})
        if method is None:
            self._waiting.pop(message["id"]).set_result(message)
            return web.Response(status=202)
        if "id" not in message:
            self.notified.append(method)
            return web.Response(status=202)
        if "Mcp-Session-Id" not in request.headers:
            return web.Response(status=400)
        if method == "tools/call":
            return await self._call(request, message)
        tools = {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}
        return web.json_response(_result(message, tools))

    async def _call(self, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        total = 0
        try:
            for _ in range(message["params"]["arguments"].get("times", 1)):
                key = uuid4().hex
                waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
                question = {"jsonrpc": "2.0", "id": key, "method": "elicitation/create", "params": QUESTION}
                await stream.write(_event(question))
                answer = await waiting
                if "error" in answer:
                    raise ValueError(answer["error"]["message"])
                total += answer["result"]["content"]["n"]
            text = str(total)
        except ValueError as error:
            text = f"refused: {error}"
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await stream.write(_event(_result(message, {"content": [{"type": "text", "text": text}]})))
        return stream


_HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "asking", "version": "1"},
}


def _result(message: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _event(message: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(message) + b"\n\n"


@asynccontextmanager
async def asking_server() -> AsyncIterator[AskingServer]:
    """Run such a server."""
    server = AskingServer()
    app = web.Application()
    app.router.add_post("/mcp", server.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        yield server
    finally:
        await runner.cleanup()
