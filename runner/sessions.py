"""Sessions of clients of the older protocol: most share one server, some have one of their own.

A client that may be asked something (sampling, elicitation, roots), sets a log level or begins tasks must
be the only one behind its server: on standard input and output nothing says whose a question or a message
is. The number of such servers is bounded, and idle ones are ended.
"""

import asyncio
import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_platform.duplex import DuplexSession, SessionGone, SessionLost
from mcp_platform.wire import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    LATEST_HANDSHAKE,
    SHARED_KEY,
    RpcError,
    ServerDescription,
)
from runner.child import ServerProcess, exit_text
from runner.streams import EventStream, Message

ASKABLE: Final = ("sampling", "elicitation", "roots")
"""What a client declares that may be asked something."""
_OUTSIDE_CALLS: Final = frozenset(
    {
        "notifications/resources/updated",
        "notifications/resources/list_changed",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
    }
)
"""Notifications that belong to no call, though one may be in flight."""
_MOST_HELD: Final = 100
"""Questions and notifications that wait for a stream."""
_MOST_ENDED: Final = 1000
_NOT_FORWARDED: Final = frozenset({"notifications/initialized", "notifications/cancelled"})

Start = Callable[[Callable[[bytes], None], str], Awaitable[ServerProcess]]
"""Starts another server like the shared one: what takes its lines, and its mark."""


class SessionEnded(Exception):
    """There is no such session, or not any more (specification: answered with 404)."""


@dataclass(frozen=True)
class Bounds:
    """How many servers sessions may have for themselves, and times in seconds."""

    most: int = 16
    idle: float = 600.0
    start: float = 30.0
    grace: float = 3.0


class OwnSession:
    """One client's session, with a server behind it that nobody else uses."""

    def __init__(self, number: str, client_info: dict[str, Any], *, shared: bool) -> None:
        self.id = number
        self.duplex = DuplexSession(client_info, self._hear, self._ask)
        self.description: ServerDescription
        self.ended: asyncio.Task[None]
        """Done when its server has ended by itself."""
        self.used = time.monotonic()
        self._server: ServerProcess | None = None
        self._shared = shared
        self._standing: EventStream | None = None
        self._calls: dict[object, EventStream | None] = {}
        self._questions: set[object] = set()
        """Ids of the server's requests that the client has not answered."""
        self._held: list[Message] = []
        self._tags = itertools.count()

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight, and nobody listens."""
        return not self._calls and self._standing is None

    async def open(self, start: Start, params: dict[str, Any], bounds: Bounds) -> None:
        """Start the server, and open the session there as the client asks for it.

        Raises:
            RpcError: It cannot be started, or refuses, or does not answer.
        """
        try:
            self._server = await start(self.duplex.receive, self.id)
        except OSError as error:
            raise RpcError(INTERNAL_ERROR, f"the server cannot be started: {error.strerror}") from None
        self.duplex.attach(self._server)
        self.ended = asyncio.create_task(self._until_ended(self._server))
        try:
            async with asyncio.timeout(bounds.start):
                self.description = await self.duplex.initialize(params)
        except TimeoutError:
            reason = f"the server did not open a session within {bounds.start:g} s"
            raise RpcError(INTERNAL_ERROR, reason) from None
        except SessionLost as lost:
            raise RpcError(INTERNAL_ERROR, f"the server opened no session: {lost}") from None

    async def close(self, reason: str, grace: float) -> None:
        """End the server, and whatever waits for it."""
        self.duplex.lose(reason)
        if self._standing is not None:
            self._standing.end()
        if self._server is not None:
            self.ended.cancel()
            await self._server.end(0.0 if self._server.exited.done() else grace)

    async def request(
        self, number: object, method: str, params: dict[str, Any] | None, stream: EventStream | None
    ) -> dict[str, Any]:
        """Give the result of one request; what the server says meanwhile goes to the stream.

        Raises:
            RpcError: The server's own error, or the client cancelled the request.
            SessionLost: The server ended.
        """
        tag = (number, next(self._tags))
        self._calls[tag] = stream
        self.used = time.monotonic()
        if stream is not None:
            self._release(stream)
        try:
            return await self.duplex.request(method, params, stream.send if stream else None, tag)
        finally:
            self._calls.pop(tag, None)
            self.used = time.monotonic()

    def take(self, message: Message) -> None:
        """Take a notification, or an answer to a question of the server."""
        self.used = time.monotonic()
        method = message.get("method")
        if method is None:
            if message.get("id") in self._questions:
                self._questions.discard(message["id"])
                self.duplex.tell(message)
        elif method == "notifications/cancelled":
            params = message.get("params")
            self._cancel(params if isinstance(params, dict) else {})
        elif method not in _NOT_FORWARDED:
            self.duplex.tell(message)

    def listen(self, stream: EventStream) -> None:
        """Send what belongs to no call to this stream, from now on; the one before it ends."""
        if self._standing is not None:
            self._standing.end()
        self._standing = stream
        self._release(stream)

    def leave(self, stream: EventStream) -> None:
        """Send nothing to this stream any more."""
        self.used = time.monotonic()
        if self._standing is stream:
            self._standing = None

    async def _until_ended(self, server: ServerProcess) -> None:
        await server.ending.wait()
        await asyncio.wait({server.exited}, timeout=1.0)
        status = server.exited.result() if server.exited.done() else None
        self.duplex.lose(
            "the server closed its standard output" if status is None else f"the server {exit_text(status)}"
        )

    def _cancel(self, params: dict[str, Any]) -> None:
        number = params.get("requestId")
        reason = str(params.get("reason") or "the client cancelled it")
        for tag in [tag for tag in self._calls if isinstance(tag, tuple) and tag[0] == number]:
            self.duplex.cancel(tag, reason)

    def _hear(self, message: Message) -> None:
        if message["method"] in _OUTSIDE_CALLS:
            stream = self._standing or self._newest()
        else:
            stream = self._newest() or self._standing
        if stream is not None:
            stream.send(message)
        else:
            self._hold(message)

    def _ask(self, message: Message) -> None:
        if self._shared and len(self._calls) != 1:
            # Somebody else's answer would be worse than none.
            reason = "several clients share this session, and nobody knows which of them is meant"
            self.duplex.refuse(message["id"], message["method"], reason)
            return
        self._questions.add(message["id"])
        stream = self._newest() or self._standing
        taken = stream.send(message) if stream is not None else self._hold(message)
        if not taken:
            self._questions.discard(message["id"])
            self.duplex.refuse(message["id"], message["method"], "the client does not listen")

    def _newest(self) -> EventStream | None:
        return next((stream for stream in reversed(self._calls.values()) if stream is not None), None)

    def _hold(self, message: Message) -> bool:
        if len(self._held) >= _MOST_HELD:
            return False
        self._held.append(message)
        return True

    def _release(self, stream: EventStream) -> None:
        held, self._held = self._held, []
        for message in held:
            stream.send(message)


class Sessions:
    """All sessions, by their ids.

    Ids are given to all clients that may need a server of their own some day; until then nothing is kept
    for them, and they use the one that all share.
    """

    def __init__(self, start: Start, bounds: Bounds, client_info: dict[str, Any]) -> None:
        self._start = start
        self._bounds = bounds
        self._client_info = client_info
        self._own: dict[str, OwnSession] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._prefix = f"{secrets.token_hex(4)}-"
        self._opening = asyncio.Lock()
        self._starting = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def new_id(self) -> str:
        """Make an id for a client that shares the server, for now."""
        return self._prefix + secrets.token_hex(12)

    def find(self, number: str | None) -> OwnSession | None:
        """Give the session that has a server of its own; None: the client shares one.

        Raises:
            SessionEnded: The session has ended, or this runner did not open it.
        """
        if number is None:
            return None
        own = self._own.get(number)
        if own is None and (number in self._ended or not number.startswith(self._prefix)):
            raise SessionEnded(number)
        return own

    async def open(self, params: Mapping[str, Any]) -> OwnSession:
        """Open a session for a client that may be asked something.

        Raises:
            RpcError: There are as many as there may be, or the server refuses.
            SessionGone: The runner is ending.
        """
        meta = params.get("_meta")
        meta = dict(meta) if isinstance(meta, dict) else {}
        shared = bool(meta.pop(SHARED_KEY, False))
        asked = {key: value for key, value in params.items() if key != "_meta"}
        return await self._open(self.new_id(), {**asked, "_meta": meta} if meta else asked, shared)

    async def upgrade(self, number: str) -> OwnSession:
        """Give a client that shared the server one of its own.

        Raises:
            RpcError: There are as many as there may be, or the server refuses.
            SessionEnded: Its client ended it meanwhile.
            SessionGone: The runner is ending.
        """
        async with self._opening:
            if (own := self._own.get(number)) is not None:
                return own
            hello = {
                "protocolVersion": LATEST_HANDSHAKE,
                "capabilities": {},
                "clientInfo": self._client_info,
            }
            return await self._open(number, hello, shared=False)

    async def end(self, number: str) -> None:
        """End a session, as its client asks."""
        if number in self._own:
            await self._remove(number, "the client ended the session")
        else:
            self._forget(number)

    async def end_idle(self) -> None:
        """End what nobody uses, now and then; runs until cancelled."""
        while True:
            await asyncio.sleep(self._bounds.idle / 4)
            ends = time.monotonic() - self._bounds.idle
            for own in list(self._own.values()):
                if own.idle and own.used < ends:
                    await self._remove(own.id, "nobody used the session")

    async def close(self) -> None:
        """End them all, and open no more."""
        self._closed = True
        removing = (self._remove(number, "the runner is ending") for number in list(self._own))
        await asyncio.gather(*removing, *self._closing)

    async def _open(self, number: str, params: dict[str, Any], shared: bool) -> OwnSession:
        self._check_wanted(number)
        if len(self._own) + self._starting >= self._bounds.most:
            raise RpcError(
                INVALID_REQUEST,
                f"{self._bounds.most} sessions have a server of their own here, and there may be no more:"
                " try again later, or without sampling, elicitation, roots, log levels and tasks",
            )
        own = OwnSession(number, self._client_info, shared=shared)
        self._starting += 1
        try:
            await own.open(self._start, params, self._bounds)
            self._check_wanted(number)
        except BaseException:
            await asyncio.shield(own.close("the session was not opened", 0.0))
            raise
        finally:
            self._starting -= 1
        self._own[number] = own
        self._watches[number] = asyncio.create_task(self._watch(own))
        return own

    def _check_wanted(self, number: str) -> None:
        """Refuse what would be opened for nobody: who ends sessions knows only those that are open."""
        if self._closed:
            raise SessionGone("the runner is ending")
        if number in self._ended:
            raise SessionEnded(number)

    async def _watch(self, own: OwnSession) -> None:
        await asyncio.wait({own.ended})
        await self._remove(own.id, "its server ended")

    async def _remove(self, number: str, reason: str) -> None:
        own = self._own.pop(number, None)
        if own is None:
            return
        self._forget(number)
        watch = self._watches.pop(number)
        if watch is not asyncio.current_task():
            watch.cancel()
        closing = asyncio.create_task(own.close(reason, self._bounds.grace))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        # A client that does not wait for the end leaves the server the time that it has for that.
        await asyncio.shield(closing)

    def _forget(self, number: str) -> None:
        self._ended[number] = None
        if len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)


def wants_own(params: Mapping[str, Any]) -> bool:
    """Whether a client declares that it may be asked something."""
    capabilities = params.get("capabilities")
    return isinstance(capabilities, dict) and any(name in capabilities for name in ASKABLE)
