"""What surrounds every HTTP request of the API and of the gateway: an id, a log line, a figure."""

import asyncio
import logging
import math
import re
import time
from collections import Counter
from contextlib import suppress
from functools import cache
from secrets import token_hex
from typing import Any, Final

import structlog
from prometheus_client import Histogram
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_platform.rendering import REQUEST_ID_HEADER, render_unexpected
from mcp_platform.request_id import LAST_ERROR, REQUEST_ID

logger = structlog.get_logger(__name__)

_ACCEPTABLE_ID: Final = re.compile(r"^[A-Za-z0-9._-]{1,128}$")
_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})
_ID_NAME: Final = REQUEST_ID_HEADER.lower().encode()
_LINES: Final = logging.getLogger(__name__)
_ADDED: Final = "added_headers"
_DRAINED_BYTES: Final = 2_097_152
_DRAINED_SECONDS: Final = 2.0
_PAUSE: Final = 1.0
"""Seconds between two lines about calls that were refused with the same status."""

_REQUESTS: Final = Histogram(
    "mcp_platform_http_request_seconds",
    "HTTP requests by route and status; calls of tools have figures of their own.",
    ["method", "route", "status"],
)


class RequestContext:
    """Gives each request an id, which its answer and all its log lines carry.

    The query string is never logged: on `/ws` and `/events` it holds a token. Calls of tools, beneath
    `/mcp/`, are metered by the gateway, and here only those are noted that HTTP says failed: each that
    did by a fault of ours, and of the others one a second for each status.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._refusals = _Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _ID_NAME), b"").decode("latin-1")
        request_id = given if _ACCEPTABLE_ID.fullmatch(given) else token_hex(16)
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
        bound = REQUEST_ID.set(request_id)
        try:
            await self._app(scope, receive, answer)
        except Exception:
            logger.exception("request_failed", path=scope["path"])
            if status or scope["type"] == "websocket":
                raise
            code, body, headers = render_unexpected(request_id)
            await JSONResponse(body, code, headers)(scope, receive, answer)
        finally:
            self._note(scope, status, time.perf_counter() - started)
            REQUEST_ID.reset(bound)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        called = scope["path"].startswith("/mcp/")
        if called and status < 400:
            return
        method = scope.get("method", "WEBSOCKET")
        unlogged = self._refusals.count(status) if called and status < 500 else 0
        if unlogged is not None and _LINES.isEnabledFor(logging.INFO):
            more: dict[str, Any] = {"unlogged": unlogged} if unlogged else {}
            last = LAST_ERROR.get()
            if last is not None and last[0] == REQUEST_ID.get():
                more["error_code"] = last[1]
            ms = round(seconds * 1000, 1)
            logger.info("request", method=method, path=scope["path"], status=status or None, ms=ms, **more)
        if scope["type"] == "http":
            # The route's pattern, not the path: ids in labels would grow without bound.
            route = "/mcp/" if called else getattr(scope.get("route"), "path", "other")
            _figure(method, route, status).observe(seconds)


class _Refusals:
    """Picks the refused calls that are logged: anybody may cause as many as they like."""

    def __init__(self) -> None:
        self._logged_at: dict[int, float] = {}
        self._unlogged: Counter[int] = Counter()

    def count(self, status: int) -> int | None:
        """Tell how many of a status went unlogged before this one; None: this one does, too."""
        now = time.monotonic()
        if now < self._logged_at.get(status, -math.inf) + _PAUSE:
            self._unlogged[status] += 1
            return None
        self._logged_at[status] = now
        return self._unlogged.pop(status, 0)


def add_answer_headers(scope: Scope, headers: list[tuple[bytes, bytes]]) -> None:
    """Send these headers with the answer, whichever it will be; later ones take the place of earlier ones."""
    scope.setdefault("state", {}).setdefault(_ADDED, [])[:] = headers


def current_request_id() -> str:
    """Give the id of the request that is being served; a new one outside of any."""
    return REQUEST_ID.get() or token_hex(16)


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


@cache
def _figure(method: str, route: str, status: int) -> Histogram:
    return _REQUESTS.labels(method, route, status)
