"""The gateway, whole: built once in a process, served in the API's process or by itself."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from gateway.bodies import read_body, replay
from gateway.credentials import Credentials
from gateway.downstream import Downstream
from gateway.endpoint import Endpoint
from gateway.headers import target_of
from gateway.limits import RateLimits, open_limits
from gateway.metering import Meter
from gateway.relay import Relay
from gateway.rest import RestCalls
from gateway.results import ToolResult
from gateway.routes import RouteTable
from gateway.upstreams.exchange import Limits
from gateway.upstreams.upstream import Upstream
from mcp_platform.client_address import client_address
from mcp_platform.contracts import deployments
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.errors import (
    Forbidden,
    ForbiddenOrigin,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PlatformError,
    Unauthorized,
    Unavailable,
)
from mcp_platform.names import RouteClass
from mcp_platform.rendering import render_error, render_unexpected
from mcp_platform.request_context import RequestContext, current_request_id, read_on
from mcp_platform.security.sealing import load_sealer
from mcp_platform.security.tokens import Tokens, load_tokens
from mcp_platform.settings import Settings
from mcp_platform.variables import Variables
from storage.secrets import SecretValues
from storage.stores import Stores, open_stores

log = structlog.get_logger(__name__)

_PATH = re.compile(r"^/mcp/(?P<slug>[a-z0-9-]+)/v1(?:/tools/(?P<tool>.+)|/?)$")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_RECHECK = 60.0
"""Seconds after which the credential of an open stream is looked at, in case a message was lost."""
_UPSTREAM_KEEPALIVE = 4.0
"""Seconds; shorter than common servers keep an idle connection, so that none is closed as we write."""


@dataclass(frozen=True)
class Snapshot:
    """What the gateway does at this moment, for `/health`."""

    slugs: int
    upstreams: int
    resting_upstreams: int
    active_requests: int


class Gateway:
    """Serves everything under `/mcp/`, and tool calls of the platform itself."""

    def __init__(self, settings: Settings, stores: Stores, tokens: Tokens, rates: RateLimits) -> None:
        own = settings.gateway
        self._settings = settings
        database, cache = stores.database, stores.cache
        self._documents = stores.documents
        environment = Variables(os.environ, settings.replicas.exposed_environment)
        self._secrets = SecretValues(database, load_sealer(settings), environment)
        self._cache = cache
        self._rates = rates
        self._limits = Limits(own.connect_timeout, own.call_timeout, own.max_response_bytes)
        self.credentials = Credentials(database, cache, tokens)
        self._meter = Meter(database, own.flush_interval)
        self._routes = RouteTable(database, self._open_upstream)
        self._relay = Relay(self._routes, self._meter)
        endpoint = Endpoint(self._relay, own.call_timeout)
        self._downstream = Downstream(endpoint.answer, own.max_body_bytes, own.session_idle_timeout)
        self._rest = RestCalls(self._relay)
        self._hosts = _hosts(settings.gateway_url)
        self._stack = AsyncExitStack()
        self._http: aiohttp.ClientSession
        self._tasks: asyncio.TaskGroup

    async def __aenter__(self) -> Self:
        """Read the routes, and keep them, the credentials and the figures current from now on."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._meter.flush)
            self._http = await stack.enter_async_context(_http_session())
            await stack.enter_async_context(self.credentials.running())
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            stack.push_async_callback(self._routes.close)
            await self._routes.refresh()
            loops = [
                self._routes.follow(self._cache),
                self._routes.refresh_forever(self._settings.gateway.refresh_interval),
                self._meter.flush_forever(),
            ]
            running = [self._tasks.create_task(loop) for loop in loops]
            stack.callback(lambda: [task.cancel() for task in running])
            await stack.enter_async_context(self._downstream.running())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop, close every upstream, and write the last figures."""
        await self._stack.aclose()

    async def call_tool(
        self, slug: str, tool: str, arguments: dict[str, Any], *, timeout: float | None = None
    ) -> ToolResult:
        """Call a tool by the path that everybody's calls take.

        Raises:
            NotFound: There is no such slug, or no such tool.
            Unavailable: No replica is healthy.
            ToolFailed: The server refused the arguments.
            UpstreamFailed: The server broke during the call.
            UpstreamTimedOut: It did not answer in time.
        """
        return await self._rest.call(slug, tool, arguments, timeout or self._limits.call_timeout)

    def snapshot(self) -> Snapshot:
        """Tell what the gateway does at this moment."""
        upstreams = [upstream for live in self._routes.all for upstream in live.upstreams]
        resting = sum(upstream.resting for upstream in upstreams)
        return Snapshot(len(self._routes.all), len(upstreams), resting, self._relay.active)

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request whose path begins with `/mcp/`."""
        if scope["type"] != "http":
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._serve(scope, receive, watched)
        except PlatformError as error:
            rendered = render_error(error, current_request_id())
            if isinstance(error, PayloadTooLarge):
                await read_on(receive)
        except Exception:
            log.exception("request_failed", path=scope["path"])
            rendered = render_unexpected(current_request_id())
        else:
            return
        status, body, headers = rendered
        if not begun:
            await JSONResponse(body, status, headers)(scope, receive, send)
        elif status == Unauthorized.status:
            # A stream whose credential ended: it ends in order, and the client asks again.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._check_origin(headers)
        principal = await self._authorize(scope, headers)
        match = _PATH.match(scope["path"])
        if match is None:
            raise NotFound("path", scope["path"])
        slug, tool, limit = match["slug"], match["tool"], self._settings.gateway.max_body_bytes
        if principal.mcp_ids is not None and not principal.may_use(self._routes.find(slug).route.mcp_id):
            raise Forbidden(Permission.TOOLS_CALL, "This API key is not for this MCP")
        if tool is None:
            self._relay.check(slug)
            if scope["method"] == "POST":
                receive = replay(await read_body(receive, limit), receive)
            work = self._downstream.serve(scope, receive, send, slug, principal.user_id)
            # A call has a deadline; a stream of events would outlive its credential.
            await (self._while_admitted(headers, principal, work) if scope["method"] == "GET" else work)
            return
        if scope["method"] != "POST":
            raise MethodNotAllowed("POST")
        response = await self._rest.answer(slug, tool, receive, limit, self._limits.call_timeout)
        await response(scope, receive, send)

    async def _while_admitted(
        self, headers: Mapping[str, str], principal: Principal, work: Coroutine[Any, Any, None]
    ) -> None:
        serving = asyncio.create_task(work)
        watching = asyncio.create_task(self._until_refused(headers, principal))
        try:
            await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                raise Unauthorized("The credential does not hold any more")
            serving.result()
        finally:
            serving.cancel()
            watching.cancel()
            await asyncio.gather(serving, watching, return_exceptions=True)

    async def _until_refused(self, headers: Mapping[str, str], principal: Principal) -> None:
        """Return once the credential has ended, or does not allow calls any more."""
        generation = self.credentials.generation
        while principal.expires_at is None or principal.expires_at > datetime.now(UTC):
            ends = principal.expires_at
            left = (ends - datetime.now(UTC)).total_seconds() if ends else _RECHECK
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _RECHECK)):
                    generation = await self.credentials.next_change(generation)
            try:
                present = await self.credentials.authenticate(headers)
            except Unauthorized:
                return
            except Unavailable:
                continue
            if Permission.TOOLS_CALL not in present.permissions:
                return

    async def _authorize(self, scope: Scope, headers: Mapping[str, str]) -> Principal:
        try:
            principal = await self.credentials.authenticate(headers)
        except Unauthorized:
            address = client_address(scope, self._settings.api.trusted_proxies)
            await self._rates.charge_address(scope, RouteClass.CALL, address)
            raise
        await self._rates.charge(scope, RouteClass.CALL, principal)
        if Permission.TOOLS_CALL not in principal.permissions:
            raise Forbidden(Permission.TOOLS_CALL)
        return principal

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse pages of other sites. The Host header proves nothing here: DNS rebinding forges it."""
        origin = headers.get("origin")
        if origin is None:
            return
        try:
            known = urlsplit(origin).hostname in self._hosts
        except ValueError:
            known = False
        if not known:
            raise ForbiddenOrigin(origin)

    def _open_upstream(self, route: deployments.Route, address: deployments.UpstreamAddress) -> Upstream:
        target = partial(target_of, self._documents, self._secrets, route, address)
        return Upstream(address, self._http, target, self._limits, self._spawn)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("background_work_failed")

        self._tasks.create_task(guarded())


def create_app(settings: Settings) -> Starlette:
    """Build the gateway by itself, with stores of its own."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tokens = load_tokens(settings)
        async with (
            open_stores(settings) as stores,
            open_limits(settings, stores.cache) as rates,
            Gateway(settings, stores, tokens, rates) as gateway,
        ):
            app.state.gateway = gateway
            yield

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.gateway.asgi(scope, receive, send)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "gateway": asdict(request.app.state.gateway.snapshot())})

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Route("/health", health), Route("/metrics", metrics), Mount("/mcp", app=serve)],
        middleware=[Middleware(RequestContext)],
        lifespan=lifespan,
    )


def _http_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_UPSTREAM_KEEPALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "mcp-platform-gateway"},
    )


def _hosts(url: str) -> frozenset[str]:
    host = urlsplit(url).hostname or ""
    return _LOOPBACK if host in _LOOPBACK else frozenset({host})
