"""Requests of 2025-11-25 and older: in sessions, with a standalone stream for what servers say unasked."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from gateway.front.answers import Answer, Headers, Presence, refuse, response, send_empty, send_json
from gateway.front.incoming import Incoming, read_json
from gateway.front.rounds import AnswerRequest
from gateway.front.sessions import LiveSession, Sessions
from gateway.front.streams import EventStream
from gateway.requests import ClientRequest, ClientSession, Refused
from mcp_platform.contracts.access import Principal
from mcp_platform.wire import (
    HANDSHAKE_VERSIONS,
    HTTP_STATUS,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LATEST_HANDSHAKE,
    METHOD_NOT_FOUND,
    Era,
    RpcError,
)

SESSION_HEADER: Final = "mcp-session-id"
_BATCHING: Final = frozenset({"2024-11-05", "2025-03-26"})
"""Versions in which several messages may come at once."""
_MOST_AT_ONCE: Final = 100

_PASSED_ON: Final = "notifications/roots/list_changed"
"""What clients say that servers have to hear. Nothing else is: it would pass by every policy."""
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_MOST_DECLARED: Final = 16_384
"""Bytes of what a client says of itself: it is kept for as long as the session."""
_MOST_SUBSCRIPTIONS: Final = 200
_LONGEST_URI: Final = 2048

TellServers = Callable[[ClientSession, dict[str, Any]], None]
Listen = Callable[[ClientSession, asyncio.Event, Principal | None], Awaitable[None]]
"""Forwards what servers say to a session on its standalone stream, until cancelled; the event is set when
the session may hear of other things than before. The caller is who holds the stream open."""


class _CallChannel:
    """The client, while one of its requests is in progress: told and asked on that request's stream."""

    __slots__ = ("_answer", "_live")

    def __init__(self, answer: Answer, live: LiveSession) -> None:
        self._answer = answer
        self._live = live

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the client declared when the session began."""
        return self._live.data.capabilities

    @property
    def client_info(self) -> Mapping[str, Any]:
        """Its name and version."""
        return self._live.data.client_info

    async def notify(self, message: dict[str, Any]) -> None:
        """Send a notification."""
        await self._answer.event(message)

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Ask the client, and give its result.

        Raises:
            RpcError: The client's own error; or it does not offer this, takes no streams, or is silent.
        """
        if not self._answer.streams:
            raise RpcError(METHOD_NOT_FOUND, f"the client takes no streams, so {method} cannot be asked")
        return await self._live.ask_by(self._answer.event, method, params, timeout)


class LegacyFront:
    """Serves requests of the older era."""

    def __init__(self, answer: AnswerRequest, sessions: Sessions, listen: Listen, tell: TellServers) -> None:
        self._answer_request = answer
        self._tell_servers = tell
        self._sessions = sessions
        self._listen = listen

    async def post(self, incoming: Incoming, body: bytes) -> None:
        """Serve one POST: a message, or in old versions several."""
        try:
            message = read_json(body)
            if isinstance(message, dict) and message.get("method") == "initialize" and "id" in message:
                await self._initialize(incoming, message)
                return
            live = await self._session(incoming)
            if live is None:
                return
            if isinstance(message, list):
                await self._serve_several(incoming, live, message)
            else:
                await self._serve(incoming, live, message)
        except RpcError as error:
            await send_json(incoming.send, HTTP_STATUS.get(error.code, 400), response(None, error))

    async def get(self, incoming: Incoming) -> None:
        """Serve the standalone stream of a session; another one takes the place of the one before."""
        live = await self._session(incoming)
        if live is None:
            return
        if not incoming.streams:
            await refuse(incoming.send, 406, "Accept must name text/event-stream")
            return
        stream = EventStream()
        if live.stream is not None:
            live.stream.end()
        live.stream = stream
        listening = asyncio.ensure_future(self._listen(live.data, stream.changed, incoming.principal))
        try:
            await stream.serve(incoming.receive, incoming.send, _named(live))
        finally:
            listening.cancel()
            if live.stream is stream:
                live.stream = None
            await asyncio.gather(listening, return_exceptions=True)

    async def delete(self, incoming: Incoming) -> None:
        """End a session."""
        live = await self._session(incoming)
        if live is not None:
            await self._sessions.end(live)
            await send_empty(incoming.send, 200)

    async def _session(self, incoming: Incoming) -> LiveSession | None:
        """Find the request's session; where there is none, answer so (specification: 400 and 404)."""
        number = incoming.headers.get(SESSION_HEADER)
        if not number:
            status, text = 400, "Bad Request: Missing session ID; begin with initialize"
        else:
            user = incoming.principal.user_id if incoming.principal else None
            live = await self._sessions.find(number, user, incoming.endpoint)
            if live is not None:
                return live
            status, text = 404, "Session not found: it has ended, or was never opened here; begin anew"
        await send_json(incoming.send, status, response(None, RpcError(INVALID_REQUEST, text)))
        return None

    async def _initialize(self, incoming: Incoming, message: dict[str, Any]) -> None:
        number, params = _number_of(message), _object(message.get("params"))
        declared = [_object(params.get("capabilities")), _object(params.get("clientInfo"))]
        if len(orjson.dumps(declared)) > _MOST_DECLARED:
            raise RpcError(
                INVALID_PARAMS, f"capabilities and clientInfo may have {_MOST_DECLARED} bytes together"
            )
        session = ClientSession(
            id="",
            user_id=incoming.principal.user_id if incoming.principal else None,
            endpoint=incoming.endpoint,
            version=_version(params.get("protocolVersion")),
            capabilities=declared[0],
            client_info=declared[1],
        )
        answer = Answer(incoming.send, [], streams=False)
        presence = Presence(incoming.receive)
        try:
            outcome: dict[str, Any] | RpcError = await self._answer_request(
                self._request(incoming, message, _Nobody(session), None)
            )
        except RpcError as error:
            outcome = error
        except asyncio.CancelledError:
            if presence.left:
                return
            raise
        finally:
            presence.end()
        if isinstance(outcome, RpcError):
            await _send(answer, number, outcome)
            return
        session.version = _version(outcome.get("protocolVersion"))
        live = await self._sessions.open(session)
        await answer.finish(response(number, outcome), 200, _named(live))

    async def _serve(self, incoming: Incoming, live: LiveSession, message: Any) -> None:
        if not isinstance(message, dict):
            raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC message")
        if "id" in message and "method" in message:
            await self._call(incoming, live, message)
            return
        await self._take(live, message)
        await send_empty(incoming.send, 202, _named(live))

    async def _call(self, incoming: Incoming, live: LiveSession, message: dict[str, Any]) -> None:
        number = _number_of(message)
        answer = Answer(incoming.send, _named(live), incoming.streams)
        presence = Presence(incoming.receive)
        if live.calls is None:
            live.calls = {}
        live.calls[number] = presence
        answer.keep_alive()
        try:
            outcome = await self._outcome(incoming, live, message, answer)
        except asyncio.CancelledError:
            answer.quiet()
            if presence.left:
                return  # nobody reads it
            if not presence.cancelled:
                raise
            presence.go_on()
            outcome = RpcError(INVALID_REQUEST, "Request cancelled")
        except BaseException:
            answer.quiet()
            raise
        finally:
            presence.end()
            if live.calls.get(number) is presence:
                del live.calls[number]
        await _send(answer, number, outcome)

    async def _outcome(
        self, incoming: Incoming, live: LiveSession, message: dict[str, Any], answer: Answer
    ) -> dict[str, Any] | RpcError:
        channel = _CallChannel(answer, live)
        try:
            _check_kept(live.data, message)
            return await self._answer_request(self._request(incoming, message, channel, live.data))
        except RpcError as error:
            return error
        finally:
            if live.data.changed:
                await self._sessions.save(live)
                if live.stream is not None:
                    live.stream.nudge()

    async def _serve_several(self, incoming: Incoming, live: LiveSession, messages: list[Any]) -> None:
        if live.data.version not in _BATCHING:
            raise RpcError(INVALID_REQUEST, f"Version {live.data.version} has no batches: send one message")
        if not 0 < len(messages) <= _MOST_AT_ONCE or not all(isinstance(each, dict) for each in messages):
            raise RpcError(INVALID_REQUEST, f"A batch holds 1 to {_MOST_AT_ONCE} JSON-RPC messages")
        calls = [each for each in messages if "id" in each and "method" in each]
        for each in messages:
            if "id" not in each or "method" not in each:
                await self._take(live, each)
        if not calls:
            await send_empty(incoming.send, 202, _named(live))
            return
        answer = Answer(incoming.send, _named(live), streams=False)
        numbers = [_number_of(each) for each in calls]
        for _ in calls[1:]:
            await incoming.charge()
        presence = Presence(incoming.receive)
        try:
            outcomes = await asyncio.gather(*(self._outcome(incoming, live, each, answer) for each in calls))
        except asyncio.CancelledError:
            if presence.left:
                return
            raise
        finally:
            presence.end()
        answers = [response(number, outcome) for number, outcome in zip(numbers, outcomes, strict=True)]
        await send_json(incoming.send, 200, answers, _named(live))

    async def _take(self, live: LiveSession, message: dict[str, Any]) -> None:
        """Take a notification, or the answer to a question of a server."""
        method = message.get("method")
        if method is None and ("result" in message or "error" in message):
            await self._sessions.asks.answer(live.data.id, message)
        elif method == "notifications/cancelled":
            await self._sessions.cancel(live, _object(message.get("params")).get("requestId"))
        elif not isinstance(method, str):
            raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC message")
        elif method == _PASSED_ON:
            self._tell_servers(live.data, message)

    def _request(
        self,
        incoming: Incoming,
        message: dict[str, Any],
        channel: "_CallChannel | _Nobody",
        session: ClientSession | None,
    ) -> ClientRequest:
        params = message.get("params")
        return ClientRequest(
            principal=incoming.principal,
            endpoint=incoming.endpoint,
            method=str(message["method"]),
            params=params if isinstance(params, dict) else None,
            era=Era.LEGACY,
            headers=incoming.headers,
            channel=channel,
            session=session,
        )


class _Nobody:
    """The client before its session has begun."""

    def __init__(self, session: ClientSession) -> None:
        self.capabilities: Mapping[str, Any] = session.capabilities
        self.client_info: Mapping[str, Any] = session.client_info

    async def notify(self, message: dict[str, Any]) -> None:
        """Drop it: nothing can be said before the answer to `initialize`."""

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Refuse: nothing can be asked before the answer to `initialize`."""
        raise RpcError(METHOD_NOT_FOUND, f"{method} cannot be asked before the session has begun")


def _check_kept(session: ClientSession, message: dict[str, Any]) -> None:
    """Refuse what would be kept with the session, and is more or other than may be."""
    params = _object(message.get("params"))
    if message["method"] == "logging/setLevel" and params.get("level") not in _LEVELS:
        raise RpcError(INVALID_PARAMS, f"level must be one of {', '.join(_LEVELS)}")
    if message["method"] != "resources/subscribe":
        return
    uri = params.get("uri")
    if not isinstance(uri, str) or len(uri) > _LONGEST_URI:
        raise RpcError(INVALID_PARAMS, f"uri must be a text of at most {_LONGEST_URI} characters")
    if uri not in session.subscriptions and len(session.subscriptions) >= _MOST_SUBSCRIPTIONS:
        raise RpcError(INVALID_PARAMS, f"a session may have {_MOST_SUBSCRIPTIONS} subscriptions")


def _named(live: LiveSession) -> Headers:
    return [(b"mcp-session-id", live.data.id.encode())]


def _number_of(message: dict[str, Any]) -> str | int:
    number = message["id"]
    if isinstance(number, bool) or not isinstance(number, str | int) or message.get("jsonrpc") != "2.0":
        raise RpcError(
            INVALID_REQUEST, "A request needs jsonrpc 2.0, a method, and an id: a string or integer"
        )
    return number


def _version(asked: object) -> str:
    return asked if isinstance(asked, str) and asked in HANDSHAKE_VERSIONS else LATEST_HANDSHAKE


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


async def _send(answer: Answer, number: object, outcome: dict[str, Any] | RpcError) -> None:
    if isinstance(outcome, Refused):
        headers = [(name.lower().encode(), value.encode()) for name, value in outcome.headers.items()]
        await answer.finish(response(number, outcome), outcome.status, headers)
    else:
        await answer.finish(response(number, outcome), 200)
