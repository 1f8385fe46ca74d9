"""Sessions of older clients: here while they are used, and kept where any process finds them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from secrets import token_hex, token_urlsafe
from typing import Any, Final, Protocol
from uuid import UUID

import orjson
import structlog

from gateway import figures
from gateway.front.answers import Presence
from gateway.front.asks import Asks, Sending, check_offer
from gateway.front.streams import EventStream
from gateway.requests import ClientSession
from mcp_platform.errors import PlatformError, Unavailable
from mcp_platform.names import Channel
from mcp_platform.wire import METHOD_NOT_FOUND, RpcError
from storage.cache import Message

log = structlog.get_logger(__name__)

_TOUCHES: Final = 15.0
"""Seconds between two looks at which sessions were used, and which have ended elsewhere."""
_FORGOTTEN: Final = 300.0
"""Seconds without use after which a session is dropped from memory: it is found again where it is kept."""


class SessionStore(Protocol):
    """Where sessions are kept, each under its id, until they were not used for a time."""

    async def count(self, owner: str) -> tuple[int, int]:
        """Count all sessions, and those of one owner."""
        ...

    async def put(self, number: str, owner: str, text: str) -> None:
        """Keep a session, or what it has become."""
        ...

    async def get(self, number: str) -> str | None:
        """Find a session."""
        ...

    async def touch(self, used: Collection[tuple[str, str]]) -> set[str]:
        """Note that these were used; answers which of them have ended."""
        ...

    async def delete(self, number: str, owner: str) -> None:
        """Forget a session."""
        ...


class LiveSession:
    """A session that this process serves; it is the session's own channel, too."""

    __slots__ = ("_asks", "calls", "data", "keeping", "stream", "used_at")

    def __init__(self, data: ClientSession, asks: Asks) -> None:
        self.data = data
        data.channel = self
        self._asks = asks
        self.used_at = time.monotonic()
        self.stream: EventStream | None = None
        """Its standalone stream, if the client holds one open with this process."""
        self.calls: dict[str | int, Presence] | None = None
        """Its requests in flight, by their ids."""
        self.keeping = asyncio.Lock()
        """Held while it is written to where it is kept, or read from there."""

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the client declared."""
        return self.data.capabilities

    @property
    def client_info(self) -> Mapping[str, Any]:
        """Its name and version."""
        return self.data.client_info

    async def notify(self, message: dict[str, Any]) -> None:
        """Send a notification on the standalone stream, if there is one."""
        if self.stream is not None:
            self.stream.put(message)

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Ask on the standalone stream.

        Raises:
            RpcError: The client's own error; or it does not offer this, holds no stream open, or is silent.
        """
        if self.stream is None:
            raise RpcError(
                METHOD_NOT_FOUND, f"the client cannot be asked for {method}: it holds no stream open"
            )
        return await self.ask_by(self.notify, method, params, timeout)

    async def ask_by(
        self, send: Sending, method: str, params: dict[str, Any] | None, timeout: float
    ) -> dict[str, Any]:
        """Ask on this stream.

        Raises:
            RpcError: The client's own error; or it does not offer this, or is silent.
        """
        check_offer(self.data.capabilities, method)
        return await self._asks.ask(self.data.id, send, method, params, timeout)

    @property
    def owner(self) -> str:
        """Whose it is, as it is counted."""
        return owner_of(self.data.user_id)


Tell = Callable[[Channel, dict[str, Any]], Awaitable[None]]


class Sessions:
    """Opens, finds and ends sessions.

    A change is kept before the request that made it is answered, and told to the other processes, which
    read the session anew. That it was used is kept now and then.

    Args:
        ended: Called with each session that has ended, for what it holds elsewhere.
    """

    def __init__(
        self,
        store: SessionStore,
        tell: Tell,
        ended: Callable[[ClientSession], None],
        idle_timeout: float,
        most: int,
        most_of_one: int,
    ) -> None:
        self._store = store
        self._tell = tell
        self._ended = ended
        self._idle = idle_timeout
        self._most, self._most_of_one = most, most_of_one
        self._live: dict[str, LiveSession] = {}
        self._used: dict[str, str] = {}
        self._name = token_hex(8)
        self.asks = Asks(self._pass_on)

    async def open(self, session: ClientSession) -> LiveSession:
        """Begin a session; its id is made here.

        Raises:
            Unavailable: There are too many, or they cannot be kept.
        """
        owner = owner_of(session.user_id)
        whole, own = await self._store.count(owner)
        if whole >= self._most or own >= self._most_of_one:
            held = f"{own} sessions of this caller" if own >= self._most_of_one else f"{whole} sessions"
            raise Unavailable(
                f"{held} are open already: end one by DELETE, or wait until one was not used for a while",
                part="gateway",
                retry_after=30,
            )
        live = LiveSession(replace(session, id=token_urlsafe(24)), self.asks)
        await self._store.put(live.data.id, owner, _encode(live.data))
        self._keep(live)
        return live

    async def find(self, number: str, user_id: UUID | None, endpoint: str) -> LiveSession | None:
        """Find the session of this user at this endpoint.

        Raises:
            Unavailable: Where sessions are kept is away, and this process does not know it.
        """
        live = self._live.get(number)
        if live is None:
            text = await self._store.get(number)
            if text is None:
                return None
            # Another request may have found it meanwhile.
            live = self._live.get(number) or self._keep(LiveSession(_decode(text), self.asks))
        if live.data.user_id != user_id or live.data.endpoint != endpoint:
            return None
        live.used_at = time.monotonic()
        self._used[number] = live.owner
        return live

    async def save(self, live: LiveSession) -> None:
        """Keep what a request changed.

        Raises:
            Unavailable: It cannot be kept.
        """
        async with live.keeping:
            live.data.changed = False
            try:
                await self._store.put(live.data.id, live.owner, _encode(live.data))
            except BaseException:
                live.data.changed = True  # the next request keeps it, and until then nothing older is read
                raise
        await self._tell(Channel.SESSIONS, {"changed": live.data.id, "by": self._name})

    async def end(self, live: LiveSession) -> None:
        """End a session because its client says so.

        Raises:
            Unavailable: It cannot be forgotten.
        """
        await self._store.delete(live.data.id, live.owner)
        self._drop(live.data.id)
        self._ended(live.data)
        await self._tell(Channel.SESSIONS, {"ended": live.data.id})

    async def cancel(self, live: LiveSession, request_id: object) -> None:
        """Cancel a request in flight, in whichever process it is."""
        if not self._cancel_here(live, request_id):
            await self._tell(Channel.SESSIONS, {"cancel": live.data.id, "request": request_id})

    @property
    def listening(self) -> list[LiveSession]:
        """The sessions whose clients hold a standalone stream open with this process."""
        return [live for live in self._live.values() if live.stream is not None]

    async def hear(self, message: Message) -> None:
        """Take in what another process says."""
        data = message.data
        if message.channel is None:
            for each in self.listening:
                await self._read_again(each.data.id)
        elif "answer" in data:
            self.asks.take(str(data.get("session")), data["answer"])
        elif "ended" in data:
            self._drop(str(data["ended"]))
        elif "cancel" in data and (live := self._live.get(str(data["cancel"]))) is not None:
            self._cancel_here(live, data.get("request"))
        elif "changed" in data and data.get("by") != self._name:
            await self._read_again(str(data["changed"]))

    async def tidy_forever(self) -> None:
        """Note what was used, and drop what has ended or is not used any more; runs until cancelled."""
        while True:
            await asyncio.sleep(min(_TOUCHES, self._idle / 4))
            try:
                await self.tidy()
            except PlatformError as error:
                log.warning("sessions_not_noted", error=str(error))
            except Exception:
                # Nothing that goes wrong with one session may end the gateway.
                log.exception("sessions_not_tidied")

    async def tidy(self) -> None:
        """Note what was used since the last time.

        Raises:
            Unavailable: It cannot be noted now; it is kept for the next time.
        """
        now = time.monotonic()
        used = self._used | {live.data.id: live.owner for live in self._live.values() if _busy(live)}
        if used:
            for number in await self._store.touch(list(used.items())):
                self._drop(number)
            self._used = {number: owner for number, owner in self._used.items() if number not in used}
        kept = min(_FORGOTTEN, self._idle)
        for number, live in list(self._live.items()):
            if _busy(live) or now - live.used_at <= kept:
                continue
            if not live.data.upstream_sessions:
                self._forget(number)
            elif now - live.used_at > self._idle:
                # Unless another process serves it now, what servers keep for it ends with it.
                live.used_at = now
                await self._read_again(number)

    def end_streams(self) -> None:
        """End the standalone streams in order: their clients open others, with whoever is there then."""
        for live in self.listening:
            if live.stream is not None:
                live.stream.end()

    async def close(self) -> None:
        """End the streams, and note what was used last."""
        for known in list(self._live):
            self._forget(known)
        with suppress(Unavailable):
            if self._used:
                await self._store.touch(list(self._used.items()))

    def _keep(self, live: LiveSession) -> LiveSession:
        self._live[live.data.id] = live
        figures.SESSIONS.inc()
        return live

    def _drop(self, number: str) -> None:
        """Forget a session that has ended: what it holds here ends too."""
        live = self._live.get(number)
        self._used.pop(number, None)
        if live is not None:
            for call in list((live.calls or {}).values()):
                call.cancel()
            self._forget(number)
            self._ended(live.data)

    def _forget(self, number: str) -> None:
        live = self._live.pop(number, None)
        if live is None:
            return  # it ended while others were looked at
        figures.SESSIONS.dec()
        if live.stream is not None:
            live.stream.end()

    def _cancel_here(self, live: LiveSession, request_id: object) -> bool:
        call = (live.calls or {}).get(request_id) if isinstance(request_id, str | int) else None
        if call is not None:
            call.cancel()
        return call is not None

    async def _read_again(self, number: str) -> None:
        live = self._live.get(number)
        if live is None:
            return
        async with live.keeping:
            try:
                text = await self._store.get(number)
            except Unavailable:
                return  # what we have is the best there is
            if text is None:
                self._drop(number)
                return
            if live.data.changed:
                return  # what a request has changed meanwhile is newer, and about to be kept
            fresh = _decode(text)
            for name in ("replicas", "upstream_sessions", "log_level", "subscriptions"):
                setattr(live.data, name, getattr(fresh, name))
        if live.stream is not None:
            live.stream.nudge()

    async def _pass_on(self, session_id: str, answer: dict[str, Any]) -> None:
        await self._tell(Channel.SESSIONS, {"session": session_id, "answer": answer})


def owner_of(user_id: UUID | None) -> str:
    """Give whose sessions are counted together."""
    return user_id.hex if user_id is not None else "public"


def _busy(live: LiveSession) -> bool:
    return live.stream is not None or bool(live.calls)


def _encode(session: ClientSession) -> str:
    return orjson.dumps(
        {
            "id": session.id,
            "user_id": session.user_id,
            "endpoint": session.endpoint,
            "version": session.version,
            "capabilities": session.capabilities,
            "client_info": session.client_info,
            "replicas": session.replicas,
            "upstream_sessions": {str(key): value for key, value in session.upstream_sessions.items()},
            "log_level": session.log_level,
            "subscriptions": sorted(session.subscriptions),
        }
    ).decode()


def _decode(text: str) -> ClientSession:
    kept = orjson.loads(text)
    return ClientSession(
        id=kept["id"],
        user_id=UUID(kept["user_id"]) if kept["user_id"] else None,
        endpoint=kept["endpoint"],
        version=kept["version"],
        capabilities=kept["capabilities"],
        client_info=kept["client_info"],
        replicas={slug: UUID(replica) for slug, replica in kept["replicas"].items()},
        upstream_sessions={UUID(key): value for key, value in kept["upstream_sessions"].items()},
        log_level=kept["log_level"],
        subscriptions=set(kept["subscriptions"]),
    )
