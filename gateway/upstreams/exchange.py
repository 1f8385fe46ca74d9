"""One exchange with an upstream: a message is posted, and its answer read as JSON or as events."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from gateway.upstreams.connection import Broken as Broken
from gateway.upstreams.connection import Response
from gateway.upstreams.connection import Unreachable as Unreachable
from gateway.upstreams.events import EventParser, EventTooLong
from gateway.upstreams.http import Http, Site, head
from gateway.upstreams.http import Limits as Limits
from mcp_platform.errors import UpstreamFailed
from mcp_platform.wire import RpcError

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

_OURS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-session-id",
        "transfer-encoding",
    }
)
"""Headers that the protocols decide; a configuration's own of these names are left out."""

Hear = Callable[[dict[str, Any]], Awaitable[None]]
"""Takes a notification or request that the server sends before its answer."""


class CredentialsRefused(UpstreamFailed):
    """The server does not take the credentials that it was sent; `challenge` is its `WWW-Authenticate`."""

    def __init__(self, status: int, challenge: str | None) -> None:
        super().__init__(f"The MCP server refused the credentials it was sent ({status})")
        self.http_status = status
        self.challenge = challenge


class Interrupted(Exception):
    """The server ended the stream before its answer, and told how to go on with it."""

    def __init__(self, last_event: bytes, pause: float) -> None:
        super().__init__()
        self.last_event = last_event
        self.pause = pause


class Reply:
    """What came back: the HTTP side of it, and the JSON-RPC answer if there was one."""

    __slots__ = ("message", "response", "status")

    def __init__(self, response: Response, message: dict[str, Any] | None) -> None:
        self.response = response
        self.status = response.status
        self.message = message

    def result(self) -> dict[str, Any]:
        """Give the result.

        Raises:
            RpcError: The server answered with an error.
            UpstreamFailed: It answered with something else.
        """
        self.check_status()
        if self.message is None:
            raise UpstreamFailed("The MCP server answered without a JSON-RPC message")
        result = self.message.get("result")
        if isinstance(result, dict):
            return result
        raise RpcError.read(self.message.get("error"))

    def check_status(self) -> None:
        """Raise what the HTTP status means."""
        status = self.status
        if status < 300 or (status < 500 and status not in (401, 403) and status >= 400):
            return
        if status == 503:
            raise Unreachable("the MCP server is not ready")
        if status == 502:
            raise Broken("What is in front of the MCP server lost it during the call")
        if status in (401, 403):
            raise CredentialsRefused(status, self.response.header("www-authenticate"))
        raise UpstreamFailed(f"The MCP server answered with HTTP status {status}")


class Exchange:
    """Posts messages to one address, with headers that each request carries.

    Args:
        http: The connections.
        url: The address.
        headers: What each request carries; a request's own headers of the same names take their place.
        limits: Seconds and bytes that one exchange may take.
        private: Whether the address may be in a private network.
    """

    def __init__(
        self, http: Http, url: str, headers: Mapping[str, str], limits: Limits, *, private: bool = True
    ) -> None:
        self.url = url
        self.limits = limits
        self.lasting = http.lasting
        self._http = http
        self._headers = {name: value for name, value in headers.items() if name.lower() not in _OURS}
        self._private = private
        self._names = frozenset(name.lower() for name in headers)
        self._site = Site(url, self._headers, private=private)

    def at(self, url: str) -> "Exchange":
        """Give the same for another address."""
        return Exchange(self._http, url, self._headers, self.limits, private=self._private)

    async def post(
        self,
        message: dict[str, Any],
        prepared: bytes,
        timeout: float | None,
        hear: Hear | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        safe: bool = False,
        more: Callable[[], float] | None = None,
    ) -> Reply:
        """Send one message, and read until its answer is there.

        Args:
            message: What is sent.
            prepared: Header lines of this request.
            timeout: Seconds for all of it; None: no limit.
            hear: Takes what the server sends before its answer.
            headers: Further headers of this request.
            safe: The message may be sent twice.
            more: Tells how many of the seconds that have passed do not count.

        Raises:
            Unreachable: No connection could be made.
            Broken: The connection broke.
            Interrupted: The stream ended, and may be gone on with.
            UpstreamFailed: The protocol did.
            UpstreamTimedOut: There was no answer in time.
        """
        site = self._site
        if headers:
            site = self._site_beside(headers)
            prepared += head(headers)
        body = orjson.dumps(message)
        limits = self.limits
        response = await self._http.send(site, "POST", prepared, body, limits, timeout, safe=safe, more=more)
        number = message.get("id")
        if response.body is None:
            return Reply(response, await self._await_event(response, number, hear))
        return Reply(response, _answer(response, number))

    async def send(
        self, method: str, prepared: bytes, timeout: float | None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request without a body; a stream must be closed."""
        site = self._site_beside(headers) if headers else self._site
        lines = prepared + head(headers or {})
        return await self._http.send(site, method, lines, None, self.limits, timeout, safe=True)

    async def resume(
        self, number: object, prepared: bytes, timeout: float, hear: Hear | None, headers: Mapping[str, str]
    ) -> Reply:
        """Go on with the stream of a request that was interrupted."""
        response = await self.send("GET", prepared, timeout, headers)
        if response.body is not None:
            raise Broken("The MCP server ended its stream without an answer, and does not go on with it")
        return Reply(response, await self._await_event(response, number, hear))

    def events(self, response: Response) -> "Events":
        """Give the events of a stream."""
        return Events(response, self.limits.max_response_bytes)

    async def _await_event(
        self, response: Response, number: object, hear: Hear | None
    ) -> dict[str, Any] | None:
        events = self.events(response)
        answered = False
        try:
            while (event := await events.next()) is not None:
                message = read_event(event)
                if message is None:
                    continue
                if "method" not in message and message.get("id") == number:
                    answered = True
                    return message
                if hear is not None and "method" in message:
                    await hear(message)
        except Broken:
            if events.last_id:
                raise Interrupted(events.last_id, events.retry) from None
            raise
        finally:
            response.close(at_once=not answered)
        if number is None:
            return None
        if events.last_id:
            raise Interrupted(events.last_id, events.retry)
        raise Broken("The MCP server ended its stream without an answer")

    def _site_beside(self, headers: Mapping[str, str]) -> Site:
        """Give the address with its headers, but for those that a request brings itself."""
        taken = {name.lower() for name in headers}
        if self._names.isdisjoint(taken):
            return self._site
        kept = {name: value for name, value in self._headers.items() if name.lower() not in taken}
        return Site(self.url, kept, private=self._private)


class Events:
    """The events of one stream."""

    def __init__(self, response: Response, limit: int) -> None:
        self._response = response
        self._limit = limit
        self._parser = EventParser(limit)
        self._ready: deque[tuple[str, bytes]] = deque()

    @property
    def last_id(self) -> bytes:
        """The id of the last event that had one."""
        return self._parser.last_id

    @property
    def retry(self) -> float:
        """Seconds after which the server wants to be asked again."""
        return self._parser.retry

    async def next(self) -> tuple[str, bytes] | None:
        """Give the next event, as name and data; None at the end.

        Raises:
            Broken: The connection broke.
            UpstreamFailed: An event is over the limit.
        """
        while not self._ready:
            chunk = await self._response.read()
            if not chunk:
                return None
            try:
                self._ready.extend(self._parser.feed(chunk))
            except EventTooLong:
                raise UpstreamFailed(f"The MCP server's answer is larger than {self._limit} bytes") from None
        return self._ready.popleft()


def read_event(event: tuple[str, bytes]) -> dict[str, Any] | None:
    """Read the message in an event; None where it has none."""
    name, data = event
    return _object(data) if name == "message" and data else None


def _answer(response: Response, number: object) -> dict[str, Any] | None:
    body = response.body
    if not body or response.kind != b"application/json":
        return None
    if response.status == 200:
        message = _object(body)
        if message.get("id") != number and not (message.get("id") is None and "error" in message):
            raise UpstreamFailed("The MCP server's answer is to another request")
        return message
    try:
        message = _object(body)
    except UpstreamFailed:
        return None
    # Frameworks answer errors with JSON of their own: only JSON-RPC counts.
    return message if "jsonrpc" in message else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFailed("The MCP server's answer is not JSON") from None
    if not isinstance(message, dict):
        raise UpstreamFailed("The MCP server's answer is not one JSON-RPC message")
    return message
