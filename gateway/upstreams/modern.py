"""The way to a server of 2026-07-28: every request stands alone, so there is nothing to keep or to lose."""

import itertools
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from gateway.requests import ClientChannel, ClientSession, Message
from gateway.upstreams.connection import Broken, TlsFailed
from gateway.upstreams.exchange import ACCEPT, Exchange, Interrupted
from gateway.upstreams.http import head
from gateway.upstreams.listening import Muted
from gateway.upstreams.rounds import complete
from gateway.upstreams.sessions import STATEFUL, NotOffered, note_state
from mcp_platform import __version__
from mcp_platform.errors import UpstreamFailed
from mcp_platform.wire import (
    LISTEN_FLAGS,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    NAMED_METHODS,
    Era,
    RpcError,
    ServerDescription,
    encode_header,
    envelope,
    list_changes,
    speaks_modern,
    translate_params,
    translate_result,
    unstamp_subscription,
)

CLIENT_INFO: Final = {"name": "mcp-platform-gateway", "version": __version__}


class ModernLeg:
    """Speaks 2026-07-28."""

    def __init__(self, exchange: Exchange) -> None:
        self.description: ServerDescription
        self._exchange = exchange
        self._ids = itertools.count(1)

    @classmethod
    async def open(cls, exchange: Exchange) -> "ModernLeg | None":
        """Ask with `server/discover`; None when the server does not speak this era."""
        leg = cls(exchange)
        asked = {"_meta": envelope(CLIENT_INFO)}
        try:
            raw = await leg._send("server/discover", asked, exchange.limits.call_timeout, None, None)
        except TlsFailed:
            raise  # whatever is asked, it is asked of nobody
        except (RpcError, UpstreamFailed):
            # Older servers refuse the question in many ways, some with a 500. One that is broken
            # fails the handshake that follows, too.
            return None
        if not speaks_modern(raw):
            return None
        leg.description = ServerDescription(Era.MODERN, MODERN_VERSION, raw)
        return leg

    @property
    def alive(self) -> bool:
        """Always: every request stands alone."""
        return True

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
        """Give the result of one request, in the client's era; to leave it is to cancel it."""
        if client is Era.MODERN:
            lasting = method == "subscriptions/listen"
            return await self._send(method, params, None if lasting else timeout, channel, headers)
        if method in STATEFUL:
            return self._keep(method, params, session)
        known = session if session is not None else _NOBODY
        sent = translate_params(
            params,
            Era.LEGACY,
            Era.MODERN,
            known.client_info or CLIENT_INFO,
            {name: value for name, value in known.capabilities.items() if name != "tasks"},
            known.log_level,
        )
        deadline = time.monotonic() + timeout

        def spend(seconds: float) -> None:
            nonlocal deadline
            deadline += seconds

        async def ask(asked: dict[str, Any]) -> dict[str, Any]:
            left = max(deadline - time.monotonic(), 0.001)
            return await self._send(method, asked, left, channel, headers)

        result = await complete(sent or {}, ask, channel, spend)
        return translate_result(method, result, Era.MODERN, Era.LEGACY)

    async def listen(self, session: ClientSession, channel: ClientChannel) -> None:
        """Forward what the server says of the resources that this session subscribed to, and of its lists.

        Raises:
            NotOffered: It subscribed to none: the rest is said to all.
        """
        if not session.subscriptions:
            raise NotOffered("all that it says is said to all")
        with self._exchange.lasting.place():
            await self._subscribe({"resourceSubscriptions": sorted(session.subscriptions)}, channel)

    async def hear_changes(self, channel: ClientChannel, on_open: Callable[[], None]) -> None:
        """Forward what the server says of its lists.

        Raises:
            NotOffered: It does not tell when they change.
        """
        await self._subscribe({}, channel, on_open)

    async def tell(self, session: ClientSession, message: Message) -> None:
        """Do nothing: this era has no notifications of clients."""

    async def forget(self, session: ClientSession) -> None:
        """Do nothing: nothing is kept for anybody."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""

    async def _subscribe(
        self, further: dict[str, Any], channel: ClientChannel, on_open: Callable[[], None] = lambda: None
    ) -> None:
        wanted = {LISTEN_FLAGS[method]: True for method in list_changes(self.description)} | further
        if not wanted:
            raise NotOffered("it does not tell when its lists change")
        params = {"notifications": wanted, "_meta": envelope(CLIENT_INFO)}
        try:
            await self._send("subscriptions/listen", params, None, _Older(channel, on_open), None)
        except RpcError as error:
            if error.code == METHOD_NOT_FOUND:
                raise NotOffered(error.message) from None
            raise

    def _keep(
        self, method: str, params: dict[str, Any] | None, session: ClientSession | None
    ) -> dict[str, Any]:
        """Remember what older servers would be told: each request, or stream, says it anew."""
        declared = self.description.capabilities
        resources = declared.get("resources")
        offered = (
            "logging" in declared
            if method == "logging/setLevel"
            else isinstance(resources, dict) and resources.get("subscribe") is True
        )
        if session is None or not offered:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
        note_state(session, method, params)
        return {}

    async def _send(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float | None,
        channel: ClientChannel | None,
        headers: Mapping[str, str] | None,
    ) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        prepared = _standing(method)
        named = NAMED_METHODS.get(method)
        if named is not None and params and isinstance(params.get(named), str):
            prepared += head({"Mcp-Name": encode_header(params[named])})
        hear = channel.notify if channel is not None else None
        try:
            reply = await self._exchange.post(
                message, prepared, timeout, hear, headers, safe=method != "tools/call"
            )
        except Interrupted:
            raise Broken("The MCP server ended its stream without an answer") from None
        return reply.result()


class _Older(Muted):
    """Takes the frames of a `subscriptions/listen` stream, as clients of the older protocol know them."""

    def __init__(self, channel: ClientChannel, on_open: Callable[[], None]) -> None:
        super().__init__(channel.notify)
        self._on_open = on_open

    async def notify(self, message: Message) -> None:
        """Forward a notification without the subscription's id; the first says that the stream is open."""
        if message["method"] == "notifications/subscriptions/acknowledged":
            self._on_open()
            return
        await super().notify(unstamp_subscription(message))


_NOBODY: Final = ClientSession("", None, "", "", {}, {})
"""Stands for callers without a session, as by plain REST."""


@lru_cache(maxsize=256)
def _standing(method: str) -> bytes:
    """Write the headers that all requests of a method carry."""
    return head({**ACCEPT, "MCP-Protocol-Version": MODERN_VERSION, "Mcp-Method": method})
