"""What surrounds every request: an id, a log line, a limit on the body, an answer to the unexpected."""

import asyncio
import re
import time
from contextlib import suppress
from uuid import uuid4

import structlog
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_platform.errors import PayloadTooLarge
from mcp_platform.rendering import REQUEST_ID_HEADER, render_error, render_unexpected

logger = structlog.get_logger(__name__)

_ACCEPTABLE_ID = re.compile(r"^[A-Za-z0-9._-]{1,128}$")


class RequestContext:
    """Gives each request an id, which its answer and all its log lines carry.

    The query string is never logged: on `/ws` and `/events` it holds a token.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if _ACCEPTABLE_ID.match(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                name = REQUEST_ID_HEADER.lower().encode()
                if name not in dict(message["headers"]):
                    message["headers"] = [*message["headers"], (name, request_id.encode())]
            await send(message)

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, answer)
            except Exception:
                logger.exception("request_failed", path=scope["path"])
                if status or scope["type"] == "websocket":
                    raise
                code, body, headers = render_unexpected(request_id)
                await JSONResponse(body, code, headers)(scope, receive, answer)
            finally:
                logger.info(
                    "request",
                    method=scope.get("method", "WEBSOCKET"),
                    path=scope["path"],
                    status=status or None,
                    ms=round((time.perf_counter() - started) * 1000, 1),
                )


_DRAINED_BYTES = 33_554_432
_DRAINED_SECONDS = 2.0


class _TooLarge(Exception):
    """The body went over the limit while it was read."""


class BodyLimit:
    """Refuses bodies over a limit, by their declared length or while they come in.

    Paths beneath `/mcp/` are left alone: the gateway has a limit of its own.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith("/mcp/"):
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > self._limit:
            await self._refuse(scope, receive, send)
            return
        seen = 0
        answering = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answering
            # Frameworks turn whatever goes wrong with a body into an answer of their own.
            if answering or seen <= self._limit:
                answering = True
                await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLarge:
            if answering:
                raise
        if seen > self._limit and not answering:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _read_on(receive)
        status, body, headers = render_error(PayloadTooLarge(self._limit), scope["state"]["request_id"])
        await JSONResponse(body, status, {**headers, "Connection": "close"})(scope, receive, send)


async def _read_on(receive: Receive) -> None:
    """Take in the rest of a body, within bounds: a client that is cut off while sending sees no answer."""
    left = _DRAINED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
