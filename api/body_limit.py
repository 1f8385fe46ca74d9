"""The limit on the bodies of API requests."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_platform.errors import PayloadTooLarge
from mcp_platform.rendering import render_error
from mcp_platform.request_context import current_request_id, read_on


class _TooLarge(Exception):
    """The body went over the limit while it was read."""


class BodyLimit:
    """Refuses bodies over a limit, by their declared length or while they come in.

    Paths beneath `/mcp/` are left alone: the gateway has a limit of its own.

    Args:
        app: What is behind.
        limit: In bytes.
        others: Limits of single paths; one that ends with a slash is for those right beneath it.
    """

    def __init__(self, app: ASGIApp, limit: int, others: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._limit = limit
        self._others = others or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith("/mcp/") or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        above = f"{path.rpartition('/')[0]}/"
        limit = self._others.get(path) or self._others.get(above) or self._limit
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            await self._refuse(limit, scope, receive, send)
            return
        seen = 0
        answering = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answering
            # Frameworks turn whatever goes wrong with a body into an answer of their own.
            if answering or seen <= limit:
                answering = True
                await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLarge:
            if answering:
                raise
        if seen > limit and not answering:
            await self._refuse(limit, scope, receive, send)

    async def _refuse(self, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        await read_on(receive)
        status, body, headers = render_error(PayloadTooLarge(limit), current_request_id())
        await JSONResponse(body, status, {**headers, "Connection": "close"})(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    """Tell whether a body comes: one of the two says so (RFC 9112 section 6.3)."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
