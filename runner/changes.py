"""What the shared server says to many of its clients: which lists and which resources changed."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final

from mcp_platform.duplex import DuplexSession, SessionLost
from mcp_platform.wire import (
    LISTEN_FLAGS,
    Era,
    RpcError,
    ServerDescription,
    envelope,
    list_changes,
    stamp_subscription,
    unstamp_subscription,
)
from runner.streams import EventStream, Message

_UPDATED: Final = "notifications/resources/updated"
_MOST_WATCHERS: Final = 1000
"""Sessions that keep subscriptions; of more, the one that has been silent longest loses its own."""


class Changes:
    """Hands each notification of a change to every client that listens for it."""

    def __init__(self) -> None:
        self._older: dict[EventStream, str | None] = {}
        """Standing streams of the older era, with the session that each belongs to."""
        self._subscribed: dict[EventStream, tuple[object, frozenset[str]]] = {}
        self._watched: OrderedDict[str, set[str]] = OrderedDict()
        """By session: the resources that it subscribed to."""
        self._listening: asyncio.Task[None] | None = None

    def hear(self, message: Message) -> None:
        """Take a notification of the server."""
        method = message["method"]
        if method == _UPDATED:
            self._update(message)
        if method not in LISTEN_FLAGS:
            return
        bare = unstamp_subscription(message)
        for stream in self._older:
            stream.send(bare)
        for stream, (number, wanted) in self._subscribed.items():
            if method in wanted:
                stream.send(stamp_subscription({"params": {}, **bare}, number))

    def join(self, stream: EventStream, session: str | None, duplex: DuplexSession) -> None:
        """Send a client of the older era all changes; a session's stream takes the place of its last one."""
        before = self.stream_of(session)
        if before is not None:
            before.end()
            self.leave(before)
        self._older[stream] = session
        server = duplex.description
        if self._listening is None and server is not None and server.era is Era.MODERN:
            # A modern server tells nothing unless somebody subscribes.
            self._listening = asyncio.create_task(self._listen(duplex, server))

    def stream_of(self, session: str | None) -> EventStream | None:
        """Give the standing stream of a session."""
        if session is None:
            return None
        return next((stream for stream, own in self._older.items() if own == session), None)

    def watch(self, session: str, uri: str) -> None:
        """Tell a session from now on when a resource changes."""
        self._watched.setdefault(session, set()).add(uri)
        self._watched.move_to_end(session)
        if len(self._watched) > _MOST_WATCHERS:
            self._watched.popitem(last=False)

    def unwatch(self, session: str, uri: str) -> bool:
        """Tell it no more; whether nobody wants to hear of the resource now."""
        watched = self._watched.get(session, set())
        watched.discard(uri)
        if not watched:
            self._watched.pop(session, None)
        return not any(uri in others for others in self._watched.values())

    def watched(self, session: str) -> list[str]:
        """List the resources that a session subscribed to."""
        return sorted(self._watched.get(session, ()))

    def subscribe(
        self, stream: EventStream, number: object, params: dict[str, Any], server: ServerDescription
    ) -> None:
        """Send a modern client the changes that it asks for, after an acknowledgement of these.

        MCP 2026-07-28, "subscriptions/listen"; each message names the client's own request.
        """
        asked = params.get("notifications")
        asked = asked if isinstance(asked, dict) else {}
        wanted = frozenset(method for method in list_changes(server) if asked.get(LISTEN_FLAGS[method]))
        honoured = {LISTEN_FLAGS[method]: True for method in sorted(wanted)}
        acknowledged: Message = {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {"notifications": honoured},
        }
        stream.send(stamp_subscription(acknowledged, number))
        self._subscribed[stream] = (number, wanted)

    def leave(self, stream: EventStream) -> None:
        """Send nothing to this stream any more."""
        self._older.pop(stream, None)
        self._subscribed.pop(stream, None)
        if not self._older and self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def close(self) -> None:
        """End all streams."""
        for stream in [*self._older, *self._subscribed]:
            stream.end()

    def _update(self, message: Message) -> None:
        params = message.get("params")
        uri = params.get("uri") if isinstance(params, dict) else None
        for stream, session in self._older.items():
            if session is not None and uri in self._watched.get(session, ()):
                stream.send(message)

    async def _listen(self, duplex: DuplexSession, server: ServerDescription) -> None:
        wanted = {LISTEN_FLAGS[method]: True for method in list_changes(server)}
        if not wanted:
            return
        params = {"notifications": wanted, "_meta": envelope(server.server_info)}
        with suppress(RpcError, SessionLost):
            await duplex.request("subscriptions/listen", params, self.hear)
