"""The application: routes, middleware, and the parts that its lifespan owns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from temporalio.client import Client

from api import health, live, registry
from api.audit import AuditTrail
from api.body_limit import BodyLimit
from api.dependencies import unmetered
from api.errors import install_error_handlers
from api.oauth.routes import ROUTERS as OAUTH_ROUTERS
from api.openapi import install_openapi
from api.opening import opened_parts
from api.v1 import (
    access,
    analysis,
    audit,
    builds,
    calls,
    deployments,
    figures,
    github,
    groups,
    knowledge,
    known_servers,
    logs,
    mcps,
    model_usage,
    policies,
    secrets,
    tasks,
    tools,
)
from api.v1.github.webhook import LONGEST_DELIVERY, WEBHOOK_PATH
from api.v1.knowledge.documents import DOCUMENTS_PATH, LONGEST_DOCUMENT
from api.v1.knowledge.uploads import FORM_OVERHEAD, UPLOAD_PATH
from gateway.app import Gateway, McpFirst
from mcp_platform import __version__
from mcp_platform.request_context import RequestContext
from mcp_platform.settings import Mode, Settings

_V1_ROUTERS = (
    # Those that are asked most come first: FastAPI tries one route after the other.
    tasks.router,
    builds.router,
    *mcps.ROUTERS,
    policies.router,
    *deployments.ROUTERS,
    figures.router,
    logs.router,
    *knowledge.ROUTERS,
    analysis.router,
    known_servers.router,
    *github.ROUTERS,
    *access.ROUTERS,
    secrets.router,
    groups.router,
    tools.router,
    audit.router,
    calls.router,
    model_usage.router,
)


def create_app(settings: Settings, temporal: Client | None = None) -> FastAPI:
    """Build the API; in embedded mode with the gateway beneath `/mcp`.

    Args:
        settings: Where everything is.
        temporal: A client to use instead of a new one, for a process that has one already.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opened_parts(settings, temporal) as parts:
            app.state.parts = parts
            if parts.gateway is not None:
                app.state.farewell = parts.gateway.say_farewell
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
    _add_routes(app)
    app.add_api_route("/", _to_docs, include_in_schema=False, dependencies=[Depends(unmetered)])
    if settings.mode is Mode.EMBEDDED:
        app.add_api_route(
            "/actuator/health", _actuator, include_in_schema=False, dependencies=[Depends(unmetered)]
        )
    install_error_handlers(app)
    install_openapi(app)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Surround the routes. The one added last is the outermost: a refusal has an id too."""
    limit = settings.api.max_body_bytes
    longest = max(LONGEST_DOCUMENT, limit)
    others = {
        UPLOAD_PATH: settings.knowledge.max_upload_bytes + FORM_OVERHEAD,
        DOCUMENTS_PATH: longest,
        f"{DOCUMENTS_PATH}/": longest,
        WEBHOOK_PATH: LONGEST_DELIVERY,
    }
    app.add_middleware(BodyLimit, limit=limit, others=others)
    app.add_middleware(AuditTrail)
    if settings.mode is Mode.EMBEDDED:
        app.add_middleware(McpFirst, gateway_of=lambda served: served.state.parts.gateway)
    app.add_middleware(RequestContext)


def _add_routes(app: FastAPI) -> None:
    for router in _V1_ROUTERS:
        # Each by itself: a router within a router is walked through twice for each request.
        app.include_router(router, prefix="/api/v1")
    for router in (live.router, health.router, registry.router, *OAUTH_ROUTERS):
        app.include_router(router)


async def _to_docs() -> RedirectResponse:
    """Lead whoever opens the bare address in a browser to something to read."""
    return RedirectResponse("/api/docs")


async def _actuator(request: Request) -> Response:
    """Answer how the platform fares, in the bridge's words."""
    gateway: Gateway = request.app.state.parts.gateway
    return await gateway.bridging.bridge.health()
