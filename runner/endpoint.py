"""The stdio server over Streamable HTTP, in both eras and without sessions of its own."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from mcp_platform import __version__
from mcp_platform.duplex import DuplexSession, SessionLost
from mcp_platform.wire import (
    CAPABILITIES_KEY,
    HANDSHAKE_VERSIONS,
    HEADER_MISMATCH,
    HTTP_STATUS,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    NAMED_METHODS,
    PARSE_ERROR,
    PER_CLIENT_METHODS,
    UNSUPPORTED_VERSION,
    VERSION_KEY,
    Era,
    RpcError,
    ServerDescription,
    decode_header,
    translate_error,
    translate_params,
    translate_result,
)

CLIENT_INFO = {"name": "mcp-platform-runner", "version": __version__}
_MAX_BODY_BYTES = 64 * 1024 * 1024
_MAX_UNSENT_NOTIFICATIONS = 1000


def create_app(session: DuplexSession) -> web.Application:
    """Build the runner's two paths: `/mcp` and `/health`."""
    endpoint = _Endpoint(session)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/mcp", endpoint.post)
    app.router.add_get("/health", endpoint.health)
    return app


class _Endpoint:
    def __init__(self, session: DuplexSession) -> None:
        self._session = session

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
        try:
            message = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return _answer(None, RpcError(PARSE_ERROR, "Parse error"), era)
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            # An answer to a question that we never asked is taken and dropped; a batch is refused.
            if isinstance(message, dict) and era is Era.LEGACY and "method" not in message:
                return web.Response(status=202)
            return _answer(None, RpcError(INVALID_REQUEST, "The body must be one JSON-RPC message"), era)
        if "id" not in message:
            return web.Response(status=202)
        try:
            if era is Era.MODERN:
                _check_envelope(message, request.headers)
            if self._session.description is None:
                return web.json_response(
                    {"detail": "The MCP session is not up yet"}, status=503, headers={"Retry-After": "1"}
                )
            return await self._serve(request, message, era, self._session.description)
        except RpcError as error:
            return _answer(message["id"], error, era)
        except SessionLost as error:
            return _answer(message["id"], RpcError(INTERNAL_ERROR, str(error)), era)

    async def _serve(
        self, request: web.Request, message: dict[str, Any], era: Era, server: ServerDescription
    ) -> web.StreamResponse:
        method, params = message["method"], message.get("params")
        if params is not None and not isinstance(params, dict):
            raise RpcError(INVALID_PARAMS, "params must be an object")
        own = _own_answer(method, params or {}, era, server)
        if own is not None:
            return _answer(message["id"], own, era)
        sent = translate_params(params, era, server.era, CLIENT_INFO)
        meta = (params or {}).get("_meta")
        wants_progress = isinstance(meta, dict) and "progressToken" in meta
        try:
            if wants_progress and "text/event-stream" in request.headers.get("Accept", ""):
                return await self._stream(request, message, sent, era, server)
            result = await self._session.request(method, sent)
        except RpcError as error:
            raise translate_error(error, server.era, era) from None
        return _answer(message["id"], translate_result(method, result, server.era, era), era)

    async def _stream(
        self,
        request: web.Request,
        message: dict[str, Any],
        params: dict[str, Any] | None,
        era: Era,
        server: ServerDescription,
    ) -> web.StreamResponse:
        """Relay the call's progress; a call that reports none is answered as JSON."""
        news: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        def notify(item: dict[str, Any]) -> None:
            if news.qsize() < _MAX_UNSENT_NOTIFICATIONS:
                news.put_nowait(item)

        call = asyncio.create_task(self._session.request(message["method"], params, notify))
        call.add_done_callback(lambda _: news.put_nowait(None))
        stream: web.StreamResponse | None = None
        try:
            while (item := await news.get()) is not None:
                if stream is None:
                    stream = await _open_stream(request)
                await stream.write(_event(item))
            outcome = await _outcome(call, message["method"], server.era, era)
        finally:
            call.cancel()
        if stream is None:
            return _answer(message["id"], outcome, era)
        await stream.write(_event(_response(message["id"], outcome)))
        await stream.write_eof()
        return stream


async def _outcome(
    call: asyncio.Task[dict[str, Any]], method: str, server: Era, client: Era
) -> dict[str, Any] | RpcError:
    try:
        return translate_result(method, await call, server, client)
    except RpcError as error:
        return translate_error(error, server, client)
    except SessionLost as error:
        return RpcError(INTERNAL_ERROR, str(error))


def _own_answer(
    method: str, params: dict[str, Any], era: Era, server: ServerDescription
) -> dict[str, Any] | None:
    """Give the result of a method that concerns us and not the server behind."""
    if method in PER_CLIENT_METHODS:
        raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
    if era is Era.MODERN:
        if method == "initialize":
            raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
        return server.discovered() if method == "server/discover" else None
    if method == "server/discover":
        raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
    if method == "ping":
        return {}
    return server.initialized(params.get("protocolVersion")) if method == "initialize" else None


def _refuse_pages(request: web.Request) -> web.Response | None:
    """Refuse what a page in a browser could send: we listen on loopback, where any page may try."""
    if "Origin" in request.headers:
        return web.json_response({"detail": "Pages may not call this server"}, status=403)
    if request.content_type != "application/json":
        return web.json_response({"detail": "The body must be application/json"}, status=415)
    return None


def _era_of(headers: Mapping[str, str]) -> Era:
    version = headers.get("MCP-Protocol-Version")
    return Era.LEGACY if version is None or version in HANDSHAKE_VERSIONS else Era.MODERN


def _check_envelope(message: dict[str, Any], headers: Mapping[str, str]) -> None:
    """Refuse a modern request whose envelope is incomplete or whose headers disagree with it."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    if not isinstance(meta, dict) or VERSION_KEY not in meta or CAPABILITIES_KEY not in meta:
        raise RpcError(INVALID_PARAMS, f"params._meta must carry {VERSION_KEY} and {CAPABILITIES_KEY}")
    method, version = message["method"], meta[VERSION_KEY]
    if headers.get("MCP-Protocol-Version") != version or headers.get("Mcp-Method") != method:
        raise RpcError(HEADER_MISMATCH, "MCP-Protocol-Version or Mcp-Method does not match the body")
    name = params.get(NAMED_METHODS[method]) if params and method in NAMED_METHODS else None
    if name is not None and decode_header(headers.get("Mcp-Name")) != name:
        raise RpcError(HEADER_MISMATCH, "Mcp-Name does not match the body")
    if version != MODERN_VERSION:
        raise RpcError(
            UNSUPPORTED_VERSION,
            "Unsupported protocol version",
            {"supported": [MODERN_VERSION], "requested": version},
        )


def _response(number: object, outcome: dict[str, Any] | RpcError) -> dict[str, Any]:
    if isinstance(outcome, RpcError):
        return {"jsonrpc": "2.0", "id": number, "error": outcome.wire()}
    return {"jsonrpc": "2.0", "id": number, "result": outcome}


def _answer(number: object, outcome: dict[str, Any] | RpcError, era: Era) -> web.Response:
    status = 200
    if isinstance(outcome, RpcError) and (era is Era.MODERN or number is None):
        status = HTTP_STATUS.get(outcome.code, 200)
    return web.Response(
        body=orjson.dumps(_response(number, outcome)), status=status, content_type="application/json"
    )


def _event(message: dict[str, Any]) -> bytes:
    return b"event: message\ndata: " + orjson.dumps(message) + b"\n\n"


async def _open_stream(request: web.Request) -> web.StreamResponse:
    stream = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
        }
    )
    await stream.prepare(request)
    return stream
