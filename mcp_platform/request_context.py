"""What surrounds every HTTP request of the API and of the gateway: an id, a log line, a figure."""

import asyncio
import logging
import re
import time
from contextlib import suppress
from functools import cache
from secrets import token_hex
from typing import Final

import structlog
from prometheus_client import Histogram
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_platform.rendering import REQUEST_ID_HEADER, render_unexpected

logger = structlog.get_logger(__name__)

_ACCEPTABLE_ID: Final = re.compile(r"^[A-Za-z0-9._-]{1,128}$")
_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})
_ID_NAME: Final = REQUEST_ID_HEADER.lower().encode()
_LINES: Final = logging.getLogger(__name__)
_ADDED: Final = "added_headers"
_DRAINED_BYTES: Final = 2_097_152
_DRAINED_SECONDS: Final = 2.0

_REQUESTS: Final = Histogram(
    "mcp_platform_http_request_seconds",
    "HTTP requests by route and status; calls of tools have figures of their own.",
    ["method", "route", "status"],
)


class RequestContext:
    """Gives each request an id, which its answer and all its log lines carry.

    The query string is never logged: on `/ws` and `/events` it holds a token. Calls of tools, beneath
    `/mcp/`, are metered by the gateway and logged only when they fail by a fault of ours.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _ID_NAME), b"").decode("latin-1")
        request_id = given if _ACCEPTABLE_ID.match(given) else token_hex(16)
        status = 0
        added = scope.setdefault("state", {}).setdefault(_ADDED, [])

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] in _STARTS:
                status = message["status"]
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() != _ID_NAME]
                message["headers"] = [*kept, (_ID_NAME, request_id.encode()), *added]
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
                _note(scope, status, time.perf_counter() - started)


def add_answer_headers(scope: Scope, headers: list[tuple[bytes, bytes]]) -> None:
    """Send these headers with the answer, whichever it will be; later ones take the place of earlier ones."""
    scope.setdefault("state", {}).setdefault(_ADDED, [])[:] = headers


def current_request_id() -> str:
    """Give the id of the request that is being served; a new one outside of any."""
    bound = structlog.contextvars.get_contextvars().get("request_id")
    return bound if isinstance(bound, str) else token_hex(16)


async def read_on(receive: Receive) -> None:
    """Take in the rest of a refused body, within bounds: who is cut off while sending sees no answer."""
    left = _DRAINED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _note(scope: Scope, status: int, seconds: float) -> None:
    if scope["path"].startswith("/mcp/") and status < 500:
        return
    method = scope.get("method", "WEBSOCKET")
    if _LINES.isEnabledFor(logging.INFO):
        ms = round(seconds * 1000, 1)
        logger.info("request", method=method, path=scope["path"], status=status or None, ms=ms)
    if scope["type"] == "http":
        # The route's pattern, not the path: ids in labels would grow without bound.
        route = getattr(scope.get("route"), "path", "other")
        _figure(method, route, status).observe(seconds)


@cache
def _figure(method: str, route: str, status: int) -> Histogram:
    return _REQUESTS.labels(method, route, status)
