"""A session by the transport of 2024-11-05, HTTP+SSE: a lasting stream of events, an address for messages."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from gateway.requests import ClientChannel, Message
from gateway.upstreams.audience import Audience
from gateway.upstreams.connection import Broken, Unreachable
from gateway.upstreams.conversation import Conversation
from gateway.upstreams.exchange import ACCEPT, Exchange, Interrupted, Reply, read_event
from gateway.upstreams.flights import Flights
from gateway.upstreams.http import head
from gateway.upstreams.sessions import NotOffered, Profile, Spawn
from mcp_platform.errors import PlatformError, UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import LATEST_HANDSHAKE, Era, RpcError, ServerDescription

_HEADERS: Final = head(ACCEPT)


class SseSession:
    """Holds the stream open in one task. When it ends the session is over, and another is to be opened."""

    def __init__(self, exchange: Exchange, profile: Profile, spawn: Spawn) -> None:
        self.description: ServerDescription
        self.profile = profile
        self._exchange = exchange
        self._spawn = spawn
        self._flights = Flights()
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._hearers: list[ClientChannel] = []
        self._conversation = Conversation(
            Audience(profile, self._flights, self._hearers), self._answer, self._flights.restore
        )
        self._posts: Exchange | None = None
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._reason = "the server ended the event stream"
        self._opening = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._open = False

    @property
    def alive(self) -> bool:
        """Whether the stream has not ended."""
        return not self._ended.is_set()

    @property
    def busy(self) -> bool:
        """Whether anything is in flight."""
        return len(self._flights) > 0 or bool(self._hearers)

    async def open(self) -> None:
        """Open the stream and shake hands.

        Raises:
            UpstreamFailed: The address is no MCP server of this kind either.
        """
        patience = self._exchange.limits.call_timeout
        try:
            raw = await self._shake_hands(patience)
            version = str(raw.get("protocolVersion", LATEST_HANDSHAKE))
            self.description = ServerDescription(Era.LEGACY, version, raw)
            await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}, patience)
            await self._restore_state(patience)
        except BaseException:
            # Wherever it failed, or was given up: the stream is open, and nobody else knows of it.
            await self.close()
            raise
        self._open = True

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        """Give the result of one request."""
        started = time.monotonic()
        await self._ensure_open()
        left = max(timeout - (time.monotonic() - started), 0.001)
        return await self._ask(method, params, left, channel, headers)

    async def hear(self, channel: ClientChannel, on_open: Callable[[], None] = lambda: None) -> None:
        """Forward what the server says outside of calls, until its stream ends.

        Args:
            channel: Where to.
            on_open: Told once the stream is open.
        """
        await self._ensure_open()
        self._hearers.append(channel)
        on_open()
        try:
            await self._ended.wait()
        finally:
            self._hearers.remove(channel)

    async def hear_for_callers(self) -> None:
        """Do nothing: all that the server says comes on the one stream.

        Raises:
            NotOffered: Always.
        """
        raise NotOffered("there is one stream for all")

    async def tell(self, message: Message) -> None:
        """Send a notification, if the session is open; one that is lost does no harm."""
        if self._open and self.alive:
            await self._answer(message)

    async def close(self) -> None:
        """Close the stream, which ends the session."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._end("the connection was closed")

    async def release(self) -> None:
        """Close it: only this process can use it."""
        await self.close()

    async def _ensure_open(self) -> None:
        """Open it, unless it is or was: once its stream has ended, only another session can be opened.

        Raises:
            Unreachable: Of the request nothing was sent.
        """
        if not self._open:
            async with self._opening:
                if not self._open and self.alive:
                    try:
                        await self.open()
                    except Broken as error:
                        raise Unreachable(str(error)) from error
        if not self.alive:
            raise Unreachable(self._reason)

    async def _shake_hands(self, patience: float) -> Message:
        asked = {
            "protocolVersion": LATEST_HANDSHAKE,
            "capabilities": self.profile.capabilities,
            "clientInfo": self.profile.client_info,
        }
        try:
            async with asyncio.timeout(patience):
                await self._connect()
                return await self._ask("initialize", asked, patience, None)
        except (RpcError, TimeoutError, UpstreamTimedOut) as error:
            why = str(error) or "it keeps silent"
            raise UpstreamFailed(f"The address does not answer as an MCP server: {why}") from None

    async def _connect(self) -> None:
        self._reader = asyncio.create_task(self._read())
        await self._ready.wait()
        if self._posts is None:
            raise UpstreamFailed(f"The address does not answer as an MCP server: {self._reason}")

    async def _restore_state(self, timeout: float) -> None:
        wanted: list[tuple[str, dict[str, Any]]] = []
        if self.profile.log_level is not None:
            wanted.append(("logging/setLevel", {"level": self.profile.log_level}))
        wanted += [("resources/subscribe", {"uri": uri}) for uri in self.profile.subscriptions]
        for method, params in wanted:
            try:
                await self._ask(method, params, timeout, None)
            except RpcError:
                continue  # what it takes no more is not worth the session

    async def _ask(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        flight, message = self._flights.begin(method, params, channel)
        answer = self._answers[flight.number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._post(message, timeout, headers)
            found = await self._wait(answer, timeout)
        except (TimeoutError, UpstreamTimedOut):
            self._cancel(method, flight.number)
            raise UpstreamTimedOut("The MCP server did not answer in time") from None
        except asyncio.CancelledError:
            self._cancel(method, flight.number)
            raise
        finally:
            self._flights.end(flight)
            del self._answers[flight.number]
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # nobody else looks at it where the message could not be sent
        result = found.get("result")
        if isinstance(result, dict):
            return result
        raise RpcError.read(found.get("error"))

    async def _wait(self, answer: asyncio.Future[Message], timeout: float) -> Message:
        """Wait for an answer; the time for which a client is asked does not count."""
        before = self._conversation.spent()
        begun = time.monotonic()
        while not answer.done():
            left = timeout + self._conversation.spent() - before - (time.monotonic() - begun)
            if left <= 0:
                raise TimeoutError
            await asyncio.wait({answer}, timeout=left)
        return answer.result()

    def _cancel(self, method: str, number: int) -> None:
        if method != "initialize" and self.alive:
            params = {"requestId": number, "reason": "the caller left"}
            self._spawn(
                self._answer({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
            )

    async def _answer(self, message: Message) -> None:
        try:
            await self._post(message, self._exchange.limits.connect_timeout)
        except (Unreachable, PlatformError):
            return  # a courtesy; the end of the stream tells the rest

    async def _post(self, message: Message, timeout: float, headers: Mapping[str, str] | None = None) -> None:
        assert self._posts is not None
        sent = {**self.profile.headers, **(headers or {})}
        try:
            reply = await self._posts.post(message, _HEADERS, timeout, None, sent)
        except Interrupted:
            return
        reply.check_status()
        if reply.status >= 400:
            raise UpstreamFailed(f"The MCP server answered with HTTP status {reply.status}")

    async def _read(self) -> None:
        reason = self._reason
        try:
            accept = head({"Accept": "text/event-stream"})
            response = await self._exchange.send("GET", accept, None, self.profile.headers)
            if response.body is not None:
                Reply(response, None).check_status()
                raise UpstreamFailed(f"The MCP server answered with HTTP status {response.status}")
            events = self._exchange.events(response)
            try:
                while (event := await events.next()) is not None:
                    await self._take(event)
            finally:
                self._conversation.end()
                response.close()
        except (Unreachable, PlatformError) as error:
            reason = str(error)
        finally:
            self._end(reason)

    async def _take(self, event: tuple[str, bytes]) -> None:
        name, data = event
        if name == "endpoint" and self._posts is None:
            self._posts = self._exchange.at(self._resolve(data.decode(errors="replace")))
            self._ready.set()
            return
        message = read_event(event)
        if message is None:
            return
        if "method" in message:
            await self._conversation.hear(message)
            return
        answer = self._answers.get(message.get("id", 0)) if isinstance(message.get("id"), int) else None
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _resolve(self, target: str) -> str:
        """Find the address for messages; one on another host would take our credentials there."""
        url = urljoin(self._exchange.url, target)
        here, there = urlsplit(self._exchange.url), urlsplit(url)
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            raise UpstreamFailed("The MCP server names an address on another host for its messages")
        return url

    def _end(self, reason: str) -> None:
        if not self._ended.is_set():
            self._reason = reason
        self._ended.set()
        self._ready.set()
        for answer in self._answers.values():
            if not answer.done():
                broken = f"The connection to the MCP server broke during the call: {self._reason}"
                answer.set_exception(Broken(broken))
