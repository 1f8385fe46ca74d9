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
    INVALID_REQUEST,
    LATEST_HANDSHAKE,
    LOG_LEVEL_KEY,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    SUBSCRIPTION_KEY,
    UNSUPPORTED_VERSION,
    Era,
    RpcError,
    ServerDescription,
    envelope,
    speaks_modern,
)

_DISCOVER_PATIENCE = 5.0

Notify = Callable[[dict[str, Any]], object]


class SessionLost(Exception):
    """The server is gone; what was in flight is lost."""


class SessionGone(SessionLost):
    """It was gone already: nothing was sent."""


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


@dataclass(frozen=True, slots=True)
class _Call:
    answer: asyncio.Future[dict[str, Any]]
    notify: Notify | None
    token: object
    """The progress token that its caller chose."""
    tag: object
    """The caller's own id of it."""
    logs: bool
    """Whether it asked for log messages (MCP 2026-07-28, `logLevel` in the envelope)."""


class DuplexSession:
    """Correlates requests and answers by ids of its own, so any number may be in flight.

    Args:
        client_info: What the server is told of the client.
        hear: Takes the server's notifications that belong to no call.
        asked: Takes the server's requests, which are answered by `tell`; without it they are refused.
    """

    def __init__(
        self, client_info: dict[str, Any], hear: Notify | None = None, asked: Notify | None = None
    ) -> None:
        self._client_info = client_info
        self._hear = hear
        self._asked = asked
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

    async def initialize(self, params: dict[str, Any]) -> ServerDescription:
        """Open a session of the older era as a client asks for it.

        Raises:
            RpcError: The server refused.
            SessionLost: It ended.
        """
        raw = await self.request("initialize", params)
        self._say("notifications/initialized", None)
        version = str(raw.get("protocolVersion", LATEST_HANDSHAKE))
        self.description = ServerDescription(Era.LEGACY, version, raw)
        return self.description

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        notify: Notify | None = None,
        tag: object = None,
    ) -> dict[str, Any]:
        """Ask the server; what it says of this request before its answer goes to `notify`.

        A cancelled request is cancelled at the server too.

        Args:
            method: What is asked.
            params: Its parameters.
            notify: Takes its progress, its log messages, and what a subscription tells.
            tag: The caller's own id of the request.

        Raises:
            RpcError: The server answered with an error.
            SessionGone: The server was gone already.
            SessionLost: It went before it answered.
        """
        if self._lost is not None or self._pipe is None:
            raise SessionGone(self._lost or "the server has not been started")
        number = next(self._ids)
        params, token, logs = _numbered(params, number)
        call = _Call(asyncio.get_running_loop().create_future(), notify, token, tag, logs)
        self._calls[number] = call
        try:
            await self._pipe.write(_message(method, params, number))
            return _with_subscription(await call.answer, number, tag)
        except asyncio.CancelledError:
            if number in self._calls and method not in ("initialize", "server/discover"):
                self._cancel(number, "the caller left")
            raise
        finally:
            self._calls.pop(number, None)

    def cancel(self, tag: object, reason: str) -> None:
        """Cancel the requests with this id of their callers': at the server, and for who waits for them."""
        for number, call in list(self._calls.items()):
            if call.tag == tag and not call.answer.done():
                self._cancel(number, reason)
                call.answer.set_exception(RpcError(INVALID_REQUEST, "Request cancelled"))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a notification, or the answer to a request of the server."""
        # Whoever does not read is not written to: the queue of a stuck server must not grow.
        if self._pipe is not None and self._pipe.writable:
            self._pipe.write_soon(orjson.dumps(message))

    def refuse(self, number: object, method: str, reason: str = "this client does not offer it") -> None:
        """Answer a request of the server with an error."""
        error = RpcError(METHOD_NOT_FOUND, f"{method}: {reason}").wire()
        self.tell({"jsonrpc": "2.0", "id": number, "error": error})

    def _cancel(self, number: int, reason: str) -> None:
        self._say("notifications/cancelled", {"requestId": number, "reason": reason})

    def _say(self, method: str, params: dict[str, Any] | None) -> None:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        self.tell(message if params is None else {**message, "params": params})

    def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if isinstance(method, str):
            if "id" in message:
                self._take_question(message, method)
            else:
                self._notify(message, method)
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

    def _take_question(self, message: dict[str, Any], method: str) -> None:
        if method == "ping":
            self.tell({"jsonrpc": "2.0", "id": message["id"], "result": {}})
        elif self._asked is not None:
            self._asked(message)
        else:
            # Nobody in particular stands behind a shared session.
            self.refuse(message["id"], method)

    def _notify(self, message: dict[str, Any], method: str) -> None:
        """Give a notification to the call that it belongs to, as its caller knows it, or to who hears all."""
        found = message.get("params")
        params = found if isinstance(found, dict) else {}
        if method == "notifications/progress":
            call = self._call(params.get("progressToken"))
            if call is not None and call.notify is not None and call.token is not None:
                call.notify({**message, "params": {**params, "progressToken": call.token}})
            return
        meta = params.get("_meta")
        if isinstance(meta, dict) and SUBSCRIPTION_KEY in meta:
            number = meta[SUBSCRIPTION_KEY]
            call = self._call(number)
            if call is not None and call.notify is not None:
                call.notify({**message, "params": _with_subscription(params, number, call.tag)})
            return
        if method == "notifications/message" and (logging := [c for c in self._calls.values() if c.logs]):
            # Nothing says whose it is; one client's must not reach another.
            if len(logging) == 1 and logging[0].notify is not None:
                logging[0].notify(message)
            return
        if self._hear is not None:
            self._hear(message)

    def _call(self, number: object) -> _Call | None:
        return self._calls.get(number) if isinstance(number, int) else None

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
            return await self.initialize(params)
        except RpcError as error:
            # A slow modern server took our first question for its era, only after we gave it up.
            late = await self._discover(_DISCOVER_PATIENCE) if error.code == UNSUPPORTED_VERSION else None
            if late is None:
                raise
            return late


def _numbered(params: dict[str, Any] | None, number: int) -> tuple[dict[str, Any] | None, Any, bool]:
    """Give parameters with a progress token of ours, the client's own, and whether it wants log messages."""
    meta = params.get("_meta") if params is not None else None
    if params is None or not isinstance(meta, dict):
        return params, None, False
    wants_logs = LOG_LEVEL_KEY in meta
    if "progressToken" not in meta:
        return params, None, wants_logs
    # Clients choose their tokens by themselves; on the shared pipe they must differ.
    return {**params, "_meta": {**meta, "progressToken": number}}, meta["progressToken"], wants_logs


def _with_subscription(body: dict[str, Any], number: object, tag: object) -> dict[str, Any]:
    """Give parameters or a result with the caller's own id of the subscription that they belong to."""
    meta = body.get("_meta")
    if tag is None or not isinstance(meta, dict) or meta.get(SUBSCRIPTION_KEY) != number:
        return body
    return {**body, "_meta": {**meta, SUBSCRIPTION_KEY: tag}}


def _message(method: str, params: dict[str, Any] | None, number: int) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "id": number}
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
