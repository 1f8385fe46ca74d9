"""One HTTP exchange with an upstream: a message is posted, and its answer read as JSON or as events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import aiohttp
import orjson

from gateway.upstreams.events import EventParser, EventTooLong
from mcp_platform.errors import UpstreamFailed, UpstreamTimedOut

ACCEPT = "application/json, text/event-stream"

Listener = Callable[[dict[str, Any]], Awaitable[None]]
"""Takes a notification or request that the server sends before its answer."""


class Unreachable(Exception):
    """Nothing was sent: the call may be tried elsewhere."""


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes that one exchange may take."""

    connect_timeout: float
    call_timeout: float
    max_response_bytes: int


@dataclass(frozen=True)
class Reply:
    """What came back: the HTTP side of it, and the JSON-RPC answer if there was one."""

    status: int
    headers: Mapping[str, str]
    message: dict[str, Any] | None


class Exchange:
    """Posts messages to one address, with headers that each request carries."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, headers: Mapping[str, str], limits: Limits
    ) -> None:
        self.url = url
        self.limits = limits
        self._http = http
        self._headers = headers

    async def post(
        self,
        message: dict[str, Any],
        headers: Mapping[str, str],
        timeout: float,
        listener: Listener | None = None,
        url: str | None = None,
    ) -> Reply:
        """Send one message, and read until its answer is there.

        Raises:
            Unreachable: No connection could be made.
            UpstreamFailed: The connection or the protocol broke.
            UpstreamTimedOut: There was no answer in time.
        """
        async with self._open("POST", url or self.url, headers, timeout, orjson.dumps(message)) as response:
            kind = response.content_type
            if kind == "text/event-stream" and response.status == 200:
                answer = await self._await_event(response, message.get("id"), listener)
            else:
                answer = _answer(response.status, kind, await self._read(response))
            return Reply(response.status, response.headers, answer)

    @asynccontextmanager
    async def stream(self, timeout: float | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open the address for a stream of events; without a timeout it may last."""
        headers = {"Accept": "text/event-stream"}
        async with self._open("GET", self.url, headers, timeout, None) as response:
            yield response

    @asynccontextmanager
    async def _open(
        self, method: str, url: str, headers: Mapping[str, str], timeout: float | None, body: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=self.limits.connect_timeout)
        try:
            async with self._http.request(
                method,
                url,
                data=body,
                headers={**self._headers, **headers},
                timeout=limits,
                # A redirect would take our credentials for this server to another one.
                allow_redirects=False,
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _raise(error)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        length, limit = response.content_length, self.limits.max_response_bytes
        body = bytearray()
        if length is not None and length > limit:
            raise UpstreamFailed(f"The MCP server's answer is larger than {limit} bytes")
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise UpstreamFailed(f"The MCP server's answer is larger than {limit} bytes")
        return bytes(body)

    async def _await_event(
        self, response: aiohttp.ClientResponse, number: object, listener: Listener | None
    ) -> dict[str, Any] | None:
        parser = EventParser(self.limits.max_response_bytes)
        try:
            async for chunk in response.content.iter_any():
                for name, data in parser.feed(chunk):
                    message = _object(data) if name == "message" else None
                    if message is None:
                        continue
                    if "method" not in message and message.get("id") == number:
                        return message
                    if listener is not None and "method" in message:
                        await listener(message)
        except EventTooLong:
            raise UpstreamFailed(
                f"The MCP server's answer is larger than {self.limits.max_response_bytes} bytes"
            ) from None
        if number is None:
            return None
        raise UpstreamFailed("The MCP server ended its stream without an answer")


def _answer(status: int, kind: str, body: bytes) -> dict[str, Any] | None:
    if kind != "application/json" or not body:
        return None
    if status == 200:
        return _object(body)
    try:
        message = _object(body)
    except UpstreamFailed:
        return None
    # Frameworks answer errors with JSON of their own: only JSON-RPC counts.
    return message if "jsonrpc" in message else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFailed("The MCP server's answer is not JSON") from None
    if not isinstance(message, dict):
        raise UpstreamFailed("The MCP server's answer is not one JSON-RPC message")
    return message


def _raise(error: Exception) -> NoReturn:
    unsent = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
    if isinstance(error, unsent):
        raise Unreachable(str(error)) from error
    if isinstance(error, asyncio.TimeoutError):
        raise UpstreamTimedOut("The MCP server did not answer in time") from error
    raise UpstreamFailed("The connection to the MCP server broke during the call") from error
