"""An MCP server of 2025-11-25 over HTTP on loopback, with odd neighbours at other paths."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

TOOL = {"inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}


class RemoteServer:
    """What it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one message, as the path says."""
        path = request.path
        self.headers.append(dict(request.headers))
        if path == "/closed":
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        if path == "/page":
            return web.Response(text="<html>no MCP here</html>", content_type="text/html")
        if path == "/broken":
            return web.Response(status=500)
        if request.method == "GET":
            return web.json_response({"path": path}) if path.startswith("/api") else web.Response(status=405)
        message = await request.json()
        method = message.get("method")
        self.asked.append(method)
        if "id" not in message:
            return web.Response(status=202)
        if path == "/silent" and method == "tools/list":
            await asyncio.Event().wait()
        result = self._result(path, method, message.get("params") or {})
        if result is None:
            error = {"code": -32601, "message": "Method not found"}
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _result(self, path: str, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        if method == "initialize":
            info = {"name": "far", "version": "3", "description": "x" * 5000}
            version = "2025-11-25"
            return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        if method == "tools/list" and path == "/listless":
            return {"tools": "none"}
        if method == "tools/list" and path == "/many":
            start = int(params.get("cursor", 0))
            tools: list[Any] = [TOOL | {"name": f"t{start + each}"} for each in range(60)]
            return {"tools": [*tools, 7], "nextCursor": str(start + 60)}
        if method == "tools/list":
            return {"tools": [TOOL | {"name": "look"}]}
        if method == "tools/call":
            return {"content": [{"type": "text", "text": "seen " * 1000}]}
        return None


@asynccontextmanager
async def remote_server() -> AsyncIterator[RemoteServer]:
    """Serve while the body runs."""
    server = RemoteServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
