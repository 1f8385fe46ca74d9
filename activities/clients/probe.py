"""Asking replicas whether they speak MCP, over the gateway's own kind of connection."""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import structlog

from activities.drivers import ReplicaFault
from gateway.upstreams.exchange import Limits, Unreachable
from gateway.upstreams.upstream import Target, Upstream
from mcp_platform.contracts.deployments import Driver, UpstreamAddress
from mcp_platform.errors import PlatformError
from mcp_platform.wire import Era, RpcError

_LARGEST_ANSWER = 16_777_216
_MOST_KEPT = 2_000
_EXPECTED = (TimeoutError, Unreachable, RpcError, PlatformError)
_Key = tuple[str, frozenset[tuple[str, str]]]
"""Address and headers: who asks with other credentials may get another answer."""

logger = structlog.get_logger(__name__)


class McpProbe:
    """Checks servers, by one request each.

    It remembers for each address and credential which era is spoken there.
    """

    def __init__(self) -> None:
        self._upstreams: OrderedDict[_Key, Upstream] = OrderedDict()
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
        key = (url, frozenset(headers.items()))
        upstream = self._upstream(key, timeout)
        try:
            async with asyncio.timeout(timeout):
                answer = await upstream.request("tools/list", {}, Era.LEGACY, timeout)
        # Whatever a strange server or a strange address brings about is a reason, not an accident.
        except Exception as error:
            self._upstreams.pop(key, None)
            await upstream.close()
            if not isinstance(error, _EXPECTED):
                # Without its text, which may have the address in it, and the address secrets.
                logger.error("probe_failed", host=urlsplit(url).hostname, error=type(error).__name__)
            reason = f"no answer within {timeout:g} s" if isinstance(error, TimeoutError) else str(error)
            raise ReplicaFault(reason.replace(url, _shown(url)) or "it cannot be reached") from None
        if not isinstance(answer.get("tools"), list):
            raise ReplicaFault("it answers tools/list without a list of tools")

    def _upstream(self, key: _Key, timeout: float) -> Upstream:
        if known := self._upstreams.get(key):
            self._upstreams.move_to_end(key)
            return known
        url, headers = key

        async def target() -> Target:
            return Target(url, dict(headers))

        address = UpstreamAddress(replica_id=uuid4(), url=url, driver=Driver.REMOTE)
        upstream = Upstream(
            address, self._http, target, Limits(timeout, timeout, _LARGEST_ANSWER), self._spawn
        )
        self._upstreams[key] = upstream
        if len(self._upstreams) > _MOST_KEPT:
            _, oldest = self._upstreams.popitem(last=False)
            self._spawn(oldest.close())
        return upstream

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            # One server's trouble must not end the group, and with it the worker.
            try:
                await work
            except Exception:
                logger.exception("background_work_failed")

        self._tasks.create_task(guarded())


def _shown(url: str) -> str:
    """Leave out of an address what may be secret: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
