"""Our own HTTP/1.1 client: what the gateway needs of one, and nothing that costs time at every call.

No redirects (they would take credentials for one server to another), no cookies, no compression, no
proxies. The address rules hold for every connection: the address that was checked is the one connected to.
"""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakSet

from gateway import figures
from gateway.upstreams import tls
from gateway.upstreams.connection import Broken, Connection, Response, Stale, Unreachable
from gateway.upstreams.lasting import Lasting
from mcp_platform.addresses import refusal
from mcp_platform.errors import Unavailable, UpstreamFailed

_KEPT: Final = 4.0
"""Seconds; shorter than common servers keep an idle connection, so that none is closed as we write."""
_PROBE_AFTER: Final = 60
"""Seconds of silence after which TCP asks whether the other side still lives."""
_SPLIT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Characters that no header value may have (RFC 9110, section 5.5)."""
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass
class Limits:
    """Seconds and bytes that one exchange may take; all share one object, so that a change holds at once."""

    connect_timeout: float
    call_timeout: float
    max_response_bytes: int


class Origin(NamedTuple):
    """Where connections go, and whether they may go to private networks."""

    secure: bool
    host: str
    port: int
    private: bool

    @property
    def place(self) -> str:
        """Host and port, for a person."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Site:
    """A URL that requests go to, prepared once: its origin, and what every request's head begins with."""

    def __init__(self, url: str, headers: Mapping[str, str], *, private: bool) -> None:
        if _NOT_IN_URL.search(url):
            raise UpstreamFailed("The server's URL has characters that no URL may have")
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode()
        except (ValueError, UnicodeError):
            raise UpstreamFailed("The server's URL is none") from None
        if parts.scheme not in ("http", "https") or not host:
            raise UpstreamFailed("The server's URL must begin with http:// or https:// and name a host")
        secure = parts.scheme == "https"
        self.url = url
        self.origin = Origin(secure, host, port or (443 if secure else 80), private)
        shown = f"[{host}]" if ":" in host else host
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            self._target = target.encode("ascii")
        except UnicodeEncodeError:
            raise UpstreamFailed("The server's URL must be written in ASCII: encode the rest") from None
        fixed = {"Host": shown if port is None else f"{shown}:{port}", "User-Agent": "mcp-platform-gateway"}
        self._fixed = head({"Accept-Encoding": "identity", **fixed, **headers})

    def write(self, method: str, headers: bytes, body: bytes | None) -> bytes:
        """Give the request as it is sent."""
        if body is None:
            return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode(), self._target, self._fixed, headers)
        return b"%b %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
            method.encode(),
            self._target,
            self._fixed,
            headers,
            len(body),
            body,
        )


def head(headers: Mapping[str, str]) -> bytes:
    """Write header lines.

    Raises:
        UpstreamFailed: A name or value cannot be sent.
    """
    lines = []
    for name, value in headers.items():
        if _SPLIT.search(value) or not _NAME.fullmatch(name):
            raise UpstreamFailed(f"The header {name!r} has characters that no header may have")
        lines.append(f"{name}: {value}\r\n")
    try:
        return "".join(lines).encode("latin-1")
    except UnicodeEncodeError:
        raise UpstreamFailed("A header has characters that HTTP cannot carry") from None


class Http:
    """All connections to servers: one pool for each origin, and no task for any of them."""

    def __init__(self, most: int = 100_000) -> None:
        self.most = most
        """How many connections there may be."""
        self.lasting = Lasting(lambda: self.most // 2)
        """The part of them that streams may hold which last."""
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._opening = 0
        self._resets = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied = asyncio.Event()
        _ALL.add(self)

    @property
    def open(self) -> int:
        """Connections that are open, idle or not."""
        return len(self._open)

    @property
    def idle(self) -> int:
        """Connections that carry nothing now."""
        return sum(len(each) for each in self._idle.values())

    async def send(
        self,
        site: Site,
        method: str,
        headers: bytes,
        body: bytes | None,
        limits: Limits,
        timeout: float | None,
        *,
        safe: bool = False,
        more: Callable[[], float] | None = None,
    ) -> Response:
        """Send a request; give its response, or the head of a stream.

        Args:
            site: Where.
            method: In capital letters.
            headers: Lines for this request alone, made by `head`.
            body: What is sent, if anything.
            limits: For connecting, and for the size of the response.
            timeout: Seconds for all of it, a stream's end included; None: no limit.
            safe: It may be sent again where the server closed a kept connection as we wrote.
            more: Tells how many of the seconds that have passed do not count.

        Raises:
            Unreachable: No connection could be made.
            Broken: The connection broke.
            UpstreamFailed: There is no TLS to trust; or what came is no HTTP response, or over the limit.
            UpstreamTimedOut: The response was not there in time.
        """
        data, started = site.write(method, headers, body), time.monotonic()
        if (connection := self._take(site.origin)) is not None:
            try:
                return await _exchange(connection, data, limits.max_response_bytes, timeout, more)
            except Stale:
                if not safe:
                    raise
        connection = await self._connect(site.origin, limits.connect_timeout)
        left = None if timeout is None else max(timeout - (time.monotonic() - started), 0.001)
        return _checked(site.origin, await _exchange(connection, data, limits.max_response_bytes, left, more))

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.fail(Broken("The connection to the MCP server was closed"))
        self._emptied.clear()
        if self._open:
            await self._emptied.wait()

    async def reset(self, timeout: float) -> tuple[int, int]:
        """Close every connection, those in use once they carry nothing, and open idle ones anew.

        Returns:
            How many are closed, and how many were opened.
        """
        closed, idle = len(self._open), self._idle
        self._idle = {}
        self._resets += 1
        for connection in [each for connections in idle.values() for each in connections]:
            connection.abort()
            self._open.discard(connection)
        opening = (self._reopen(origin, timeout) for origin, each in idle.items() for _ in each)
        return closed, sum(await asyncio.gather(*opening))

    def clean_up(self) -> int:
        """Close idle connections that are dead, or kept for longer than servers keep theirs; how many."""
        before = len(self._open)
        for connection in [each for connections in self._idle.values() for each in connections]:
            if connection.hung_up():
                connection.abort()
        self._sweep()
        self._open = {connection for connection in self._open if not connection.closed}
        return before - len(self._open)

    async def _reopen(self, origin: Origin, timeout: float) -> bool:
        try:
            (await self._connect(origin, timeout)).park()
        except (Unreachable, UpstreamFailed, Unavailable):
            return False  # the next request that goes there says why
        return True

    def _make_room(self) -> None:
        """Close the connection that has been idle the longest, where there may be no more.

        Raises:
            Unavailable: All of them are in use.
        """
        if len(self._open) + self._opening < self.most:
            return
        idle = min(self._idle.values(), key=lambda each: each[0].idle_since, default=None)
        if idle is None:
            raise Unavailable(f"All {self.most} connections to servers are in use", "connections", 1)
        idle[0].abort()
        self._open.discard(idle[0])
        del idle[0]
        self._idle = {origin: each for origin, each in self._idle.items() if each}

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not idle:
                del self._idle[origin]
            if not connection.hung_up():
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, timeout: float) -> Connection:
        if self._closed:
            raise Unreachable("the gateway is ending")
        self._make_room()
        keep = partial(self._keep, origin, self._resets)

        def made() -> Connection:
            return Connection(keep, partial(self._forget, origin))

        self._opening += 1
        try:
            async with asyncio.timeout(timeout):
                connection = await _connect(origin, made, timeout)
        except TimeoutError:
            kind = "TLS connection" if origin.secure else "connection"
            raise Unreachable(f"no {kind} within {timeout:g} s") from None
        finally:
            self._opening -= 1
        if connection.closed or self._closed:  # what is made after all were closed, nobody else would close
            connection.abort()
            raise Unreachable("the connection was closed at once")
        self._open.add(connection)
        return connection

    def _keep(self, origin: Origin, resets: int, connection: Connection) -> None:
        """Take a connection back that may carry another exchange, unless all were dropped meanwhile."""
        if resets != self._resets:
            connection.abort()
            return
        connection.idle_since = time.monotonic()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_KEPT, self._sweep)

    def _forget(self, origin: Origin, connection: Connection) -> None:
        """Strike out a connection that was closed."""
        self._open.discard(connection)
        if not self._open:
            self._emptied.set()
        idle = self._idle.get(origin)
        if idle and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[origin]

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        self._sweeper = None
        before = time.monotonic() - _KEPT
        for connections in self._idle.values():
            for connection in connections:
                if connection.idle_since <= before:
                    connection.abort()
        kept = {origin: [c for c in idle if not c.closed] for origin, idle in self._idle.items()}
        self._idle = {origin: idle for origin, idle in kept.items() if idle}
        if self._idle:
            oldest = min(idle[0].idle_since for idle in self._idle.values())
            self._sweeper = asyncio.get_running_loop().call_later(oldest - before, self._sweep)


_ALL: Final[WeakSet[Http]] = WeakSet()
figures.CONNECTIONS.labels("open").set_function(lambda: sum(http.open for http in _ALL))
figures.CONNECTIONS.labels("idle").set_function(lambda: sum(http.idle for http in _ALL))


def _checked(origin: Origin, response: Response) -> Response:
    """Give the first response of a connection, unless it says that TLS is spoken there."""
    if not origin.secure:
        tls.refuse_plain(origin.place, response.status, response.body)
    return response


async def _exchange(
    connection: Connection,
    data: bytes,
    limit: int,
    timeout: float | None,
    more: Callable[[], float] | None,
) -> Response:
    answer = connection.begin(data, limit, timeout, more)
    try:
        return await answer
    except asyncio.CancelledError:
        connection.give_up(answer)
        raise


async def _connect(origin: Origin, made: Callable[[], Connection], timeout: float) -> Connection:
    """Connect to the first address that takes a connection, among those that the rules allow."""
    addresses = await _allowed(origin)
    failed: Exception = OSError("the name has no address")
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        # One address that keeps silent must not take the time of the others.
        try:
            async with asyncio.timeout(timeout / 2 if left > 1 else None):
                return await _open(origin, made, address)
        except (OSError, TimeoutError) as error:
            failed = failed if isinstance(failed, ssl.SSLError) else error
    if isinstance(failed, ssl.SSLError) and not isinstance(failed, ssl.SSLEOFError):
        raise tls.failure(origin.place, failed) from failed
    if origin.secure and isinstance(failed, ConnectionResetError):
        raise Unreachable("it hung up in the TLS handshake") from failed
    raise Unreachable(str(failed) or "no connection") from failed


async def _open(origin: Origin, made: Callable[[], Connection], address: str) -> Connection:
    # The name is what the certificate must be for, whatever address was found for it.
    trust, name = (tls.context(), origin.host.rstrip(".")) if origin.secure else (None, None)
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(
        made, address, origin.port, ssl=trust, server_hostname=name
    )
    known = transport.get_extra_info("socket")
    if known is not None:
        # Streams may be silent for long: a server that vanished must be noticed all the same.
        known.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with suppress(AttributeError, OSError):
            known.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER)
    return connection


async def _allowed(origin: Origin) -> list[str]:
    """Resolve the name, and leave out what the rules refuse.

    Raises:
        Unreachable: The name has no address.
        UpstreamFailed: The rules refuse all it has.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"the name {origin.host} cannot be resolved: {error}") from error
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    reasons = {address: refusal(address, private=origin.private) for address in addresses}
    allowed = [address for address, reason in reasons.items() if reason is None]
    if not allowed:
        told = "; ".join(f"{address} {reason}" for address, reason in reasons.items())
        raise UpstreamFailed(f"The platform does not connect to {origin.host}: {told}")
    return allowed
