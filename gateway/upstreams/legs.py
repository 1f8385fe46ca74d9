"""The ways to a server: what each of them can be asked, and the way to servers of the older protocol."""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from gateway.requests import ClientChannel, ClientSession, Message
from gateway.upstreams.emulation import Subscription
from gateway.upstreams.exchange import Exchange
from gateway.upstreams.lasting import Lasting
from gateway.upstreams.legacy import HttpSession
from gateway.upstreams.listening import persist
from gateway.upstreams.modern import CLIENT_INFO
from gateway.upstreams.sessions import STATEFUL, NotOffered, Profile, ServerSession, note_state
from gateway.upstreams.sessions import Spawn as Spawn
from gateway.upstreams.sse import SseSession
from mcp_platform.wire import (
    CAPABILITIES_KEY,
    LOG_LEVEL_KEY,
    METHOD_NOT_FOUND,
    Era,
    RpcError,
    ServerDescription,
    translate_error,
    translate_params,
    translate_result,
)

ASKABLE: Final = ("sampling", "elicitation", "roots")
"""What a client declares that servers may ask it for."""
_MOST_SHARED: Final = 64
_ATTENDED: Final = 60.0
"""Seconds after a call for which its session's standalone stream is kept open."""
_MOST_OWN: Final = 4096
"""Sessions of single clients that are remembered; of the others the clients' sessions know the ids."""

Key = tuple[bytes, str, str, int]
"""What clients that share a session have in common: capabilities, log level, credential; and its ordinal."""

OpenSession = Callable[[Profile, str | None], ServerSession]
"""Makes a session that opens itself when it is used; the id is that of one that is open."""


class Leg(Protocol):
    """An open way to a server."""

    description: ServerDescription

    @property
    def alive(self) -> bool:
        """Whether requests may be sent; otherwise another leg is to be opened."""
        ...

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        client: Era,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str],
        session: ClientSession | None,
    ) -> dict[str, Any]:
        """Give the result of one request, in the client's era."""
        ...

    async def listen(self, session: ClientSession, channel: ClientChannel) -> None:
        """Forward what the server says to this session alone, until its stream ends.

        Raises:
            NotOffered: It has nothing to say to it that is not said to all.
        """
        ...

    async def hear_changes(self, channel: ClientChannel, on_open: Callable[[], None]) -> None:
        """Forward what the server says to all, changes of lists, until its stream ends.

        Args:
            channel: Where to.
            on_open: Told once the stream is open.

        Raises:
            NotOffered: The server has no such stream.
        """
        ...

    async def tell(self, session: ClientSession, message: Message) -> None:
        """Pass a notification of the client on, to a server that keeps something for it alone."""
        ...

    async def forget(self, session: ClientSession) -> None:
        """End what the server keeps for this session alone."""
        ...

    async def close(self) -> None:
        """Give back what the leg holds."""
        ...


class LegacyLeg:
    """Speaks 2025-11-25 and older: chooses the session at the server, or opens one.

    Clients share sessions, by what they declare. One that declares that it may be asked something, or
    that changes what it hears, has a session of its own.
    """

    def __init__(
        self,
        first: ServerSession,
        open_session: OpenSession,
        replica_id: UUID,
        spawn: Spawn,
        lasting: Lasting,
    ) -> None:
        self.description = first.description
        self._first = first
        self._open_session = open_session
        self._replica_id = replica_id
        self._spawn = spawn
        self._lasting = lasting
        self._shared: OrderedDict[Key, ServerSession] = OrderedDict()
        self._own: OrderedDict[str, ServerSession] = OrderedDict()
        self._taken: set[ServerSession] = set()
        """Shared sessions that carry the call of a client that may be asked something."""
        self._attended: dict[ServerSession, asyncio.Task[None]] = {}
        """Those whose standalone stream is heard."""

    @property
    def alive(self) -> bool:
        """Whether the session that all may use is open."""
        return self._first.alive

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        client: Era,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str],
        session: ClientSession | None,
    ) -> dict[str, Any]:
        """Give the result of one request, in the client's era."""
        if client is Era.MODERN:
            return await self._serve_modern(method, params, timeout, channel, headers)
        if session is not None and session.id and _wants_own(session, method, params):
            own = self._own_of(session)
            result = await own.request(method, params, timeout, channel, headers)
            note_state(session, method, params)
            return result
        _refuse_private(method, params)
        shared = self._first if not headers else self._shared_of({}, "", _credential(headers))
        return await shared.request(method, params, timeout, channel, headers)

    async def listen(self, session: ClientSession, channel: ClientChannel) -> None:
        """Forward what the server says in the session's own session there."""
        if not _wants_own(session, "", None):
            raise NotOffered("all that it says is said to all")
        with self._lasting.place():
            await self._own_of(session).hear(channel)

    async def hear_changes(self, channel: ClientChannel, on_open: Callable[[], None]) -> None:
        """Forward what the server says in the session that all may use."""
        await self._first.hear(channel, on_open)

    async def tell(self, session: ClientSession, message: Message) -> None:
        """Pass a notification of the client on, where it has a session of its own."""
        if session.id in self._own or self._replica_id in session.upstream_sessions:
            await self._own_of(session).tell(message)

    async def forget(self, session: ClientSession) -> None:
        """End the session's own session at the server."""
        known = self._replica_id in session.upstream_sessions
        own = self._own_of(session) if known else self._own.get(session.id)
        self._own.pop(session.id, None)
        session.upstream_sessions.pop(self._replica_id, None)
        if own is not None:
            await own.close()

    async def close(self) -> None:
        """End the sessions that are shared; those of single clients' sessions outlive us."""
        for shared in [self._first, *self._shared.values()]:
            # It need not be waited for: a server may take its time over it.
            self._spawn(self._end_shared(shared))
        for own in self._own.values():
            await own.release()
        self._shared.clear()
        self._own.clear()

    async def _serve_modern(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        _refuse_private(method, params)
        if method == "subscriptions/listen":
            return await self._subscribe(params, channel, headers)
        meta = (params or {}).get("_meta")
        meta = meta if isinstance(meta, dict) else {}
        declared = meta.get(CAPABILITIES_KEY)
        asked = {k: v for k, v in declared.items() if k in ASKABLE} if isinstance(declared, dict) else {}
        level = meta.get(LOG_LEVEL_KEY)
        sent = translate_params(params, Era.MODERN, Era.LEGACY, CLIENT_INFO)
        shared = self._first
        if asked or level or headers:
            kind = (asked, level if isinstance(level, str) else "", _credential(headers))
            shared = await self._take(*kind) if asked else self._shared_of(*kind)
        try:
            result = await shared.request(method, sent, timeout, channel, headers)
        except RpcError as error:
            raise translate_error(error, Era.LEGACY, Era.MODERN) from None
        finally:
            if shared in self._taken:
                self._give_back(shared)
        return translate_result(method, result, Era.LEGACY, Era.MODERN)

    async def _take(self, capabilities: Mapping[str, Any], level: str, credential: str) -> ServerSession:
        """Take a session that carries no call: many servers do not say to which call a question belongs."""
        if "roots" in capabilities:
            # Servers keep what they were told of roots for as long as the session lasts.
            shared = self._open_session(_profile(capabilities, level, credential), None)
        else:
            numbered = (self._shared_of(capabilities, level, credential, n) for n in itertools.count())
            shared = next(each for each in numbered if each not in self._taken)
        self._taken.add(shared)
        if shared not in self._attended:
            hearing = asyncio.create_task(persist(shared.hear_for_callers))
            self._attended[shared] = asyncio.create_task(self._attend(shared, hearing))
            try:
                await asyncio.sleep(0)  # so that both begin before the call
            except asyncio.CancelledError:
                self._give_back(shared)
                raise
        return shared

    def _give_back(self, shared: ServerSession) -> None:
        self._taken.discard(shared)
        if shared not in self._shared.values():
            self._spawn(self._end_shared(shared))

    async def _attend(self, shared: ServerSession, hearing: asyncio.Task[None]) -> None:
        """Hold the session's standalone stream open while it is in use, and for a while after."""
        try:
            await asyncio.wait({hearing}, timeout=_ATTENDED)
            while not hearing.done() and shared in self._taken:
                await asyncio.wait({hearing}, timeout=_ATTENDED)
            if not hearing.done():
                del self._attended[shared]  # the next call opens it again
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _subscribe(
        self, params: dict[str, Any] | None, channel: ClientChannel | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """Serve `subscriptions/listen` by a session for this stream alone, until the client leaves."""
        if channel is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", "subscriptions/listen")
        subscription = Subscription(self.description, params)
        own = self._open_session(Profile(CLIENT_INFO, headers=_credential_headers(headers)), None)
        try:
            await subscription.serve(own, channel)
        finally:
            closing = asyncio.ensure_future(own.close())
            await asyncio.shield(closing)
        return {"resultType": "complete"}

    def _own_of(self, session: ClientSession) -> ServerSession:
        own = self._own.get(session.id)
        if own is None or not own.alive:
            profile = Profile(session.client_info, session.capabilities, client=session)
            self._make_room()
            own = self._open_session(profile, session.upstream_sessions.get(self._replica_id))
            self._own[session.id] = own
        # Each request brings the session as it was read from the cache.
        own.profile.client = session
        self._own.move_to_end(session.id)
        return own

    def _make_room(self) -> None:
        if len(self._own) < _MOST_OWN:
            return
        for number, oldest in self._own.items():
            if not oldest.busy:
                del self._own[number]
                self._spawn(oldest.release())
                return

    def _shared_of(
        self, capabilities: Mapping[str, Any], level: str, credential: str, ordinal: int = 0
    ) -> ServerSession:
        if not capabilities and not level and not credential:
            return self._first
        key = (orjson.dumps(capabilities, option=orjson.OPT_SORT_KEYS), level, credential, ordinal)
        shared = self._shared.get(key)
        if shared is None or not shared.alive:
            profile = _profile(capabilities, level, credential)
            if len(self._shared) >= _MOST_SHARED:
                self._drop_shared()
            shared = self._shared[key] = self._open_session(profile, None)
        self._shared.move_to_end(key)
        return shared

    def _drop_shared(self) -> None:
        for key, oldest in self._shared.items():
            if not oldest.busy and oldest not in self._taken:
                del self._shared[key]
                self._spawn(self._end_shared(oldest))
                return

    async def _end_shared(self, shared: ServerSession) -> None:
        attending = self._attended.pop(shared, None)
        if attending is not None:
            attending.cancel()
            await asyncio.gather(attending, return_exceptions=True)
        await shared.close()


async def open_older(exchange: Exchange, replica_id: UUID, spawn: Spawn) -> LegacyLeg:
    """Open the way to a server that does not speak 2026-07-28, by one transport or the other.

    Raises:
        UpstreamFailed: It is no MCP server.
    """
    profile = Profile(CLIENT_INFO)
    first = HttpSession(exchange, profile, spawn)
    if await first.open():

        def begin(whom: Profile, number: str | None) -> ServerSession:
            def note(opened: HttpSession) -> None:
                client = whom.client
                if client is not None:
                    client.upstream_sessions[replica_id] = opened.id or ""
                    client.changed = True

            known = None if number is None else (number, first.description)
            return HttpSession(exchange, whom, spawn, note, known)

        return LegacyLeg(first, begin, replica_id, spawn, exchange.lasting)
    older = SseSession(exchange, profile, spawn)
    await older.open()
    return LegacyLeg(
        older,
        lambda whom, _: SseSession(exchange, whom, spawn),
        replica_id,
        spawn,
        exchange.lasting,
    )


def _wants_own(session: ClientSession, method: str, params: dict[str, Any] | None) -> bool:
    if session.log_level is not None or session.subscriptions:
        return True
    return any(name in session.capabilities for name in ASKABLE) or _is_private(method, params)


def _is_private(method: str, params: dict[str, Any] | None) -> bool:
    """Tell whether the server keeps something for the session: tasks of 2025-11-25 belong to it, too."""
    return method in STATEFUL or method.startswith("tasks/") or (params is not None and "task" in params)


def _refuse_private(method: str, params: dict[str, Any] | None) -> None:
    """Refuse what needs a session of the client's own: in a shared one, all would see each other's tasks."""
    if _is_private(method, params):
        raise RpcError(METHOD_NOT_FOUND, "Method not found", method)


def _profile(capabilities: Mapping[str, Any], level: str, credential: str) -> Profile:
    headers = {"Authorization": credential} if credential else {}
    return Profile(CLIENT_INFO, capabilities, headers, level or None)


def _credential(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "authorization"), "")


def _credential_headers(headers: Mapping[str, str]) -> dict[str, str]:
    credential = _credential(headers)
    return {"Authorization": credential} if credential else {}
