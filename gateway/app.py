"""The gateway, whole: built once in a process, served in the API's process or by itself."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.authorization.advertised import Advertised
from gateway.authorization.challenges import METADATA_PATH, Challenges
from gateway.authorization.resources import Resources
from gateway.background import Background
from gateway.balancing.member import State
from gateway.bridging import Bridging
from gateway.core import Core
from gateway.credentials import Credentials
from gateway.entry import Entry
from gateway.front.server import Front
from gateway.front.sessions import Sessions, SessionStore
from gateway.limits import RateLimits, open_limits
from gateway.listening import Listening
from gateway.opening import Opener
from gateway.rest import RestCalls
from gateway.results import ToolResult
from mcp_platform.errors import (
    NotFound,
)
from mcp_platform.rendering import render_error
from mcp_platform.request_context import RequestContext, current_request_id
from mcp_platform.security.sealing import load_sealer
from mcp_platform.security.tokens import Tokens, load_tokens
from mcp_platform.settings import Settings
from storage.cache.sessions import CachedSessions
from storage.sql.audit import AuditLog
from storage.sql.sessions import KeptSessions
from storage.stores import Stores, open_stores

log = structlog.get_logger(__name__)


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
        self._settings = settings
        self._cache = stores.cache
        self._rates = rates
        self._background = Background()
        sealer = load_sealer(settings)
        audit = AuditLog(stores.database, sealer)
        self._opener = Opener(settings, stores, sealer, self._background.spawn)
        self._core = Core(settings.gateway, stores, audit, self._opener, self._background.spawn)
        self._routes, self._relay, self._meter = self._core.routes, self._core.relay, self._core.meter
        self.policies, self.policy = self._core.policies, self._core.policy
        self.several, self.tool_lists = self._core.several, self._core.tool_lists
        resources = Resources(settings.gateway_url)
        self._advertised = Advertised(stores.database, settings.oauth.advertise_smart)
        self.challenges = Challenges(resources, self._advertised, settings.issuer)
        self.credentials = Credentials(stores.database, stores.cache, tokens, resources)
        self._front = self._open_front(settings, stores)
        self._rest = RestCalls(self._relay, self._core.calls)
        self._entry = Entry(
            settings,
            self.credentials,
            rates,
            self._relay,
            self._front,
            self._rest,
            self.policies,
            self.challenges,
            self.several.groups,
        )
        self.bridging = Bridging(
            settings,
            stores,
            self.credentials,
            rates,
            self._entry.check_origin,
            self._core,
            audit,
            self._opener,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Read the routes, and keep them, the credentials and the figures current from now on."""
        interval = self._settings.gateway.refresh_interval
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._meter.close)
            stack.push_async_callback(self._core.reporter.close)
            stack.push_async_callback(self._opener.http.close)
            await stack.enter_async_context(self.credentials.running())
            await stack.enter_async_context(self._background.running())
            await self._core.open(stack)
            await self._advertised.refresh()
            await self.bridging.refresh()
            stack.callback(self.bridging.close)
            loops = [
                *self._core.loops(),
                *self.bridging.loops(),
                self._advertised.follow(self._cache),
                self._advertised.refresh_forever(interval),
            ]
            await stack.enter_async_context(self._background.looping(loops))
            await stack.enter_async_context(self._front.running())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop, close every upstream, and write the last figures."""
        await self._stack.aclose()

    def say_farewell(self) -> None:
        """End the streams that last: the server is about to stop, and would wait for them."""
        self._front.end_streams()

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
        return await self._rest.call(slug, tool, arguments, timeout or self._settings.gateway.call_timeout)

    def snapshot(self) -> Snapshot:
        """Tell what the gateway does at this moment."""
        upstreams = [upstream for live in self._routes.all for upstream in live.upstreams]
        states = [each.state for live in self._routes.all for each in live.state()]
        resting = sum(state is not State.READY for state in states)
        return Snapshot(len(self._routes.all), len(upstreams), resting, self._relay.active)

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request whose path begins with `/mcp/`."""
        if scope["type"] == "http" and self.bridging.bridge.owns(scope["path"]):
            await self.bridging.bridge.serve(scope, receive, send)
            return
        await self._entry.asgi(scope, receive, send)

    def _open_front(self, settings: Settings, stores: Stores) -> Front:
        own = settings.gateway
        listening = Listening(self._relay, self.policy, self.several.groups, self._background.spawn)
        sessions = Sessions(
            _session_store(settings, stores),
            stores.publish,
            listening.end,
            own.session_idle_timeout,
            own.most_sessions,
            own.most_sessions_of_one,
        )
        listen = self.several.listening(listening.follow)
        return Front(self._core.answer, sessions, listen, listening.tell, stores.cache)


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
            app.state.farewell = gateway.say_farewell
            yield

    routes = [
        Route("/health", _health),
        Route("/actuator/health", _actuator),
        Route("/metrics", _metrics),
        Route(f"{METADATA_PATH}{{path:path}}", _metadata),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestContext),
            Middleware(McpFirst, gateway_of=lambda app: app.state.gateway),
        ],
        lifespan=lifespan,
    )


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok", "gateway": asdict(request.app.state.gateway.snapshot())})


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _metadata(request: Request) -> Response:
    try:
        told = request.app.state.gateway.challenges.metadata(request.path_params["path"])
    except NotFound as error:
        status, body, headers = render_error(error, current_request_id())
        return JSONResponse(body, status, headers)
    return JSONResponse(told)


async def _actuator(request: Request) -> Response:
    gateway: Gateway = request.app.state.gateway
    return await gateway.bridging.bridge.health()


class McpFirst:
    """Hands requests beneath `/mcp/` to the gateway, before any router looks at them: there are many."""

    def __init__(self, app: ASGIApp, gateway_of: Callable[[Any], Gateway]) -> None:
        self._app = app
        self._gateway_of = gateway_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].startswith("/mcp/"):
            await self._gateway_of(scope["app"]).asgi(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _session_store(settings: Settings, stores: Stores) -> SessionStore:
    idle = settings.gateway.session_idle_timeout
    return CachedSessions(stores.cache, idle) if settings.cache.url else KeptSessions(stores.database, idle)
