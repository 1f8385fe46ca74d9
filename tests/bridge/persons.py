"""An MCP server that keeps persons, as the bridge's contract has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/serverInfo": {"name": "persons", "version": "1.0.1"}}
BY_ID = {
    "type": "object",
    "properties": {"id": {"type": "integer", "description": "Unique person identifier"}},
    "required": ["id"],
}
ANYTHING = {"type": "object"}


def tool(name: str, schema: dict[str, Any] = ANYTHING, **more: Any) -> dict[str, Any]:
    """Describe a tool."""
    return {"name": name, "description": f"Does {name}", "inputSchema": schema, **more}


class Persons:
    """A modern server; its tools can be slow, fail or refuse.

    Args:
        more: Further tools that it lists; what is called of them answers with its own name.
    """

    def __init__(self, *more: str) -> None:
        self.url = ""
        self.tools = [
            tool(
                "getPersonById",
                BY_ID,
                description="Retrieve a specific person by their unique identifier",
                _meta={"category": "data-access"},
            ),
            tool("getAllPersons"),
            tool("fail"),
            tool("refuse"),
            tool("wait"),
            *(tool(name) for name in more),
        ]
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.running = 0
        self.most_at_once = 0
        self.release = asyncio.Event()
        """Lets calls of `wait` end."""
        self.cancelled = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """Take one message."""
        message = await request.json()
        method = message["method"]
        if "id" not in message:
            return web.Response(status=202)
        if method == "tools/call":
            return await self._call(message)
        results: dict[str, dict[str, Any]] = {
            "server/discover": {
                "supportedVersions": [MODERN],
                "capabilities": {"tools": {}, "resources": {}},
                "_meta": META,
            },
            "tools/list": {"tools": self.tools},
            "resources/list": {"resources": []},
        }
        if method not in results:
            return self._error(message, -32601, "Method not found", 404)
        return self._result(message, results[method])

    async def _call(self, message: dict[str, Any]) -> web.Response:
        name, arguments = message["params"]["name"], message["params"].get("arguments") or {}
        self.calls.append((name, arguments))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            return await self._do(message, name, arguments)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1

    async def _do(self, message: dict[str, Any], name: str, arguments: dict[str, Any]) -> web.Response:
        if name == "wait":
            await self.release.wait()
        if name == "fail":
            return self._result(message, {**_text("Person not found"), "isError": True})
        if name == "refuse":
            return self._error(message, -32602, "id must be a number", 400)
        if name == "getAllPersons":
            return self._result(message, {"content": [], "structuredContent": {"persons": [1, 2]}})
        if name == "getPersonById":
            await asyncio.sleep(0.005)  # long enough for others to come between
            return self._result(message, _text(f"Person found: {arguments.get('id')}"))
        return self._result(message, _text(name))

    def _result(self, message: dict[str, Any], result: dict[str, Any]) -> web.Response:
        cached = {} if message["method"] == "tools/call" else {"ttlMs": 0, "cacheScope": "private"}
        whole = {"resultType": "complete", **cached, **result}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": whole})

    def _error(self, message: dict[str, Any], code: int, text: str, status: int) -> web.Response:
        error = {"code": code, "message": text}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error}, status=status)


def _text(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


@asynccontextmanager
async def persons(*more: str) -> AsyncIterator[Persons]:
    """Run such a server."""
    server = Persons(*more)
    app = web.Application()
    app.router.add_post("/mcp", server.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        yield server
    finally:
        await runner.cleanup()
