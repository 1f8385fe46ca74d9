"""The application: routes, middleware, and the parts that its lifespan owns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send
from temporalio.client import Client

from api import health, live
from api.body_limit import BodyLimit
from api.dependencies import public
from api.errors import install_error_handlers
from api.listeners import Listeners
from api.parts import Parts
from api.status_hub import StatusHub
from api.task_reader import TaskReader
from api.v1 import access, analysis, deployments, mcps, tasks
from gateway.app import Gateway
from gateway.credentials import Credentials
from mcp_platform import __version__
from mcp_platform.connection import connect_temporal
from mcp_platform.request_context import RequestContext
from mcp_platform.security.keys import load_master_key
from mcp_platform.security.sealing import Sealer
from mcp_platform.security.tokens import Tokens
from mcp_platform.settings import Mode, Settings
from storage.stores import open_stores

V1_ROOMS = (access.router, mcps.router, tasks.router, analysis.router, deployments.router)


def create_app(settings: Settings, temporal: Client | None = None) -> FastAPI:
    """Build the API; in embedded mode with the gateway beneath `/mcp`.

    Args:
        settings: Where everything is.
        temporal: A client to use instead of a new one, for a process that has one already.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.parts = await _open_parts(settings, temporal, stack)
            yield

    # The pages' scripts come from a package, not from somebody's servers: they work without internet.
    app = FastAPIOffline(
        title="MCP Platform",
        version=__version__,
        summary="Takes MCP servers from an idea to production, and keeps them there.",
        docs_url="/api/docs",
        swagger_ui_oauth2_redirect_url="/api/docs/oauth2-redirect",
        redoc_url="/api/redoc",
        openapi_url="/api/openapi.json",
        static_url="/api/static",
        lifespan=lifespan,
    )
    v1 = APIRouter(prefix="/api/v1")
    for room in V1_ROOMS:
        v1.include_router(room)
    app.include_router(v1)
    app.include_router(live.router)
    app.include_router(health.router)
    app.add_api_route("/", _to_docs, include_in_schema=False, dependencies=[Depends(public)])
    if settings.mode is Mode.EMBEDDED:
        app.router.routes.append(Mount("/mcp", app=_to_gateway))
    install_error_handlers(app)
    # The one added last is the outermost: an id first, so that a refused body has one too.
    app.add_middleware(BodyLimit, limit=settings.api.max_body_bytes)
    app.add_middleware(RequestContext)
    return app


async def _open_parts(settings: Settings, temporal: Client | None, stack: AsyncExitStack) -> Parts:
    stores = await stack.enter_async_context(open_stores(settings))
    security = settings.security
    key = load_master_key(settings)
    tokens = Tokens(key, security.access_ttl, security.refresh_ttl)
    # Lazy: the API starts, and says what is wrong, while Temporal is away.
    client = temporal or await connect_temporal(settings.temporal_address, settings.temporal, lazy=True)
    reader = TaskReader(stores, client)
    hub = StatusHub(reader, client)
    listeners = Listeners(stores, hub)
    gateway = None
    if settings.mode is Mode.EMBEDDED:
        gateway = Gateway(settings, stores.database, stores.documents, stores.cache, tokens)
        await stack.enter_async_context(gateway)
    await stack.enter_async_context(hub.open())
    await stack.enter_async_context(listeners.open())
    credentials = gateway.credentials if gateway else Credentials(stores.database, stores.cache, tokens)
    if gateway is None:
        await stack.enter_async_context(_following(credentials))
    return Parts(settings, stores, client, tokens, Sealer(key), credentials, reader, hub, listeners, gateway)


@asynccontextmanager
async def _following(credentials: Credentials) -> AsyncIterator[None]:
    """Hear of revoked keys while the body runs."""
    follower = asyncio.create_task(credentials.follow())
    try:
        yield
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def _to_docs() -> RedirectResponse:
    """Lead whoever opens the bare address in a browser to something to read."""
    return RedirectResponse("/api/docs")


async def _to_gateway(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request beneath `/mcp` to the gateway of this process."""
    gateway: Gateway = scope["app"].state.parts.gateway
    await gateway.asgi(scope, receive, send)
