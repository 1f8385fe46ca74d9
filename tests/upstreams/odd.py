"""HTTP servers that misbehave, written on bare sockets."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

MODERN = "2026-07-28"
DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": [MODERN],
    "capabilities": {"tools": {}},
    "ttlMs": 0,
    "cacheScope": "private",
}

Behave = Callable[["Caller"], Awaitable[None]]


class Caller:
    """One request, and the way to answer it."""

    def __init__(self, line: str, message: Any, writer: asyncio.StreamWriter, server: "Odd") -> None:
        self.line = line
        self.message = message
        self.writer = writer
        self.server = server

    @property
    def number(self) -> Any:
        """The request's id."""
        return self.message["id"]

    async def send(self, data: str | bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def answer(
        self, body: str, kind: str = "application/json", status: str = "200 OK", extra: str = ""
    ) -> None:
        """Send a whole answer."""
        length = len(body.encode())
        lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{extra}\r\n"
        await self.send(lines + body)

    def result(self, text: str = "fine", number: Any = None) -> str:
        """Give a result for this request."""
        content = {"resultType": "complete", "content": [{"type": "text", "text": text}]}
        return json.dumps({"jsonrpc": "2.0", "id": number or self.number, "result": content})

    def hang_up(self) -> None:
        """Close the connection at once."""
        self.writer.transport.abort()


class Odd:
    """Answers `server/discover` as it should, and everything else as it is told to."""

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.url = ""
        self.lines: list[str] = []
        self.connections = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open += 1
        try:
            while (caller := await self._read(reader, writer)) is not None:
                if isinstance(caller.message, dict) and caller.message.get("method") == "server/discover":
                    found = {"jsonrpc": "2.0", "id": caller.number, "result": DISCOVERED}
                    await caller.answer(json.dumps(found))
                else:
                    await self.behave(caller)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.open -= 1
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Caller | None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *headers = head.decode("latin-1").split("\r\n")
        self.lines.append(head.decode("latin-1"))
        length = next((int(h[15:]) for h in headers if h.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length) if length else b""
        return Caller(line, json.loads(body) if body else None, writer, self)


@asynccontextmanager
async def odd(behave: Behave, tls: ssl.SSLContext | None = None) -> AsyncIterator[Odd]:
    """Run such a server."""
    server = Odd(behave)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # One that is cancelled before it has begun closes nothing itself.
        task.add_done_callback(lambda _: writer.close())

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/mcp"
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
