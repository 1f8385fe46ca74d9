"""One replica or remote server: found out how it wants to be spoken to, once, and spoken to so."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gateway.upstreams.exchange import Exchange, Limits, Listener, Unreachable
from gateway.upstreams.legs import CLIENT_INFO, Leg, LegacyLeg, ModernLeg, Spawn
from gateway.upstreams.sse import SseLeg
from mcp_platform.contracts.deployments import UpstreamAddress
from mcp_platform.errors import UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import (
    Era,
    RpcError,
    ServerDescription,
    translate_error,
    translate_params,
    translate_result,
)

_REST = 1.0
"""Seconds for which a replica that could not be reached is passed over."""
_TOOLS_KEPT = 1.0
_MAX_PAGES = 100


@dataclass(frozen=True)
class Target:
    """Where a server is reached, and the headers that it is sent; there may be secrets in both."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Upstream:
    """A server behind the gateway.

    Its era is probed at the first use and kept until an answer shows that it no longer holds. `target`
    is asked whenever that is so.
    """

    def __init__(
        self,
        address: UpstreamAddress,
        http: aiohttp.ClientSession,
        target: Callable[[], Awaitable[Target]],
        limits: Limits,
        spawn: Spawn,
    ) -> None:
        self.address = address
        self.active = 0
        """Requests in flight."""
        self._http = http
        self._target = target
        self._limits = limits
        self._spawn = spawn
        self._leg: Leg | None = None
        self._opening = asyncio.Lock()
        self._rests_until = 0.0
        self._tools: frozenset[str] = frozenset()
        self._tools_read = -_TOOLS_KEPT

    @property
    def resting(self) -> bool:
        """Whether it could not be reached a moment ago."""
        return time.monotonic() < self._rests_until

    async def describe(self, timeout: float) -> ServerDescription:
        """Ask what the server says of itself."""
        return (await self._open(timeout)).description

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        client: Era,
        timeout: float,
        listener: Listener | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Give the result of one request, in the client's era.

        Raises:
            RpcError: The server's own error.
            Unreachable: Nothing was sent.
            UpstreamFailed: The connection or the protocol broke.
            UpstreamTimedOut: There was no answer in time.
        """
        started = time.monotonic()
        self.active += 1
        try:
            leg = await self._open(timeout)
            era = leg.description.era
            sent = translate_params(params, client, era, CLIENT_INFO)
            left = max(timeout - (time.monotonic() - started), 0.001)
            result = await leg.request(method, sent, left, listener, headers or {})
            return translate_result(method, result, era, client)
        except RpcError as error:
            raise translate_error(error, era, client) from None
        except Unreachable:
            self._rests_until = time.monotonic() + _REST
            raise
        except UpstreamFailed:
            # Perhaps another server answers at this address now, of another era; asking costs little
            # where no session is lost by it.
            if isinstance(self._leg, ModernLeg):
                self._leg = None
            raise
        finally:
            self.active -= 1

    async def has_tool(self, name: str, timeout: float) -> bool:
        """Whether the server lists this tool; a list is trusted for a second unless it has the name."""
        if name not in self._tools and time.monotonic() - self._tools_read >= _TOOLS_KEPT:
            self._tools = await self._list_tools(timeout)
            self._tools_read = time.monotonic()
        return name in self._tools

    async def close(self) -> None:
        """Give back what is held; a later request opens it anew."""
        leg, self._leg = self._leg, None
        if leg is not None:
            await leg.close()

    async def _list_tools(self, timeout: float) -> frozenset[str]:
        names: set[str] = set()
        params: dict[str, Any] | None = None
        for _ in range(_MAX_PAGES):
            page = await self.request("tools/list", params, Era.LEGACY, timeout)
            tools = page.get("tools")
            names |= (
                {str(t.get("name")) for t in tools if isinstance(t, dict)}
                if isinstance(tools, list)
                else set()
            )
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                break
            params = {"cursor": cursor}
        return frozenset(names)

    async def _open(self, timeout: float) -> Leg:
        leg = self._leg
        if leg is not None and not (isinstance(leg, SseLeg) and not leg.alive):
            return leg
        try:
            async with asyncio.timeout(timeout), self._opening:
                if self._leg is None or self._leg is leg:
                    await self.close()
                    self._leg = await self._probe()
                return self._leg
        except TimeoutError:
            raise UpstreamTimedOut("The MCP server did not open a session in time") from None

    async def _probe(self) -> Leg:
        target = await self._target()
        exchange = Exchange(self._http, target.url, target.headers, self._limits)
        return (
            await ModernLeg.open(exchange)
            or await LegacyLeg.open(exchange, self._spawn)
            or await SseLeg.open(exchange, self._spawn)
        )
