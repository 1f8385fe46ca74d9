"""The adapter to the SDK's server: all uses of its private or provisional parts are in this module.

The SDK owns the wire towards clients: both eras on one URL, header rules, sessions, streams. Its
handlers are not used. One middleware takes every request before it is validated and answers with
plain dictionaries, so fields that the SDK does not know pass through.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from mcp import MCPError
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from gateway import figures
from gateway.relay import Stickiness
from mcp_platform.wire import INTERNAL_ERROR, MODERN_VERSION, Era, RpcError

log = structlog.get_logger(__name__)

_SLUG = "mcp_platform.slug"
_STICKINESS = "mcp_platform.stickiness"


@dataclass(frozen=True)
class ClientRequest:
    """A request of an MCP client, as it came."""

    slug: str
    method: str
    params: dict[str, Any] | None
    era: Era
    headers: Mapping[str, str]
    notify: Callable[[dict[str, Any]], Awaitable[None]]
    """Sends a notification on the request's own stream."""
    stickiness: Stickiness | None
    """Belongs to the client's session; None where there are no sessions."""


Answer = Callable[[ClientRequest], Awaitable[dict[str, Any]]]


class Downstream:
    """All MCP endpoints of the gateway: one SDK server, for the slug is part of each request."""

    def __init__(self, answer: Answer, max_body_bytes: int, session_idle_timeout: float) -> None:
        self._answer = answer
        # Without the look-up the SDK would list an upstream's tools at every call, only to check
        # `Mcp-Param-*` headers, which go to the upstream as they are and are checked there.
        server: Server[Any] = Server("mcp-platform", get_tool_input_schema=lambda _name: None)
        server.middleware = [self._relay]
        self._manager = StreamableHTTPSessionManager(
            server, session_idle_timeout=session_idle_timeout, max_request_body_size=max_body_bytes
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the block runs.

        The SDK's sessions live in a task of their own. Its cancel scopes, left in a task that is itself
        being cancelled as at Ctrl-C, raise a cancellation whose context is a circle, in which
        `AsyncExitStack` of Python 3.11 turns for ever.
        """
        begun, end = asyncio.Event(), asyncio.Event()

        async def own() -> None:
            async with self._manager.run():
                begun.set()
                await end.wait()

        owner = asyncio.create_task(own())
        waiting = asyncio.create_task(begun.wait())
        await asyncio.wait({owner, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if owner.done():
            owner.result()
        try:
            yield
        finally:
            end.set()
            await owner

    async def serve(self, scope: Scope, receive: Receive, send: Send, slug: str, user_id: UUID) -> None:
        """Serve one HTTP request; a session is only for the user and the slug that it began with."""
        owner = AccessToken(token="", client_id=slug, scopes=[], subject=str(user_id))
        headers = [(name, value.strip()) for name, value in scope["headers"]]
        scope = {**scope, "headers": headers, "user": AuthenticatedUser(owner), _SLUG: slug}
        await self._manager.handle_request(scope, receive, send)

    async def _relay(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.request_id is None:
            return await call_next(ctx)
        era = Era.MODERN if ctx.protocol_version == MODERN_VERSION else Era.LEGACY
        channel = ctx.session._request_outbound

        async def notify(message: dict[str, Any]) -> None:
            await channel.notify(message["method"], message.get("params"))

        assert ctx.request is not None
        request = ClientRequest(
            slug=ctx.request.scope[_SLUG],
            method=ctx.method,
            params=dict(ctx.params) if ctx.params is not None else None,
            era=era,
            headers=ctx.request.headers,
            notify=notify,
            stickiness=_stickiness(ctx) if era is Era.LEGACY else None,
        )
        try:
            return await self._answer(request)
        except RpcError as error:
            raise MCPError(error.code, error.message, error.data) from None
        except Exception:
            # The SDK would tell an older client the exception's text.
            log.exception("request_failed", slug=request.slug, method=request.method)
            raise MCPError(INTERNAL_ERROR, "Internal server error") from None


def _stickiness(ctx: ServerRequestContext[Any, Any]) -> Stickiness:
    connection = ctx.session._connection
    known = connection.state.get(_STICKINESS)
    if known is None:
        known = connection.state[_STICKINESS] = Stickiness()
        figures.SESSIONS.inc()
        connection.exit_stack.callback(figures.SESSIONS.dec)
    assert isinstance(known, Stickiness)
    return known
