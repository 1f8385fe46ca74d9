"""The transport of 2024-11-05, HTTP+SSE: one lasting stream of events, and an address for messages."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import orjson

from gateway.upstreams.events import EventParser, EventTooLong
from gateway.upstreams.exchange import Exchange, Listener, Unreachable
from gateway.upstreams.legs import CLIENT_INFO, Spawn
from mcp_platform.duplex import DuplexSession, NotMcp, SessionLost
from mcp_platform.errors import UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import ServerDescription


class SseLeg:
    """Holds the stream open in one task. When it ends the leg is dead, and a new one is to be opened."""

    def __init__(self, exchange: Exchange, spawn: Spawn) -> None:
        self.description: ServerDescription
        self._exchange = exchange
        self._spawn = spawn
        self._session = DuplexSession(CLIENT_INFO)
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, exchange: Exchange, spawn: Spawn) -> "SseLeg":
        """Open the stream and shake hands.

        Raises:
            UpstreamFailed: The address is no MCP server of this kind either.
        """
        leg = cls(exchange, spawn)
        leg._reader = asyncio.create_task(leg._read())
        patience = exchange.limits.call_timeout
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(leg._address)
            leg._session.attach(leg)
            await leg._session.negotiate(patience, legacy=True)
        except (NotMcp, SessionLost, TimeoutError) as error:
            await leg.close()
            raise UpstreamFailed(f"The address does not answer as an MCP server: {error}") from None
        except BaseException:
            await leg.close()
            raise
        assert leg._session.description is not None
        leg.description = leg._session.description
        return leg

    @property
    def alive(self) -> bool:
        """Whether the stream is still open."""
        return self._reader is not None and not self._reader.done()

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        listener: Listener | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        """Give the result of one request; progress is not relayed on this transport."""
        if not self.alive:
            raise Unreachable("the event stream has ended")
        try:
            async with asyncio.timeout(timeout):
                return await self._session.request(method, params)
        except TimeoutError:
            raise UpstreamTimedOut("The MCP server did not answer in time") from None
        except SessionLost as error:
            raise UpstreamFailed(f"The connection to the MCP server broke during the call: {error}") from None

    async def close(self) -> None:
        """Close the stream."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._session.lose("the connection was closed")

    @property
    def writable(self) -> bool:
        """Always: each message is a request of its own."""
        return True

    async def write(self, line: bytes) -> None:
        """Post one message."""
        limits = self._exchange.limits
        reply = await self._exchange.post(
            orjson.loads(line),
            {"Content-Type": "application/json"},
            limits.call_timeout,
            url=self._address.result(),
        )
        if reply.status >= 300:
            raise UpstreamFailed(f"The MCP server answered with HTTP status {reply.status}")

    def write_soon(self, line: bytes) -> None:
        """Post one message without waiting."""

        async def post() -> None:
            try:
                await self.write(line)
            except (Unreachable, UpstreamFailed, UpstreamTimedOut):
                return  # a courtesy; the end of the stream tells the rest

        self._spawn(post())

    async def _read(self) -> None:
        reason = "the server ended the event stream"
        try:
            async with self._exchange.stream() as response:
                if response.status != 200 or response.content_type != "text/event-stream":
                    raise UpstreamFailed(f"The MCP server answered with HTTP status {response.status}")
                await self._follow(response)
        except (Unreachable, UpstreamFailed, UpstreamTimedOut, EventTooLong) as error:
            reason = str(error) or "an event was too long"
        finally:
            if not self._address.done():
                self._address.set_exception(SessionLost(reason))
                self._address.exception()  # whoever opens the leg may have left already
            self._session.lose(reason)

    async def _follow(self, response: aiohttp.ClientResponse) -> None:
        parser = EventParser(self._exchange.limits.max_response_bytes)
        async for chunk in response.content.iter_any():
            for name, data in parser.feed(chunk):
                if name == "endpoint" and not self._address.done():
                    self._address.set_result(self._resolve(data.decode(errors="replace")))
                elif name == "message":
                    self._session.receive(data)

    def _resolve(self, target: str) -> str:
        """Find the address for messages; one on another host would take our credentials there."""
        url = urljoin(self._exchange.url, target)
        if urlsplit(url).netloc != urlsplit(self._exchange.url).netloc:
            raise UpstreamFailed("The MCP server names an address on another host for its messages")
        return url
