"""MCP servers over HTTP that are old, odd or broken."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiohttp import web

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
META = {"io.modelcontextprotocol/serverInfo": {"name": "stub", "version": "1"}}
TOOL = {"name": "act", "inputSchema": {"type": "object"}, "x-vendor": {"kept": True}}


class Stub:
    """A server whose tool `act` does what its argument `do` says.

    Args:
        legacy: Speak 2025-11-25 with sessions, and refuse the newer era.
        events: Answer with a stream of events.
    """

    def __init__(self, legacy: bool = False, events: bool = False) -> None:
        self.legacy = legacy
        self.events = events
        self.url = ""
        self.sessions: set[str] = set()
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.calls = 0
        self.annotations: dict[str, Any] = {}
        """Of the tool."""
        self.drops = 0
        """How many of the next calls it drops in the middle."""
        self.status: int | None = None
        """The HTTP status that all calls are answered with, instead of a result."""
        self.delay = 0.0
        """Seconds that each call takes."""
        self.served: list[str] = []
        """The argument `name` of each call, in the order they came."""
        self.release = asyncio.Event()
        """Lets calls end that `wait`."""
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    def count(self, method: str) -> int:
        """Count the requests of one method."""
        return sum(seen == method for seen, _, _ in self.requests)

    def headers(self, method: str) -> dict[str, str]:
        """Give the headers of the last request of a method."""
        return [headers for seen, _, headers in self.requests if seen == method][-1]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take one message."""
        message = await request.json()
        method = message.get("method", "")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((method, message, headers))
        if self.legacy:
            refusal = self._refuse(method, headers)
            if refusal is not None:
                return refusal
        if method == "notifications/cancelled":
            self.cancelled.set()
        if "id" not in message:
            return web.Response(status=202)
        if method == "tools/call":
            return await self._call(request, message)
        results: dict[str, dict[str, Any]] = {
            "server/discover": {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "_meta": META},
            "initialize": {
                "protocolVersion": LEGACY,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "stub", "version": "1"},
            },
            "tools/list": {"tools": [TOOL | ({"annotations": self.annotations} if self.annotations else {})]},
        }
        if method not in results:
            return self._error(message, -32601, "Method not found", 404)
        answer = self._result(message, results[method])
        if method == "initialize":
            answer.headers["Mcp-Session-Id"] = uuid4().hex
            self.sessions.add(answer.headers["Mcp-Session-Id"])
        return answer

    def _refuse(self, method: str, headers: dict[str, str]) -> web.Response | None:
        if headers.get("mcp-protocol-version", LEGACY) != LEGACY:
            return web.json_response({"detail": "unsupported protocol version"}, status=400)
        if method != "initialize" and headers.get("mcp-session-id") not in self.sessions:
            return web.json_response({"detail": "no such session"}, status=404)
        return None

    async def _call(self, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        self.calls += 1
        self.started.set()
        arguments = message["params"].get("arguments") or {}
        todo = arguments.get("do", "")
        self.served.append(arguments.get("name", ""))
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.status is not None:
            return web.Response(status=self.status, text="no")
        if self.drops:
            self.drops -= 1
            todo = "drop"
        await self._linger(todo)
        if todo == "drop":
            assert request.transport is not None
            request.transport.abort()
        if todo == "garbage":
            return web.Response(text="{this is no JSON", content_type="application/json")
        if todo == "crash":
            return web.Response(status=500, text="boom")
        result = {"content": [{"type": "text", "text": "x" * (2_000_000 if todo == "flood" else 4)}]}
        if self.events or todo == "half":
            return await self._stream(request, message, result, whole=todo != "half")
        return self._result(message, result)

    async def _linger(self, todo: str) -> None:
        if todo == "hang":
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if todo == "wait":
            await self.release.wait()

    async def _stream(
        self, request: web.Request, message: dict[str, Any], result: dict[str, Any], whole: bool
    ) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        token = message["params"].get("_meta", {}).get("progressToken")
        progress = {"progressToken": token, "progress": 1, "x-vendor": "kept"}
        news = {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}
        await stream.write(b": a comment\n\n" + f"event: message\ndata: {json.dumps(news)}\n\n".encode())
        if whole:
            # One event in two lines of data, sent in two pieces.
            text = json.dumps(
                {"jsonrpc": "2.0", "id": message["id"], "result": self._complete(result)}, indent=1
            )
            event = "".join(f"data: {line}\r\n" for line in text.splitlines()) + "\r\n"
            await stream.write(event[:30].encode())
            await stream.write(event[30:].encode())
        await stream.write_eof()
        return stream

    def _complete(self, result: dict[str, Any]) -> dict[str, Any]:
        if self.legacy:
            return result
        return {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **result}

    def _result(self, message: dict[str, Any], result: dict[str, Any]) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": self._complete(result)})

    def _error(self, message: dict[str, Any], code: int, text: str, status: int) -> web.Response:
        error = {"code": code, "message": text}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error}, status=status)


@asynccontextmanager
async def stub(legacy: bool = False, events: bool = False, port: int = 0) -> AsyncIterator[Stub]:
    """Run such a server."""
    server = Stub(legacy, events)
    app = web.Application()
    app.router.add_post("/mcp", server.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        yield server
    finally:
        await runner.cleanup()
