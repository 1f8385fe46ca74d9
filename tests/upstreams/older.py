"""A server of 2025-11-25 that shows its sessions, and forgets them when told to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import web

from tests.waiting import PATIENCE

VERSION = "2025-11-25"


@dataclass
class Session:
    """What was told of one session."""

    capabilities: dict[str, Any]
    info: dict[str, Any]
    level: str | None = None
    uris: set[str] = field(default_factory=set)
    credentials: set[str] = field(default_factory=set)
    streams: list[web.StreamResponse] = field(default_factory=list)


class Older:
    """Its tool `who` tells the session's id."""

    def __init__(self) -> None:
        self.url = ""
        self.sessions: dict[str, Session] = {}
        self.initialized = 0
        self.calls = 0
        self.streams = 0
        self.opened_streams = 0
        self.refusal = "404"
        """How it answers requests of sessions that it does not know."""
        self.closed = False
        """Whether it opens no session any more."""
        self.tells = True
        """Whether it says that it tells when its lists change."""
        self.tools: list[str] = []
        """What it lists."""
        self.told: list[str] = []
        """The notifications that it took."""
        self.busy = False
        """Whether it refuses streams, as while it takes the session's former one to be open."""
        self.conflicts = 0
        """How many it refused so."""
        self.waiting: list[str] = []
        """What was held up."""
        self._gates: dict[str, asyncio.Event] = {}
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._cut = asyncio.Event()

    def forget_all(self) -> None:
        """Lose every session, as by a restart."""
        self.sessions.clear()

    def cut(self) -> None:
        """End all standalone streams."""
        self._cut.set()
        self._cut = asyncio.Event()

    def hold(self, method: str) -> asyncio.Event:
        """Hold messages of a method up, or by `GET` streams, until the event is set that this gives."""
        return self._gates.setdefault(method, asyncio.Event())

    async def tell(self, method: str, name: str | None = None, **params: Any) -> None:
        """Send a notification, to one session or to all."""
        message = {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}
        await self._send(message, name)

    async def ask(self, method: str, name: str) -> dict[str, Any]:
        """Send a request, and give its answer."""
        number = len(self._answers) + 1
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._send({"jsonrpc": "2.0", "id": number, "method": method}, name)
        return await asyncio.wait_for(self._answers[number], PATIENCE)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take one message."""
        message = await request.json()
        method, name = message.get("method"), request.headers.get("Mcp-Session-Id", "")
        if request.headers.get("MCP-Protocol-Version", VERSION) != VERSION:
            return web.json_response({"detail": "unsupported protocol version"}, status=400)
        await self._wait_for_gate(method)
        if method == "initialize":
            return self._open(message)
        session = self.sessions.get(name)
        if session is None:
            return self._refuse(message)
        session.credentials.add(request.headers.get("Authorization", ""))
        if "method" not in message:
            self._answers[message["id"]].set_result(message)
        if "id" not in message or method is None:
            self.told += [method] if method else []
            return web.Response(status=202)
        params = message.get("params") or {}
        if method == "tools/call":
            return await self._call(request, message, name)
        if method == "logging/setLevel":
            session.level = params["level"]
        if method == "resources/subscribe":
            session.uris.add(params["uri"])
        return _result(message, self._list() if method == "tools/list" else {})

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Open a stream, or go on with one."""
        name = request.headers.get("Mcp-Session-Id", "")
        if name not in self.sessions:
            return web.Response(status=404)
        if self.busy:
            self.conflicts += 1
            return web.Response(status=409)
        await self._wait_for_gate("GET")
        stream = await _stream(request)
        last = request.headers.get("Last-Event-ID", "")
        if last.startswith("call"):
            return await self._go_on(stream, last)
        self.sessions[name].streams.append(stream)
        self.streams += 1
        self.opened_streams += 1
        try:
            await self._cut.wait()
        finally:
            self.streams -= 1
            if name in self.sessions:
                self.sessions[name].streams.remove(stream)
        return stream

    async def delete(self, request: web.Request) -> web.Response:
        """End a session."""
        known = self.sessions.pop(request.headers.get("Mcp-Session-Id", ""), None)
        return web.Response(status=200 if known else 404)

    async def _wait_for_gate(self, method: str | None) -> None:
        if method in self._gates:
            self.waiting.append(method)
            await self._gates[method].wait()

    def _list(self) -> dict[str, Any]:
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]}

    def _open(self, message: dict[str, Any]) -> web.Response:
        if self.closed:
            return web.Response(status=500)
        self.initialized += 1
        params, name = message["params"], uuid4().hex
        self.sessions[name] = Session(params["capabilities"], params["clientInfo"])
        offered = {"tools": {"listChanged": self.tells}, "logging": {}, "resources": {"subscribe": True}}
        result = {"protocolVersion": VERSION, "capabilities": offered, "serverInfo": {"name": "older"}}
        answer = _result(message, result)
        answer.headers["Mcp-Session-Id"] = name
        return answer

    def _refuse(self, message: dict[str, Any]) -> web.Response:
        if self.refusal == "404":
            return web.Response(status=404)
        code, text = (
            (-32600, "Session not found") if self.refusal == "200" else (-32000, "No valid session ID")
        )
        error = {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": code, "message": text}}
        return web.json_response(error, status=int(self.refusal))

    async def _call(self, request: web.Request, message: dict[str, Any], name: str) -> web.StreamResponse:
        self.calls += 1
        tool = message["params"]["name"]
        if tool == "interrupts":
            self._call_message = message
            stream = await _stream(request)
            await _event(stream, self._progress(0), "call-0", retry=10)
            return stream
        if tool == "asks":
            stream = await _stream(request)
            self._answers[1] = asyncio.get_running_loop().create_future()
            await _event(stream, {"jsonrpc": "2.0", "id": 1, "method": "roots/list"})
            await _event(stream, _text(message, json.dumps((await self._answers[1]).get("result"))))
            return stream
        if tool == "withdraws":
            stream = await _stream(request)
            await _event(stream, {"jsonrpc": "2.0", "id": 77, "method": "roots/list"})
            await asyncio.sleep(0.05)
            params = {"requestId": 77}
            await _event(stream, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
            await asyncio.sleep(0.05)
            await _event(stream, _text(message, "withdrawn"))
            return stream
        return web.json_response(_text(message, name))

    async def _go_on(self, stream: web.StreamResponse, last: str) -> web.StreamResponse:
        number = int(last.split("-")[1]) + 1
        await _event(stream, self._progress(number), f"call-{number}")
        if number == 2:
            await _event(stream, _text(self._call_message, "after two interruptions"), "call-3")
        return stream

    def _progress(self, number: int) -> dict[str, Any]:
        params = {"progressToken": self._call_message["params"]["_meta"]["progressToken"], "progress": number}
        return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}

    async def _send(self, message: dict[str, Any], name: str | None) -> None:
        for known, session in list(self.sessions.items()):
            if name in (None, known):
                for stream in session.streams:
                    await _event(stream, message)


def _text(message: dict[str, Any], text: str) -> dict[str, Any]:
    result = {"content": [{"type": "text", "text": text}]}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _result(message: dict[str, Any], result: dict[str, Any]) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})


async def _stream(request: web.Request) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    return stream


async def _event(
    stream: web.StreamResponse, message: dict[str, Any], number: str = "", retry: int | None = None
) -> None:
    lines = [f"id: {number}"] if number else []
    lines += [f"retry: {retry}"] if retry is not None else []
    await stream.write(("\n".join([*lines, f"data: {json.dumps(message)}"]) + "\n\n").encode())


@asynccontextmanager
async def older() -> AsyncIterator[Older]:
    """Run such a server."""
    server = Older()
    app = web.Application()
    app.router.add_post("/mcp", server.post)
    app.router.add_get("/mcp", server.get)
    app.router.add_delete("/mcp", server.delete)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        yield server
    finally:
        await runner.cleanup()
