"""The two ways of speaking Streamable HTTP to a server: modern, and legacy with its session."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from gateway.upstreams.exchange import ACCEPT, Exchange, Listener, Reply, Unreachable
from mcp_platform import __version__
from mcp_platform.errors import PlatformError, UpstreamFailed
from mcp_platform.wire import (
    LATEST_HANDSHAKE,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    NAMED_METHODS,
    Era,
    RpcError,
    ServerDescription,
    encode_header,
    envelope,
    speaks_modern,
)

CLIENT_INFO = {"name": "mcp-platform-gateway", "version": __version__}
_SESSION_HEADER = "Mcp-Session-Id"

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Runs something small in the gateway's task group."""


class Leg(Protocol):
    """An open way to a server."""

    description: ServerDescription

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        listener: Listener | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        """Give the result of one request, in the server's own era."""
        ...

    async def close(self) -> None:
        """Give back what the leg holds."""
        ...


class ModernLeg:
    """Speaks 2026-07-28: every request stands alone, so there is nothing to keep or to lose."""

    def __init__(self, exchange: Exchange, description: ServerDescription) -> None:
        self.description = description
        self._exchange = exchange

    @classmethod
    async def open(cls, exchange: Exchange) -> "ModernLeg | None":
        """Ask with `server/discover`; None when the server does not speak this era."""
        try:
            raw = await _modern(exchange, "server/discover", {"_meta": envelope(CLIENT_INFO)})
        except (RpcError, UpstreamFailed):
            # Older servers refuse the question in many ways, some with a 500. One that is broken
            # fails the handshake that follows, too.
            return None
        if raw is None or not speaks_modern(raw):
            return None
        return cls(exchange, ServerDescription(Era.MODERN, MODERN_VERSION, raw))

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        listener: Listener | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        """Give the result of one request."""
        result = await _modern(self._exchange, method, params, timeout, listener, headers)
        if result is None:
            raise UpstreamFailed("The MCP server answered without a JSON-RPC message")
        return result

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class LegacyLeg:
    """Speaks 2025-11-25 and older; opens a new session when the server forgot the old one."""

    def __init__(self, exchange: Exchange, spawn: Spawn) -> None:
        self.description: ServerDescription
        self._exchange = exchange
        self._spawn = spawn
        self._session: str | None = None
        self._ids = itertools.count(1)
        self._opening = asyncio.Lock()

    @classmethod
    async def open(cls, exchange: Exchange, spawn: Spawn) -> "LegacyLeg | None":
        """Shake hands; None when the server does not take the handshake at this address."""
        leg = cls(exchange, spawn)
        return leg if await leg._initialize() else None

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        listener: Listener | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        """Give the result of one request; the session is renewed once if the server lost it."""
        session = self._session
        reply = await self._send(method, params, timeout, listener)
        if reply.status == 404 and session is not None:
            # The specification's sign for a session that is gone: nothing was executed.
            async with self._opening:
                if self._session == session and not await self._initialize():
                    raise UpstreamFailed("The MCP server lost its session and opens no other")
            reply = await self._send(method, params, timeout, listener)
        _check_status(reply)
        result = _result(reply)
        if result is None:
            raise UpstreamFailed("The MCP server answered without a JSON-RPC message")
        return result

    async def close(self) -> None:
        """Leave the session to the server's own idle timeout: closing must not wait for anybody."""

    async def _initialize(self) -> bool:
        reply = await self._send(
            "initialize",
            {"protocolVersion": LATEST_HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT_INFO},
            self._exchange.limits.call_timeout,
            None,
        )
        if reply.status in (400, 404, 405) and reply.message is None:
            return False
        _check_status(reply)
        try:
            raw = _result(reply)
        except RpcError as error:
            raise UpstreamFailed(f"The MCP server refuses a session: {error.message}") from None
        if raw is None:
            return False
        version = str(raw.get("protocolVersion", LATEST_HANDSHAKE))
        self.description = ServerDescription(Era.LEGACY, version, raw)
        self._session = reply.headers.get(_SESSION_HEADER)
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return True

    async def _send(
        self, method: str, params: dict[str, Any] | None, timeout: float, listener: Listener | None
    ) -> Reply:
        number = next(self._ids)
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
        if params is not None:
            message["params"] = params

        async def listen(item: dict[str, Any]) -> None:
            if "id" in item:
                self._spawn(self._refuse(item))
            elif listener is not None:
                await listener(item)

        try:
            return await self._exchange.post(message, self._headers(method), timeout, listen)
        except asyncio.CancelledError:
            if method != "initialize":
                cancelled = {"requestId": number, "reason": "the caller left"}
                self._spawn(self._tell("notifications/cancelled", cancelled))
            raise

    def _headers(self, method: str) -> dict[str, str]:
        headers = {"Accept": ACCEPT, "Content-Type": "application/json"}
        if method == "initialize":
            return headers
        headers["MCP-Protocol-Version"] = self.description.version
        if self._session is not None:
            headers[_SESSION_HEADER] = self._session
        return headers

    async def _refuse(self, request: dict[str, Any]) -> None:
        """Answer a server's request: nobody in particular stands behind a shared session."""
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        if request["method"] == "ping":
            answer["result"] = {}
        else:
            error = RpcError(METHOD_NOT_FOUND, f"this client does not offer {request['method']}")
            answer["error"] = error.wire()
        await self._post_quietly(answer)

    async def _tell(self, method: str, params: dict[str, Any]) -> None:
        await self._post_quietly({"jsonrpc": "2.0", "method": method, "params": params})

    async def _post_quietly(self, message: dict[str, Any]) -> None:
        try:
            await self._post(message)
        except (Unreachable, PlatformError):
            return  # a courtesy; whoever waits for the call itself learns of the failure there

    async def _post(self, message: dict[str, Any]) -> None:
        await self._exchange.post(message, self._headers(""), self._exchange.limits.connect_timeout)


async def _modern(
    exchange: Exchange,
    method: str,
    params: dict[str, Any] | None,
    timeout: float | None = None,
    listener: Listener | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    sent = {
        "Accept": ACCEPT,
        "Content-Type": "application/json",
        "MCP-Protocol-Version": MODERN_VERSION,
        "Mcp-Method": method,
        **(headers or {}),
    }
    named = NAMED_METHODS.get(method)
    if named is not None and params and isinstance(params.get(named), str):
        sent["Mcp-Name"] = encode_header(params[named])
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    reply = await exchange.post(message, sent, timeout or exchange.limits.call_timeout, listener)
    _check_status(reply)
    return _result(reply)


def _result(reply: Reply) -> dict[str, Any] | None:
    if reply.message is None:
        return None
    result = reply.message.get("result")
    if isinstance(result, dict):
        return result
    raise RpcError.read(reply.message.get("error"))


def _check_status(reply: Reply) -> None:
    if reply.status == 503:
        raise Unreachable("the MCP server is not ready")
    if reply.status in (401, 403):
        raise UpstreamFailed(f"The MCP server refused the credentials it was sent ({reply.status})")
    if reply.status >= 500 or reply.status in range(300, 400):
        raise UpstreamFailed(f"The MCP server answered with HTTP status {reply.status}")
