"""Asking replicas whether they speak MCP, over the gateway's own kind of connection."""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from typing import Any, Self
from uuid import uuid4

import aiohttp

from activities.drivers import ReplicaFault
from gateway.upstreams.exchange import Limits, Unreachable
from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.deployments import Driver, UpstreamAddress
from mcp_platform.errors import PlatformError
from mcp_platform.wire import Era, RpcError

_LARGEST_ANSWER = 16_777_216
_MOST_KEPT = 2_000


class McpProbe:
    """Checks servers; remembers for each address which era it speaks, so that a check is one request."""

    def __init__(self) -> None:
        self._upstreams: OrderedDict[str, Upstream] = OrderedDict()
        self._http: aiohttp.ClientSession
        self._tasks: asyncio.TaskGroup

    async def __aenter__(self) -> Self:
        """Open the connections' pool."""
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        for upstream in self._upstreams.values():
            await upstream.close()
        await self._tasks.__aexit__(None, None, None)
        await self._http.close()

    async def check(self, url: str, headers: dict[str, str], timeout: float) -> None:
        """Return once the server has answered and listed its tools.

        Raises:
            ReplicaFault: It did not within `timeout` seconds, or not as an MCP server does.
        """
        upstream = self._upstream(url, headers, timeout)
        try:
            async with asyncio.timeout(timeout):
                answer = await upstream.request("tools/list", {}, Era.LEGACY, timeout)
        except (TimeoutError, Unreachable, RpcError, PlatformError) as error:
            self._upstreams.pop(url, None)
            await upstream.close()
            reason = f"no answer within {timeout:g} s" if isinstance(error, TimeoutError) else str(error)
            raise ReplicaFault(reason or "it cannot be reached") from None
        if not isinstance(answer.get("tools"), list):
            raise ReplicaFault("it answers tools/list without a list of tools")

    def _upstream(self, url: str, headers: dict[str, str], timeout: float) -> Upstream:
        if known := self._upstreams.get(url):
            self._upstreams.move_to_end(url)
            return known

        async def sent() -> Mapping[str, str]:
            return headers

        address = UpstreamAddress(replica_id=uuid4(), url=url, driver=Driver.REMOTE)
        upstream = Upstream(address, self._http, sent, Limits(timeout, timeout, _LARGEST_ANSWER), self._spawn)
        self._upstreams[url] = upstream
        if len(self._upstreams) > _MOST_KEPT:
            self._upstreams.popitem(last=False)
        return upstream

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(work)
