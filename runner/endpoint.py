"""The stdio server over Streamable HTTP, in both eras."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson
from aiohttp import web

from mcp_platform import __version__
from mcp_platform.duplex import DuplexSession, SessionLost
from mcp_platform.envelope import check_envelope
from mcp_platform.wire import (
    HANDSHAKE_VERSIONS,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LOG_LEVEL_KEY,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Era,
    RpcError,
    ServerDescription,
    translate_error,
    translate_params,
    translate_result,
)
from runner.answers import answer, lost, no_session, refused_page, stream_answer, unavailable
from runner.changes import Changes
from runner.offers import discovered, has_state, initialized
from runner.sessions import OwnSession, SessionEnded, Sessions, wants_own
from runner.streams import EventStream, Message, takes_events

CLIENT_INFO: Final = {"name": "mcp-platform-runner", "version": __version__}
_MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_SESSION: Final = "Mcp-Session-Id"
_SUBSCRIPTIONS: Final = frozenset({"resources/subscribe", "resources/unsubscribe"})
_STATEFUL: Final = frozenset({"logging/setLevel", *_SUBSCRIPTIONS})
"""What changes what one client hears later."""
_COURTESY: Final = 2.0
"""Seconds for requests whose answer nobody waits for."""
_LISTEN: Final = "subscriptions/listen"


def create_app(session: DuplexSession, sessions: Sessions, changes: Changes) -> web.Application:
    """Build the runner's two paths: `/mcp` and `/health`."""
    endpoint = _Endpoint(session, sessions, changes)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/mcp", endpoint.post)
    app.router.add_get("/mcp", endpoint.get)
    app.router.add_delete("/mcp", endpoint.delete)
    app.router.add_get("/health", endpoint.health)
    return app


class _Endpoint:
    def __init__(self, session: DuplexSession, sessions: Sessions, changes: Changes) -> None:
        self._session = session
        self._sessions = sessions
        self._changes = changes

    async def health(self, _request: web.Request) -> web.Response:
        """Say whether the session with the server is up."""
        if self._session.description is None:
            return web.json_response(
                {"status": "unavailable", "reason": "the MCP session is not up yet"}, status=503
            )
        return web.json_response({"status": "ok"})

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one JSON-RPC message."""
        if (refusal := _refuse_pages(request)) is not None:
            return refusal
        era = _era_of(request.headers)
        number: object = None
        try:
            message = _read(await request.read())
            number = message.get("id")
            own = self._sessions.find(request.headers.get(_SESSION)) if era is Era.LEGACY else None
            if "method" not in message or "id" not in message:
                self._take(request, message, era, own)
                return web.Response(status=202)
            if own is not None and message["method"] != "initialize":
                return await self._relay(request, message, own)
            if era is Era.MODERN:
                check_envelope(message, request.headers)
            if self._session.description is None:
                return unavailable("The MCP session is not up yet")
            return await self._serve(request, message, era, self._session.description)
        except RpcError as error:
            return answer(number, error, era)
        except SessionLost as error:
            return lost(error)
        except SessionEnded:
            return no_session(number)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Serve the stream for what the server says outside of calls, to clients of the older era."""
        if "Origin" in request.headers:
            return refused_page()
        if not takes_events(request) or _era_of(request.headers) is not Era.LEGACY:
            return web.Response(status=405, headers={"Allow": "POST"})
        number = request.headers.get(_SESSION)
        try:
            own = self._sessions.find(number)
        except SessionEnded:
            return no_session(None)
        if self._session.description is None:
            return unavailable("The MCP session is not up yet")
        stream = EventStream()
        if own is not None:
            own.listen(stream)
        else:
            self._changes.join(stream, number, self._session)
        try:
            return await stream.serve(request, {})
        finally:
            self._leave(number, stream)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """End a session."""
        number = request.headers.get(_SESSION)
        try:
            self._sessions.find(number)
        except SessionEnded:
            return no_session(None)
        if "Origin" in request.headers or number is None:
            return refused_page() if number else web.Response(status=405, headers={"Allow": "POST, GET"})
        await self._sessions.end(number)
        await self._forget(number)
        return web.Response(status=200)

    def _take(self, request: web.Request, message: Message, era: Era, own: OwnSession | None) -> None:
        """Take a notification, or an answer; those that mean nothing to a shared server are dropped."""
        if era is Era.MODERN and "method" not in message:
            raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC request or notification")
        if own is not None:
            own.take(message)
        elif message.get("method") == "notifications/cancelled" and era is Era.LEGACY:
            params = message.get("params")
            session = request.headers.get(_SESSION)
            if session is not None and isinstance(params, dict):
                reason = str(params.get("reason") or "the client cancelled it")
                self._session.cancel((session, params.get("requestId")), reason)

    async def _serve(
        self, request: web.Request, message: Message, era: Era, server: ServerDescription
    ) -> web.StreamResponse:
        """Serve a request of a client that shares the server, or of one that is about to have its own."""
        method, params = message["method"], _params(message)
        if era is Era.LEGACY and server.era is Era.LEGACY:
            if method == "initialize":
                return await self._initialize(message, params or {}, server)
            if method in _SUBSCRIPTIONS:
                return answer(message["id"], await self._subscribe(request, method, params or {}), era)
            if _keeps(method, params):
                return await self._relay(request, message, await self._upgrade(request))
        own = _own_answer(method, params or {}, era, server)
        if own is not None:
            return answer(message["id"], own, era)
        if method == _LISTEN:
            return await self._listen(request, message, params or {}, server)
        sent = translate_params(params, era, server.era, CLIENT_INFO)
        tag = (request.headers.get(_SESSION), message["id"])

        async def work(stream: EventStream | None) -> dict[str, Any]:
            try:
                result = await self._session.request(method, sent, stream.send if stream else None, tag)
            except RpcError as error:
                raise translate_error(error, server.era, era) from None
            return translate_result(method, result, server.era, era)

        if params is not None and _reports(params) and takes_events(request):
            return await stream_answer(request, message["id"], work)
        return answer(message["id"], await work(None), era)

    async def _initialize(
        self, message: Message, params: dict[str, Any], server: ServerDescription
    ) -> web.Response:
        if wants_own(params):
            own = await self._sessions.open(params)
            said = answer(message["id"], dict(own.description.raw), Era.LEGACY)
            said.headers[_SESSION] = own.id
            return said
        said = answer(message["id"], initialized(server, params.get("protocolVersion")), Era.LEGACY)
        if has_state(server):
            said.headers[_SESSION] = self._sessions.new_id()
        return said

    async def _subscribe(self, request: web.Request, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Change what a session hears of resources: that all its clients share the server is no hindrance."""
        number, uri = _session_of(request), params.get("uri")
        if not isinstance(uri, str):
            raise RpcError(INVALID_PARAMS, "params.uri must be a string")
        if method == "resources/subscribe":
            known = uri in self._changes.watched(number)
            # Noted before it is asked for: another client that gives it up meanwhile must not end it.
            self._changes.watch(number, uri)
            try:
                return await self._session.request(method, params)
            except BaseException:
                if not known:
                    self._changes.unwatch(number, uri)
                raise
        return await self._session.request(method, params) if self._changes.unwatch(number, uri) else {}

    async def _forget(self, number: str) -> None:
        """End what a session that shares the server hears."""
        if (stream := self._changes.stream_of(number)) is not None:
            stream.end()
        for uri in self._changes.watched(number):
            if self._changes.unwatch(number, uri):
                with suppress(RpcError, SessionLost, TimeoutError):
                    async with asyncio.timeout(_COURTESY):
                        await self._session.request("resources/unsubscribe", {"uri": uri})

    async def _upgrade(self, request: web.Request) -> OwnSession:
        """Give the client a server of its own; what it hears goes with it."""
        number = _session_of(request)
        own = await self._sessions.upgrade(number)
        stream = self._changes.stream_of(number)
        if stream is not None:
            self._changes.leave(stream)
            own.listen(stream)
        for uri in self._changes.watched(number):
            self._changes.unwatch(number, uri)
            with suppress(RpcError):
                await own.request(None, "resources/subscribe", {"uri": uri}, None)
        return own

    async def _relay(self, request: web.Request, message: Message, own: OwnSession) -> web.StreamResponse:
        """Serve a request of a session that has a server of its own."""
        number, method, params = message["id"], message["method"], _params(message)

        async def work(stream: EventStream | None) -> dict[str, Any]:
            return await own.request(number, method, params, stream)

        if takes_events(request):
            return await stream_answer(request, number, work)
        return answer(number, await work(None), Era.LEGACY)

    async def _listen(
        self, request: web.Request, message: Message, params: dict[str, Any], server: ServerDescription
    ) -> web.StreamResponse:
        """Serve a modern client's subscription: by the server, or where it is older, by ourselves."""
        if not takes_events(request):
            return web.Response(status=406)
        if server.era is Era.MODERN:

            async def work(stream: EventStream | None) -> dict[str, Any]:
                notify = stream.send if stream else None
                return await self._session.request(_LISTEN, params, notify, message["id"])

            return await stream_answer(request, message["id"], work)
        stream = EventStream()
        self._changes.subscribe(stream, message["id"], params, server)
        try:
            return await stream.serve(request, {})
        finally:
            self._changes.leave(stream)

    def _leave(self, number: str | None, stream: EventStream) -> None:
        self._changes.leave(stream)
        with suppress(SessionEnded):
            own = self._sessions.find(number)
            if own is not None:
                own.leave(stream)


def _session_of(request: web.Request) -> str:
    number = request.headers.get(_SESSION)
    if number is None:
        raise RpcError(INVALID_REQUEST, "This needs a session: begin with initialize")
    return number


def _read(body: bytes) -> Message:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RpcError(PARSE_ERROR, "Parse error") from None
    if not isinstance(message, dict) or not isinstance(message.get("method", ""), str):
        raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC message")
    return message


def _params(message: Message) -> dict[str, Any] | None:
    params = message.get("params")
    if params is not None and not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object")
    return params


def _reports(params: dict[str, Any]) -> bool:
    """Whether anything may be said of a request before its result."""
    meta = params.get("_meta")
    return isinstance(meta, dict) and ("progressToken" in meta or LOG_LEVEL_KEY in meta)


def _keeps(method: str, params: dict[str, Any] | None) -> bool:
    """Whether the server keeps something for the client that asks this: a log level, a task of 2025-11-25."""
    return (
        method == "logging/setLevel"
        or method.startswith("tasks/")
        or (params is not None and "task" in params)
    )


def _own_answer(
    method: str, params: dict[str, Any], era: Era, server: ServerDescription
) -> dict[str, Any] | None:
    """Give the result of a method that concerns us and not the server behind."""
    if method in _STATEFUL or (method == _LISTEN and era is Era.LEGACY):
        raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
    if era is Era.MODERN:
        if method == "initialize":
            raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
        return discovered(server) if method == "server/discover" else None
    if method == "server/discover":
        raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
    if method == "ping":
        return {}
    return initialized(server, params.get("protocolVersion")) if method == "initialize" else None


def _refuse_pages(request: web.Request) -> web.Response | None:
    """Refuse what a page in a browser could send: we listen on loopback, where any page may try."""
    if "Origin" in request.headers:
        return refused_page()
    if request.content_type != "application/json":
        return web.json_response({"detail": "The body must be application/json"}, status=415)
    return None


def _era_of(headers: Mapping[str, str]) -> Era:
    version = headers.get("MCP-Protocol-Version")
    return Era.LEGACY if version is None or version in HANDSHAKE_VERSIONS else Era.MODERN
