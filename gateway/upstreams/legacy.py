"""A session at a server of 2025-11-25 or older, by Streamable HTTP."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.requests import ClientChannel, Message
from gateway.upstreams.audience import Audience
from gateway.upstreams.connection import Broken, Response, Unreachable
from gateway.upstreams.conversation import Conversation
from gateway.upstreams.exchange import ACCEPT, Exchange, Interrupted, Reply, read_event
from gateway.upstreams.flights import Flights
from gateway.upstreams.http import head
from gateway.upstreams.sessions import NotOffered, Profile, SessionRefused, Spawn
from mcp_platform.errors import PlatformError, UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import (
    INVALID_REQUEST,
    LATEST_HANDSHAKE,
    SHARED_KEY,
    Era,
    RpcError,
    ServerDescription,
)

_SESSION: Final = "Mcp-Session-Id"
_LOST_CODES: Final = frozenset({INVALID_REQUEST, -32000, -32001})
"""Errors by which servers say that they do not know a session, where they do not answer with 404."""
_PASSING: Final = frozenset({409, 429})
"""Answers by which servers refuse a stream for now, such as while they take the former one to be open."""
_UNOPENED: Final = head(ACCEPT)
_COURTESY: Final = 2.0
"""Seconds for what does no harm where it does not happen."""


class HttpSession:
    """One session; opened at its first request, and anew when the server lost it.

    Args:
        exchange: The server.
        profile: Whom it is for.
        spawn: Runs what nobody waits for.
        opened: Told whenever the server has opened it.
        known: The id that it was opened with before, and what the server said of itself then.
    """

    def __init__(
        self,
        exchange: Exchange,
        profile: Profile,
        spawn: Spawn,
        opened: Callable[["HttpSession"], None] = lambda _: None,
        known: tuple[str, ServerDescription] | None = None,
    ) -> None:
        self.description: ServerDescription
        self.profile = profile
        self.id: str | None = None
        self._exchange = exchange
        self._spawn = spawn
        self._opened = opened
        self._flights = Flights()
        self._opening = asyncio.Lock()
        self._generation = 0
        """How often it was opened."""
        self._prepared = _UNOPENED
        self._last_event = b""
        self._listening: asyncio.Event | None = None
        """Set once the standalone stream is open; None while nobody wants it."""
        if known is not None:
            self._take(*known)
            self._generation = 1

    @property
    def alive(self) -> bool:
        """Always: a lost one is opened anew."""
        return True

    @property
    def busy(self) -> bool:
        """Whether anything is in flight."""
        return len(self._flights) > 0

    async def open(self) -> bool:
        """Shake hands; False when the server does not take the handshake at this address."""
        asked: dict[str, Any] = {
            "protocolVersion": LATEST_HANDSHAKE,
            "capabilities": self.profile.capabilities,
            "clientInfo": self.profile.client_info,
        }
        if self.profile.client is None and self.profile.capabilities:
            # A runner cannot tell whose a question is; it asks nobody while several could be meant.
            asked["_meta"] = {SHARED_KEY: True}
        reply = await self._send("initialize", asked, self._exchange.limits.call_timeout, None, {})
        if reply.message is None and reply.status in (400, 404, 405):
            return False
        reply.check_status()
        try:
            raw = reply.result() if reply.message is not None else None
        except RpcError as error:
            if self.profile.capabilities:
                raise  # what this client declares is refused, or there is no room for one more like it
            raise UpstreamFailed(f"The MCP server refuses a session: {error.message}") from None
        if raw is None:
            return False
        version = str(raw.get("protocolVersion", LATEST_HANDSHAKE))
        number = reply.response.header("mcp-session-id")
        await self._begin(number, ServerDescription(Era.LEGACY, version, raw))
        return True

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        """Give the result of one request; the session is renewed once if the server lost it."""
        started = time.monotonic()
        if not self._generation:
            await self._renew(0, timeout)
        if self._listening is not None and not self._listening.is_set():
            await self._until_listening(self._listening, min(_COURTESY, timeout))
        generation = self._generation
        left = max(timeout - (time.monotonic() - started), 0.001)
        reply = await self._send(method, params, left, channel, headers)
        if self._is_lost(reply):
            # Nothing was executed.
            await self._renew(generation, timeout)
            left = max(timeout - (time.monotonic() - started), 0.001)
            reply = await self._send(method, params, left, channel, headers)
        return reply.result()

    async def hear(self, channel: ClientChannel, on_open: Callable[[], None] = lambda: None) -> None:
        """Forward what the server says outside of calls, until its stream ends.

        Args:
            channel: Where to.
            on_open: Told once the stream is open.

        Raises:
            NotOffered: The server has no such stream.
        """
        opened = self._listening = asyncio.Event()
        try:
            response = await self._open_stream()
            if response is not None:
                opened.set()
                on_open()
                await self._follow(response, channel)
        finally:
            opened.set()
            if self._listening is opened:  # and not the stream that took its place
                self._listening = None

    async def _until_listening(self, opened: asyncio.Event, timeout: float) -> None:
        """Wait for the standalone stream: some servers ask there, and never again where it was not open."""
        try:
            async with asyncio.timeout(timeout):
                await opened.wait()
        except TimeoutError:
            opened.set()  # a server that says nothing until it has something to say: no other call waits

    async def hear_for_callers(self) -> None:
        """Forward what the server says outside of the calls' own streams to whoever calls.

        Raises:
            NotOffered: The server has no such stream.
        """
        await self.hear(Audience(self.profile, self._flights))

    async def tell(self, message: Message) -> None:
        """Send a notification, if the session is open; one that is lost does no harm."""
        if self._generation:
            await self._post_quietly(message, self._exchange.limits.connect_timeout)

    async def close(self) -> None:
        """End it at the server, too; a server need not allow that."""
        number, self.id = self.id, None
        if number is not None:
            await self._end(self._prepared)

    async def release(self) -> None:
        """Do nothing: nothing is held here."""

    async def _open_stream(self) -> Response | None:
        """Open the standalone stream; None where the session had to be renewed instead."""
        limits = self._exchange.limits
        if not self._generation:
            await self._renew(0, limits.call_timeout)
        generation = self._generation
        headers = dict(self.profile.headers)
        if self._last_event:
            headers["Last-Event-ID"] = self._last_event.decode("latin-1")
        response = await self._exchange.send("GET", self._prepared, None, headers)
        if response.body is None:
            return response
        reply = Reply(response, None)
        if self.id is not None and reply.status in (400, 404):
            await self._renew(generation, limits.call_timeout)
            return None
        reply.check_status()
        if reply.status in _PASSING:
            raise UpstreamFailed(f"The MCP server opens no stream now: HTTP status {reply.status}")
        raise NotOffered(f"HTTP status {reply.status}")

    async def _follow(self, response: Response, channel: ClientChannel) -> None:
        conversation = Conversation(channel, self._answer, self._flights.restore)
        events = self._exchange.events(response)
        try:
            while (event := await events.next()) is not None:
                self._last_event = events.last_id
                message = read_event(event)
                if message is not None and "method" in message:
                    await conversation.hear(message)
        finally:
            conversation.end()
            response.close()

    async def _begin(self, number: str | None, description: ServerDescription) -> None:
        """Finish the handshake, and tell the server what was told it before: or leave it all as it was."""
        former = self.id, self._prepared
        self._take(number, description)
        try:
            # Servers refuse requests before they have this.
            initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await self._post(initialized, self._exchange.limits.call_timeout)
            await self._restore_state()
        except BaseException:
            half_open = self._prepared
            self.id, self._prepared = former
            if number:
                self._spawn(self._end(half_open))
            raise
        self._generation += 1
        self._opened(self)

    async def _end(self, prepared: bytes) -> None:
        """End the session of these headers at the server."""
        timeout = min(_COURTESY, self._exchange.limits.call_timeout)
        try:
            await self._exchange.send("DELETE", prepared, timeout, self.profile.headers)
        except (Unreachable, PlatformError):
            return  # it forgets the session by itself, some time

    def _take(self, number: str | None, description: ServerDescription) -> None:
        self.id = number or None
        self.description = description
        sent = {**ACCEPT, "MCP-Protocol-Version": description.version}
        self._prepared = head({**sent, _SESSION: number} if number else sent)
        self._last_event = b""

    async def _renew(self, generation: int, timeout: float) -> None:
        """Open it, unless somebody did meanwhile."""
        try:
            async with asyncio.timeout(timeout), self._opening:
                if self._generation == generation and not await self.open():
                    raise SessionRefused("The MCP server lost its session and opens no other")
        except TimeoutError:
            raise UpstreamTimedOut("The MCP server did not open a session in time") from None

    async def _restore_state(self) -> None:
        """Tell the server what was told it before: level and subscriptions."""
        wanted: list[tuple[str, dict[str, Any]]] = []
        if self.profile.log_level is not None:
            wanted.append(("logging/setLevel", {"level": self.profile.log_level}))
        wanted += [("resources/subscribe", {"uri": uri}) for uri in self.profile.subscriptions]
        for method, params in wanted:
            try:
                (await self._send(method, params, self._exchange.limits.call_timeout, None, {})).result()
            except RpcError:
                continue  # what it takes no more is not worth the session

    async def _send(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str],
    ) -> Reply:
        flight, message = self._flights.begin(method, params, channel)
        conversation = Conversation(channel, self._answer, self._flights.restore)
        sent = {**self.profile.headers, **headers}
        deadline = time.monotonic() + timeout
        # Until the server has opened another session, the lost one is asked for, and seen to be lost.
        prepared = self._prepared if method != "initialize" else _UNOPENED
        try:
            return await self._exchange.post(
                message,
                prepared,
                timeout,
                conversation.hear,
                sent,
                safe=method != "tools/call",
                more=conversation.spent,
            )
        except Interrupted as cut:
            return await self._resume(cut, flight.number, deadline, conversation)
        except (asyncio.CancelledError, UpstreamTimedOut):
            if method != "initialize":
                cancelled = {"requestId": flight.number, "reason": "the caller left"}
                told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled}
                self._spawn(self._post_quietly(told, self._exchange.limits.connect_timeout))
            raise
        finally:
            conversation.end()
            self._flights.end(flight)

    async def _resume(
        self, cut: Interrupted, number: int, deadline: float, conversation: Conversation
    ) -> Reply:
        """Go on with a stream that the server ended before its answer (2025-11-25, "Resumability")."""
        while (left := deadline + conversation.spent() - time.monotonic() - cut.pause) > 0:
            await asyncio.sleep(cut.pause)
            headers = {**self.profile.headers, "Last-Event-ID": cut.last_event.decode("latin-1")}
            try:
                return await self._exchange.resume(number, self._prepared, left, conversation.hear, headers)
            except Interrupted as again:
                cut = again
        raise UpstreamTimedOut("The MCP server did not answer in time")

    def _is_lost(self, reply: Reply) -> bool:
        if self.id is None:
            return False
        if reply.status == 404:
            return True  # the specification's sign for a session that is gone
        error = reply.message.get("error") if reply.message else None
        if not isinstance(error, dict):
            return False
        words = str(error.get("message")).lower()
        if reply.status == 200:
            return error.get("code") == INVALID_REQUEST and words.startswith("session not found")
        return reply.status == 400 and error.get("code") in _LOST_CODES and "session" in words

    async def _answer(self, message: Message) -> None:
        await self._post_quietly(message, self._exchange.limits.call_timeout)

    async def _post_quietly(self, message: Message, timeout: float) -> None:
        try:
            await self._post(message, timeout)
        except (Unreachable, PlatformError):
            return  # a courtesy; whoever waits for the call itself learns of the failure there

    async def _post(self, message: Message, timeout: float) -> None:
        try:
            await self._exchange.post(message, self._prepared, timeout, None, self.profile.headers, safe=True)
        except (Interrupted, Broken):
            return
