"""The cheapest MCP server there can be: 2026-07-28, one answer, no framework. It prints its address."""

import asyncio
import sys
from typing import cast

import orjson
import uvloop

_DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "ttlMs": 0,
    "cacheScope": "private",
}
_TOOLS = {
    "resultType": "complete",
    "tools": [{"name": "echo", "inputSchema": {"type": "object"}}],
    "ttlMs": 0,
    "cacheScope": "private",
}
_CALLED = {
    "resultType": "complete",
    "content": [{"type": "text", "text": '{"ok":1}'}],
    "structuredContent": {"ok": 1},
}
_RESULTS = {"server/discover": _DISCOVERED, "tools/list": _TOOLS, "tools/call": _CALLED}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, by behaviour
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head, start = self._unread[:end].lower(), end + 4
            length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
            stop = start + int(length or 0)
            if len(self._unread) < stop:
                return
            message = orjson.loads(self._unread[start:stop])
            self._unread = self._unread[stop:]
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": _RESULTS[message["method"]]}
            body = orjson.dumps(answer)
            self._transport.write(_HEAD % len(body) + body)


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(orjson.dumps({"url": f"http://127.0.0.1:{port}/mcp"}).decode() + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
