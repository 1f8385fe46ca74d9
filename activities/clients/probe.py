"""Asking replicas whether they speak MCP, over the gateway's own kind of connection.

Three things are told apart: that nothing answers at the address, that what answers does not speak MCP
(`server/discover` in the newer era, `ping` in the older), and that it does but does not list its tools.
A server that lists its tools speaks MCP: so one that answered is asked for these alone.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import structlog

from activities.clients.in_use import InUse
from activities.drivers import LastingFault, ReplicaFault
from gateway.upstreams.connection import Broken, TlsFailed, Unreachable
from gateway.upstreams.exchange import CredentialsRefused
from gateway.upstreams.http import Http, Limits, Site
from gateway.upstreams.upstream import Target, Upstream
from mcp_platform.contracts.deployments import Driver, UpstreamAddress
from mcp_platform.errors import PlatformError, UpstreamTimedOut
from mcp_platform.wire import Era, RpcError

_LARGEST_ANSWER = 16_777_216
_MOST_KEPT = 2_000
_EXPECTED = (TimeoutError, Unreachable, RpcError, PlatformError)
_Key = tuple[str, frozenset[tuple[str, str]], bool]
"""Address and headers, for other credentials may get another answer; and the rule for addresses."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Known:
    upstream: Upstream
    checks: InUse
    """Those that go on: one that fails takes the server from none of the others at the same address."""


class McpProbe:
    """Checks servers, by one request each after the first.

    It remembers for each address and credential which era is spoken there.

    Args:
        private: Whether remote servers may be in private networks; replicas of ours always may.
    """

    def __init__(self, *, private: bool = True) -> None:
        self._private = private
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._http: Http
        self._tasks: asyncio.TaskGroup

    async def __aenter__(self) -> Self:
        """Open the connections' pool."""
        self._http = Http()
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        for known in self._known.values():
            await known.upstream.close()
        await self._tasks.__aexit__(None, None, None)
        await self._http.close()

    async def check(self, url: str, headers: dict[str, str], timeout: float, *, remote: bool = False) -> None:
        """Return once the server has answered and listed its tools.

        Args:
            url: Its address.
            headers: What each request carries.
            timeout: Seconds for all of it.
            remote: It is somebody else's server.

        Raises:
            ReplicaFault: It did not within `timeout` seconds, or not as an MCP server does.
            LastingFault: There is no TLS with it that can be trusted.
        """
        key = (url, frozenset(headers.items()), not remote or self._private)
        new = key not in self._known
        known = self._upstream(key, timeout)
        upstream, asked = known.upstream, "initialize"
        try:
            async with known.checks.used(), asyncio.timeout(timeout):
                if new:
                    era = (await upstream.describe(timeout)).era
                    asked = "server/discover" if era is Era.MODERN else "ping"
                    await upstream.request(asked, {}, Era.LEGACY, timeout)
                asked = "tools/list"
                answer = await upstream.request(asked, {}, Era.LEGACY, timeout)
        # Whatever a strange server or a strange address brings about is a reason, not an accident.
        except Exception as error:
            if self._known.get(key) is known:
                del self._known[key]
            await known.checks.give_up()
            if remote and _asks_for_authorization(error):
                return  # it lives; who may speak to it is for the gateway's tokens to show
            if not isinstance(error, _EXPECTED):
                # Without its text, which may have the address in it, and the address secrets.
                logger.error("probe_failed", host=urlsplit(url).hostname, error=type(error).__name__)
            raise _fault(error, asked, timeout, url) from None
        if not isinstance(answer.get("tools"), list):
            raise ReplicaFault("it answers tools/list without a list of tools")

    async def check_api(self, url: str, headers: dict[str, str], timeout: float) -> None:
        """Return once somebody else's plain HTTP API has answered with a status below 500.

        Raises:
            ReplicaFault: It did not within `timeout` seconds.
            LastingFault: There is no TLS with it that can be trusted.
        """
        limits = Limits(timeout, timeout, _LARGEST_ANSWER)
        try:
            site = Site(url, headers, private=self._private)
            response = await self._http.send(site, "GET", b"", None, limits, timeout, safe=True)
        except (Unreachable, PlatformError) as error:
            raise _fault(error, "GET", timeout, url) from None
        if response.body is None:
            response.close()
        if response.status >= 500:
            raise ReplicaFault(f"it answers GET with HTTP {response.status}")

    def _upstream(self, key: _Key, timeout: float) -> _Known:
        if known := self._known.get(key):
            self._known.move_to_end(key)
            return known
        url, headers, private = key

        async def target() -> Target:
            return Target(url, dict(headers))

        address = UpstreamAddress(replica_id=uuid4(), url=url, driver=Driver.REMOTE)
        limits = Limits(timeout, timeout, _LARGEST_ANSWER)
        upstream = Upstream(address, self._http, target, limits, self._spawn, private=private)
        self._known[key] = new = _Known(upstream, InUse(upstream.close))
        if len(self._known) > _MOST_KEPT:
            _, oldest = self._known.popitem(last=False)
            self._spawn(oldest.checks.give_up())
        return new

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            # One server's trouble must not end the group, and with it the worker.
            try:
                await work
            except Exception:
                logger.exception("background_work_failed")

        self._tasks.create_task(guarded())


def _asks_for_authorization(error: Exception) -> bool:
    """Tell whether a server refuses whoever did not sign in by OAuth (RFC 9728, section 5.1)."""
    if not isinstance(error, CredentialsRefused) or error.http_status != 401:
        return False
    return "resource_metadata" in (error.challenge or "")


def _fault(error: Exception, asked: str, timeout: float, url: str) -> ReplicaFault:
    reason = _reason(error, asked, timeout).replace(url, _shown(url))
    if isinstance(error, Broken) and url.startswith("http://"):
        reason += "; if it speaks TLS, its URL must begin with https://"
    return LastingFault(reason) if isinstance(error, TlsFailed) else ReplicaFault(reason)


def _reason(error: Exception, asked: str, timeout: float) -> str:
    if isinstance(error, TimeoutError | UpstreamTimedOut):
        return f"no answer to {asked} within {timeout:g} s"
    if isinstance(error, Unreachable):
        return f"nothing answers at its address: {error}"
    return str(error) or f"it breaks the connection at {asked}"


def _shown(url: str) -> str:
    """Leave out of an address what may be secret: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
