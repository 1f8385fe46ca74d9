"""The limit on the bodies of API requests."""

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
        await read_on(receive)
        status, body, headers = render_error(PayloadTooLarge(self._limit), current_request_id())
        await JSONResponse(body, status, {**headers, "Connection": "close"})(scope, receive, send)
