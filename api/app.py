"""The application: routes, middleware, and the parts that its lifespan owns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send
from temporalio.client import Client

from api import health, live, registry
from api.audit import AuditTrail
from api.body_limit import BodyLimit
from api.dependencies import unmetered
from api.errors import install_error_handlers
from api.openapi import install_openapi
from api.opening import opened_parts
from api.v1 import access, analysis, audit, deployments, knowledge, mcps, secrets, tasks
from api.v1.knowledge.documents import DOCUMENTS_PATH, LONGEST_DOCUMENT
from api.v1.knowledge.uploads import FORM_OVERHEAD, UPLOAD_PATH
from gateway.app import Gateway
from mcp_platform import __version__
from mcp_platform.request_context import RequestContext
from mcp_platform.settings import Mode, Settings

_V1_ROUTERS = (
    # Those that are asked most come first: FastAPI tries one route after the other.
    tasks.router,
    *mcps.ROUTERS,
    deployments.router,
    *knowledge.ROUTERS,
    analysis.router,
    *access.ROUTERS,
    secrets.router,
    audit.router,
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
        app.router.routes.append(Mount("/mcp", app=_to_gateway))
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
    }
    app.add_middleware(BodyLimit, limit=limit, others=others)
    app.add_middleware(AuditTrail)
    app.add_middleware(RequestContext)


def _add_routes(app: FastAPI) -> None:
    for router in _V1_ROUTERS:
        # Each by itself: a router within a router is walked through twice for each request.
        app.include_router(router, prefix="/api/v1")
    for router in (live.router, health.router, registry.router):
        app.include_router(router)


async def _to_docs() -> RedirectResponse:
    """Lead whoever opens the bare address in a browser to something to read."""
    return RedirectResponse("/api/docs")


async def _to_gateway(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request beneath `/mcp` to the gateway of this process."""
    gateway: Gateway = scope["app"].state.parts.gateway
    await gateway.asgi(scope, receive, send)
