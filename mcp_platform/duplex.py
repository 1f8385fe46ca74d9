"""An MCP session over a pipe that carries messages both ways, shared by all calls in flight.

The runner speaks it over standard input and output, the gateway over the older HTTP+SSE transport.
"""

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from mcp_platform.wire import (
    LATEST_HANDSHAKE,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    UNSUPPORTED_VERSION,
    Era,
    RpcError,
    ServerDescription,
    envelope,
    speaks_modern,
)

_DISCOVER_PATIENCE = 5.0

Notify = Callable[[dict[str, Any]], None]


class SessionLost(Exception):
    """The server is gone; what was in flight is lost."""


class NotMcp(Exception):
    """The process runs and does not speak MCP."""


class Pipe(Protocol):
    """Where lines to the server go."""

    @property
    def writable(self) -> bool:
        """Whether the server reads what it is sent."""
        ...

    async def write(self, line: bytes) -> None:
        """Send one line; wait while the server does not read."""
        ...

    def write_soon(self, line: bytes) -> None:
        """Send one line without waiting."""
        ...


@dataclass(frozen=True)
class _Call:
    answer: asyncio.Future[dict[str, Any]]
    notify: Notify | None
    token: object


class DuplexSession:
    """Correlates requests and answers by ids of its own, so any number may be in flight."""

    def __init__(self, client_info: dict[str, Any]) -> None:
        self._client_info = client_info
        self.description: ServerDescription | None = None
        """What the server said of itself; None until the session is up."""
        self._pipe: Pipe | None = None
        self._calls: dict[int, _Call] = {}
        self._ids = itertools.count(1)
        self._lost: str | None = None

    def attach(self, pipe: Pipe) -> None:
        """Say where lines go."""
        self._pipe = pipe

    def receive(self, line: bytes) -> None:
        """Take one line from the server; what is not a JSON-RPC message is dropped."""
        message = _parse(line)
        for item in message if isinstance(message, list) else [message]:
            if isinstance(item, dict):
                self._take(item)

    def lose(self, reason: str) -> None:
        """End all calls in flight, and refuse new ones."""
        self._lost = reason
        self.description = None
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(SessionLost(reason))
        self._calls.clear()

    async def negotiate(self, patience: float, *, legacy: bool = False) -> None:
        """Find out which era the server speaks, unless it is told, and open the session.

        Raises:
            NotMcp: No usable answer within `patience` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                if not legacy:
                    self.description = await self._discover(min(_DISCOVER_PATIENCE, patience / 3))
                if self.description is None:
                    self.description = await self._initialize()
        except TimeoutError:
            raise NotMcp(f"the server did not answer as an MCP server within {patience:g} s") from None
        except RpcError as error:
            raise NotMcp(f"the server refused to open an MCP session: {error.message}") from None

    async def request(
        self, method: str, params: dict[str, Any] | None, notify: Notify | None = None
    ) -> dict[str, Any]:
        """Ask the server; progress of the request goes to `notify`.

        A cancelled request is cancelled at the server too.

        Raises:
            RpcError: The server answered with an error.
            SessionLost: The server is gone.
        """
        if self._lost is not None or self._pipe is None:
            raise SessionLost(self._lost or "the server has not been started")
        number = next(self._ids)
        token = None
        meta = (params or {}).get("_meta")
        if isinstance(meta, dict) and "progressToken" in meta:
            # Clients choose their tokens by themselves; on the shared pipe they must differ.
            token = meta["progressToken"]
            params = {**(params or {}), "_meta": {**meta, "progressToken": number}}
        call = _Call(asyncio.get_running_loop().create_future(), notify, token)
        self._calls[number] = call
        try:
            await self._pipe.write(_message(method, params, number))
            return await call.answer
        except asyncio.CancelledError:
            if number in self._calls and method not in ("initialize", "server/discover"):
                self._say("notifications/cancelled", {"requestId": number, "reason": "the caller left"})
            raise
        finally:
            self._calls.pop(number, None)

    def _say(self, method: str, params: dict[str, Any] | None) -> None:
        # Whoever does not read is not written to: the queue of a stuck server must not grow.
        if self._pipe is not None and self._pipe.writable:
            self._pipe.write_soon(_message(method, params))

    def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if isinstance(method, str):
            if "id" in message:
                self._refuse(message["id"], method)
            elif method == "notifications/progress":
                self._progress(message)
            return
        number = message.get("id")
        call = self._calls.pop(number, None) if isinstance(number, int) else None
        if call is None or call.answer.done():
            return
        result = message.get("result")
        if isinstance(result, dict):
            call.answer.set_result(result)
        else:
            call.answer.set_exception(RpcError.read(message.get("error")))

    def _refuse(self, number: object, method: str) -> None:
        """Answer a request of the server: nobody in particular stands behind a shared session."""
        if self._pipe is None or not self._pipe.writable:
            return
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
        if method == "ping":
            answer["result"] = {}
        else:
            answer["error"] = RpcError(METHOD_NOT_FOUND, f"this client does not offer {method}").wire()
        self._pipe.write_soon(orjson.dumps(answer))

    def _progress(self, message: dict[str, Any]) -> None:
        params = message.get("params")
        token = params.get("progressToken") if isinstance(params, dict) else None
        call = self._calls.get(token) if isinstance(token, int) else None
        if call is not None and call.notify is not None and call.token is not None:
            call.notify({**message, "params": {**(params or {}), "progressToken": call.token}})

    async def _discover(self, patience: float) -> ServerDescription | None:
        try:
            async with asyncio.timeout(patience):
                raw = await self.request("server/discover", {"_meta": envelope(self._client_info)})
        except (TimeoutError, RpcError):
            return None  # an older server does not know the method, or keeps silent about it
        if not speaks_modern(raw):
            return None
        return ServerDescription(Era.MODERN, MODERN_VERSION, raw)

    async def _initialize(self) -> ServerDescription:
        params = {"protocolVersion": LATEST_HANDSHAKE, "capabilities": {}, "clientInfo": self._client_info}
        try:
            raw = await self.request("initialize", params)
        except RpcError as error:
            # A slow modern server took our first question for its era, only after we gave it up.
            late = await self._discover(_DISCOVER_PATIENCE) if error.code == UNSUPPORTED_VERSION else None
            if late is None:
                raise
            return late
        self._say("notifications/initialized", None)
        return ServerDescription(Era.LEGACY, str(raw.get("protocolVersion", LATEST_HANDSHAKE)), raw)


def _message(method: str, params: dict[str, Any] | None, number: int | None = None) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if number is not None:
        message["id"] = number
    if params is not None:
        message["params"] = params
    return orjson.dumps(message)


def _parse(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    if line[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(line)  # takes NaN, which servers in Python write
    except (ValueError, RecursionError):
        return None
