"""A client of both eras that shows each HTTP answer as it is."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
ACCEPT = "application/json, text/event-stream"
_NUMBERS = itertools.count(1)
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


@dataclass
class Answer:
    """What one POST was answered with; `events` are the messages of a stream, the last one included."""

    status: int
    headers: Any
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def message(self) -> dict[str, Any]:
        """The JSON-RPC response."""
        return self.events[-1]

    @property
    def result(self) -> dict[str, Any]:
        """Its result."""
        found: dict[str, Any] = self.message["result"]
        return found


async def post(
    url: str, message: Any, headers: dict[str, str], at_event: Any = None, accept: str = ACCEPT
) -> Answer:
    """Post a message; `at_event` is awaited with each event that comes before the response."""
    sent = {"Accept": accept, "Content-Type": "application/json", **headers}
    data = message if isinstance(message, bytes) else json.dumps(message)
    async with aiohttp.ClientSession() as http, http.post(url, data=data, headers=sent) as response:
        answer = Answer(response.status, response.headers)
        if response.content_type == "text/event-stream":
            async for event in events(response):
                answer.events.append(event)
                if "method" in event and at_event is not None:
                    await at_event(event)
        elif body := await response.read():
            answer.events.append(json.loads(body))
        return answer


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Read a stream of events."""
    async for line in response.content:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])


class Session:
    """A session of the older protocol."""

    def __init__(self, url: str, key: str | None, capabilities: dict[str, Any] | None = None) -> None:
        self.url = url
        self.credential = {"X-API-Key": key} if key else {}
        self.capabilities = capabilities or {}
        self.headers = dict(self.credential)
        self.id = ""

    async def open(self, version: str = LEGACY) -> Answer:
        """Shake hands."""
        params = {
            "protocolVersion": version,
            "capabilities": self.capabilities,
            "clientInfo": {"name": "raw", "version": "1"},
        }
        answer = await post(self.url, request("initialize", params), self.credential)
        if answer.status == 200:
            self.id = answer.headers["Mcp-Session-Id"]
            self.headers |= {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": version}
            await post(self.url, {"jsonrpc": "2.0", "method": "notifications/initialized"}, self.headers)
        return answer

    def at(self, url: str) -> "Session":
        """Give the same session, spoken to at another address."""
        other = Session(url, None, self.capabilities)
        other.credential, other.headers, other.id = self.credential, self.headers, self.id
        return other

    async def ask(self, method: str, params: dict[str, Any] | None = None, at_event: Any = None) -> Answer:
        """Send a request."""
        return await post(self.url, request(method, params), self.headers, at_event)

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, at_event: Any = None) -> Answer:
        """Call a tool."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments or {}}, at_event)

    async def end(self) -> int:
        """End the session; the status of the answer."""
        async with aiohttp.ClientSession() as http, http.delete(self.url, headers=self.headers) as response:
            return response.status

    @asynccontextmanager
    async def stream(self) -> AsyncIterator["asyncio.Queue[dict[str, Any]]"]:
        """Open the standalone stream; what comes is in the queue."""
        news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
            sent = {**self.headers, "Accept": "text/event-stream"}
            async with http.get(self.url, headers=sent) as response:
                assert response.status == 200

                async def read() -> None:
                    async for event in events(response):
                        news.put_nowait(event)

                reading = asyncio.create_task(read())
                try:
                    yield news
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)


def request(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make a request with a number of its own."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": next(_NUMBERS), "method": method}
    return message if params is None else {**message, "params": params}


def modern(
    method: str, capabilities: dict[str, Any] | None = None, **params: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """Make a request of 2026-07-28, and the headers that belong to it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
        **params.pop("meta", {}),
    }
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if method in _NAMED:
        headers["Mcp-Name"] = params[_NAMED[method]]
    return request(method, {**params, "_meta": meta}), headers
