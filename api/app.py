"""The application: routes, middleware, and the parts that its lifespan owns."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send
from temporalio.client import Client

from activities.clients.embeddings import open_model
from api import health, live, registry
from api.admissions import Admissions
from api.audit import AuditTrail
from api.audit_recorder import AuditRecorder
from api.body_limit import BodyLimit
from api.dependencies import unmetered
from api.errors import install_error_handlers
from api.listeners import Listeners
from api.openapi import install_openapi
from api.parts import Parts
from api.status_hub import StatusHub
from api.task_reader import TaskReader
from api.v1 import access, analysis, audit, deployments, knowledge, mcps, secrets, tasks
from api.v1.knowledge.uploads import FORM_OVERHEAD, UPLOAD_PATH
from gateway.app import Gateway
from gateway.credentials import Credentials
from gateway.limits import open_limits
from mcp_platform import __version__
from mcp_platform.connection import connect_temporal
from mcp_platform.request_context import RequestContext
from mcp_platform.security.sealing import load_sealer
from mcp_platform.security.tokens import load_tokens
from mcp_platform.settings import Mode, Settings
from storage.knowledge.library import Library
from storage.sql.audit import AuditLog
from storage.stores import Stores, open_stores

V1_ROOMS = (
    access.router,
    mcps.router,
    secrets.router,
    tasks.router,
    analysis.router,
    deployments.router,
    audit.router,
    knowledge.router,
)


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
    for room in V1_ROOMS:
        # One level: FastAPI walks through a router that holds routers twice for each request.
        app.include_router(room, prefix="/api/v1")
    app.include_router(live.router)
    app.include_router(health.router)
    app.include_router(registry.router)
    app.add_api_route("/", _to_docs, include_in_schema=False, dependencies=[Depends(unmetered)])
    if settings.mode is Mode.EMBEDDED:
        app.router.routes.append(Mount("/mcp", app=_to_gateway))
    install_error_handlers(app)
    install_openapi(app)
    # The one added last is the outermost: an id first, so that a refused body has one too.
    uploads = {UPLOAD_PATH: settings.knowledge.max_upload_bytes + FORM_OVERHEAD}
    app.add_middleware(BodyLimit, limit=settings.api.max_body_bytes, others=uploads)
    app.add_middleware(AuditTrail)
    app.add_middleware(RequestContext)
    return app


async def _open_parts(settings: Settings, temporal: Client | None, stack: AsyncExitStack) -> Parts:
    stores = await stack.enter_async_context(open_stores(settings))
    tokens = load_tokens(settings)
    # Lazy: the API starts, and says what is wrong, while Temporal is away.
    client = temporal or await connect_temporal(settings.temporal_address, settings.temporal, lazy=True)
    sealer = load_sealer(settings)
    recorder = AuditRecorder(AuditLog(stores.database, sealer))
    await stack.enter_async_context(recorder.open())
    reader = TaskReader(stores, client)
    hub = StatusHub(reader, client)
    listeners = Listeners(stores, reader, hub)
    await stack.enter_async_context(_running(stores.reads.follow()))
    library = _library(settings, stores)
    await stack.enter_async_context(library.open())
    limits = await stack.enter_async_context(open_limits(settings, stores.cache))
    gateway = None
    if settings.mode is Mode.EMBEDDED:
        gateway = Gateway(settings, stores.database, stores.documents, stores.cache, tokens, limits)
        await stack.enter_async_context(gateway)
    await stack.enter_async_context(hub.open())
    await stack.enter_async_context(listeners.open())
    credentials = gateway.credentials if gateway else Credentials(stores.database, stores.cache, tokens)
    if gateway is None:
        await stack.enter_async_context(credentials.running())
    admissions = Admissions(credentials)
    await stack.enter_async_context(admissions.open())
    return Parts(
        settings=settings,
        stores=stores,
        temporal=client,
        tokens=tokens,
        sealer=sealer,
        credentials=credentials,
        limits=limits,
        audit=recorder,
        tasks=reader,
        hub=hub,
        listeners=listeners,
        admissions=admissions,
        gateway=gateway,
        knowledge=library,
    )


def _library(settings: Settings, stores: Stores) -> Library:
    own = settings.knowledge
    opener = partial(open_model, settings=own)
    return Library(stores, opener, own.embedding_model, own.refresh_interval)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something without an end while the body runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _to_docs() -> RedirectResponse:
    """Lead whoever opens the bare address in a browser to something to read."""
    return RedirectResponse("/api/docs")


async def _to_gateway(scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request beneath `/mcp` to the gateway of this process."""
    gateway: Gateway = scope["app"].state.parts.gateway
    await gateway.asgi(scope, receive, send)
