"""One replica or remote server: found out how it wants to be spoken to, once, and spoken to so."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gateway.requests import ClientChannel, ClientSession, Message
from gateway.rest_upstreams.api import ApiTarget
from gateway.rest_upstreams.leg import RestLeg
from gateway.upstreams.exchange import Broken, Exchange, Limits, Unreachable
from gateway.upstreams.http import Http
from gateway.upstreams.legs import Leg, open_older
from gateway.upstreams.listening import Muted, News, persist
from gateway.upstreams.modern import ModernLeg
from gateway.upstreams.sessions import STATEFUL, NotOffered, SessionRefused, Spawn
from mcp_platform.contracts.deployments import UpstreamAddress
from mcp_platform.errors import PlatformError, UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import LISTEN_FLAGS, Era, RpcError, ServerDescription, list_changes

_TOOLS_KEPT = 1.0
_ANNOTATIONS_KEPT = 300.0
_ASKED_AGAIN = 10.0
_MAX_PAGES = 100
_CLOSED = "it is not in use any more"


@dataclass(frozen=True)
class Target:
    """Where a server is reached, and the headers that it is sent; there may be secrets in both."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    api: ApiTarget | None = None
    """Given of a plain HTTP API, which does not speak MCP."""


class Upstream:
    """A server behind the gateway.

    Its era is probed at the first use and kept until an answer shows that it no longer holds. `target`
    is asked whenever that is so.

    Args:
        address: Where it is.
        http: The connections.
        target: Gives the address and its headers, with the secrets in them.
        limits: Seconds and bytes that one exchange may take.
        spawn: Runs something small that nobody waits for.
        private: Whether its address may be in a private network.
    """

    def __init__(
        self,
        address: UpstreamAddress,
        http: Http,
        target: Callable[[], Awaitable[Target]],
        limits: Limits,
        spawn: Spawn,
        *,
        private: bool = True,
    ) -> None:
        self.address = address
        self.active = 0
        """Requests in flight."""
        self._http = http
        self._target = target
        self._limits = limits
        self._spawn = spawn
        self._private = private
        self._leg: Leg | None = None
        self._closed = False
        self._ended = asyncio.Event()
        self._changed: dict[str, asyncio.Event] = {}
        """By session: set when what it is to hear has changed."""
        self._news = News(self._hear_changes, self._missed)
        self._opening = asyncio.Lock()
        self._idle: asyncio.Event | None = None
        self._tools: dict[str, bool] = {}
        """The tools by name, and whether each may be called again when nobody knows what became of a call."""
        self._tools_read = -math.inf
        self._listing = asyncio.Lock()
        self._know_until = -math.inf

    async def describe(self, timeout: float, headers: Mapping[str, str] | None = None) -> ServerDescription:
        """Ask what the server says of itself."""
        return (await self._open(timeout)).description

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        client: Era,
        timeout: float,
        *,
        channel: ClientChannel | None = None,
        headers: Mapping[str, str] | None = None,
        session: ClientSession | None = None,
    ) -> dict[str, Any]:
        """Give the result of one request, in the client's era.

        What the server sends before its answer goes to the channel.

        Raises:
            RpcError: The server's own error.
            Unreachable: Nothing was sent.
            Broken: The connection broke.
            UpstreamFailed: The protocol did.
            UpstreamTimedOut: There was no answer in time.
        """
        started = time.monotonic()
        self.active += 1
        leg = self._leg
        try:
            if leg is None or not leg.alive:
                leg = await self._reach(timeout)
                timeout = max(timeout - (time.monotonic() - started), 0.001)
            result = await leg.request(method, params, client, timeout, channel, headers or {}, session)
            if session is not None and method in STATEFUL:
                self._nudge(session)
            return result
        except UpstreamFailed as error:
            self._note_failure(error, leg)
            raise
        finally:
            self.active -= 1
            if self._idle is not None and not self.active:
                self._idle.set()

    async def listen(self, session: ClientSession, channel: ClientChannel | None = None) -> None:
        """Forward to the channel, the session's own unless told, what the server says outside of calls.

        Runs until cancelled, or until the upstream is closed. Begins anew by itself when a request of the
        session that this upstream sees changes what is to be heard.
        """
        channel = channel or session.channel
        if channel is None:
            return
        while not self._closed:
            changed = self._changed[session.id] = asyncio.Event()
            hearing = [
                asyncio.create_task(work)
                for work in (self._hear(session, channel), changed.wait(), self._ended.wait())
            ]
            try:
                await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
                if hearing[0].done():
                    hearing[0].result()
                    return
            finally:
                if self._changed.get(session.id) is changed:  # and not that of who took its place
                    del self._changed[session.id]
                for task in hearing:
                    task.cancel()
                await asyncio.gather(*hearing, return_exceptions=True)

    async def watch(self, on_change: Callable[[str], None]) -> None:
        """Tell which lists change, by the notification's method.

        All of them are told of whenever the stream of changes is open: what changed before was not heard.
        Runs until cancelled; returns when the upstream is closed, or the server does not tell.
        """

        async def tell(message: Message) -> None:
            if message["method"] in LISTEN_FLAGS:
                on_change(message["method"])

        def opened() -> None:
            for message in self._missed():
                on_change(message["method"])

        if not self._closed:
            await self._news.listen(tell, opened)

    async def tell(self, session: ClientSession, message: Message) -> None:
        """Pass a notification of an older client on, such as that its roots changed.

        Only a server that keeps a session for this client alone can make anything of it.
        """
        if self._leg is not None and self._leg.alive:
            await self._leg.tell(session, message)

    async def forget(self, session: ClientSession) -> None:
        """End what the server keeps for this session alone."""
        if self.address.replica_id not in session.upstream_sessions and self._leg is None:
            return
        try:
            leg = await self._reach(self._limits.connect_timeout)
            await leg.forget(session)
        except (Unreachable, PlatformError):
            return  # with the server its sessions ended, too

    async def _hear(self, session: ClientSession, channel: ClientChannel) -> None:
        """Forward what is said to the session alone; where nothing is, what is said to all."""

        async def hear() -> None:
            await (await self._open(self._limits.call_timeout)).listen(session, channel)

        try:
            await persist(hear)
        except NotOffered:
            await self._news.listen(channel.notify)

    async def _hear_changes(
        self, tell: Callable[[Message], Awaitable[None]], on_open: Callable[[], None]
    ) -> None:
        leg = await self._open(self._limits.call_timeout)
        declared = list_changes(leg.description)
        if not declared:
            raise NotOffered("it does not tell when its lists change")
        await leg.hear_changes(Muted(tell, lambda method: method in LISTEN_FLAGS), on_open)

    def _missed(self) -> list[Message]:
        """Give what may have been missed while the stream was not open: a change of each list."""
        leg = self._leg
        methods = list_changes(leg.description) if leg is not None else []
        return [{"jsonrpc": "2.0", "method": method} for method in methods]

    def _nudge(self, session: ClientSession) -> None:
        changed = self._changed.get(session.id)
        if changed is not None:
            changed.set()

    def _note_failure(self, error: UpstreamFailed, leg: Leg | None) -> None:
        # Perhaps another server answers at this address now, of another era; asking costs little
        # where no session is lost by it.
        if leg is None or self._leg is not leg:
            return  # others opened another one meanwhile, and use it
        if isinstance(leg, ModernLeg):
            self._leg = None
        elif isinstance(error, SessionRefused):
            self._spawn(leg.close())
            self._leg = None

    async def until_idle(self, timeout: float) -> None:
        """Return once no request is in flight, or after this time."""
        if self.active:
            if self._idle is None or self._idle.is_set():
                self._idle = asyncio.Event()  # for all who wait
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._idle.wait()

    async def has_tool(self, name: str, timeout: float) -> bool:
        """Whether the server lists this tool; a list is trusted for a second unless it has the name."""
        if name not in self._tools:
            await self._read_tools(_TOOLS_KEPT, timeout)
        return name in self._tools

    def repeatable(self, name: str) -> bool | None:
        """Whether the tool's annotations allow a second call; None when its list has not been read lately."""
        if time.monotonic() - self._tools_read >= 2 * _ANNOTATIONS_KEPT:
            return None
        return self._tools.get(name, False)

    def know_tools(self) -> None:
        """See to it that the list of tools is read now and then, without waiting for it.

        Once a replica has died in a call it is too late to ask it.
        """
        now = time.monotonic()
        if now >= self._know_until:
            self._know_until = now + _ANNOTATIONS_KEPT
            self._spawn(self._know_tools())

    async def _know_tools(self) -> None:
        try:
            await self._read_tools(_ANNOTATIONS_KEPT, self._limits.connect_timeout)
        except (RpcError, Unreachable, PlatformError):
            self._know_until = time.monotonic() + _ASKED_AGAIN

    async def read_tools(self, timeout: float) -> None:
        """Read the list of tools, unless it was read lately."""
        await self._read_tools(_ANNOTATIONS_KEPT, timeout)

    async def close(self) -> None:
        """Give back what is held; whoever listens returns."""
        self._closed = True
        self._ended.set()
        if self._idle is not None:
            self._idle.set()
        await self._news.close()
        await self._close_leg()

    async def _close_leg(self) -> None:
        leg, self._leg = self._leg, None
        if leg is not None:
            await leg.close()

    async def _read_tools(self, kept: float, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout), self._listing:
                if time.monotonic() - self._tools_read >= kept:
                    self._tools = await self._list_tools(timeout)
                    self._tools_read = time.monotonic()
        except TimeoutError:
            raise UpstreamTimedOut("The MCP server did not list its tools in time") from None

    async def _list_tools(self, timeout: float) -> dict[str, bool]:
        found: dict[str, bool] = {}
        params: dict[str, Any] | None = None
        for _ in range(_MAX_PAGES):
            page = await self.request("tools/list", params, Era.LEGACY, timeout)
            tools = page.get("tools")
            if isinstance(tools, list):
                found |= {str(t.get("name")): _repeatable(t) for t in tools if isinstance(t, dict)}
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                break
            params = {"cursor": cursor}
        return found

    async def _reach(self, timeout: float) -> Leg:
        try:
            return await self._open(timeout)
        except Broken as error:
            raise Unreachable(str(error)) from error  # of this request nothing was sent

    async def _open(self, timeout: float) -> Leg:
        leg = self._leg
        if leg is not None and leg.alive:
            return leg
        try:
            async with asyncio.timeout(timeout), self._opening:
                if self._closed:
                    raise Unreachable(_CLOSED)
                if self._leg is None or self._leg is leg:
                    await self._close_leg()
                    self._leg = await self._probe()
                    if self._ended.is_set():  # while it was opened: nobody else would close it
                        await self._close_leg()
                        raise Unreachable(_CLOSED)
                return self._leg
        except TimeoutError:
            raise UpstreamTimedOut("The MCP server did not open a session in time") from None

    async def _read_api(self) -> ApiTarget | None:
        return (await self._target()).api

    async def _probe(self) -> Leg:
        target = await self._target()
        if target.api is not None:
            return RestLeg(self._http, target.api, self._limits, self._read_api, private=self._private)
        exchange = Exchange(self._http, target.url, target.headers, self._limits, private=self._private)
        return await ModernLeg.open(exchange) or await open_older(
            exchange, self.address.replica_id, self._spawn
        )


def _repeatable(tool: dict[str, Any]) -> bool:
    """Read the annotations; by the specification's defaults a tool without them must not be repeated."""
    annotations = tool.get("annotations")
    if not isinstance(annotations, dict):
        return False
    return annotations.get("readOnlyHint") is True or annotations.get("idempotentHint") is True
