"""Opens what the API's routes work with, in the order in which one needs the other."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from temporalio.client import Client

from activities.clients.embeddings import open_model
from api.admissions import Admissions
from api.audit_recorder import AuditRecorder
from api.knowledge_answers import answer_searches
from api.listeners import Listeners
from api.oauth.clients import Clients
from api.parts import Parts
from api.status_hub import StatusHub
from api.task_reader import TaskReader
from gateway.app import Gateway
from gateway.authorization.outbound import Outbound
from gateway.credentials import Credentials
from gateway.discovery.known_servers import KnownServers
from gateway.limits import RateLimits, open_limits
from mcp_platform.connection import connect_temporal
from mcp_platform.security.sealing import Sealer, load_sealer
from mcp_platform.security.tokens import Tokens, load_tokens
from mcp_platform.settings import Mode, Settings
from storage.knowledge.library import Library
from storage.logs import LogReader
from storage.sql.audit import AuditLog
from storage.stores import Stores, open_stores


@asynccontextmanager
async def opened_parts(settings: Settings, temporal: Client | None) -> AsyncIterator[Parts]:
    """Open all parts of one API process; close them in the opposite order.

    Args:
        settings: Where everything is.
        temporal: A client to use instead of a new one, for a process that has one already.
    """
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings))
        # Lazy: the API starts, and says what is wrong, while Temporal is away.
        client = temporal or await connect_temporal(settings.temporal_address, settings.temporal, lazy=True)
        tokens, sealer = load_tokens(settings), load_sealer(settings)
        audit = await _open_audit(stores, sealer, stack)
        await stack.enter_async_context(_running(stores.reads.follow()))
        limits = await stack.enter_async_context(open_limits(settings, stores.cache))
        gateway, credentials = await _open_gateway(settings, stores, tokens, limits, stack)
        hub = StatusHub(reader := TaskReader(stores, client), client)
        listeners, admissions = Listeners(stores, reader, hub), Admissions(credentials)
        library, logs = await _open_library(settings, stores, stack), LogReader(settings.replica_log_folder)
        for part in (hub, listeners, admissions, logs):
            await stack.enter_async_context(part.open())
        yield Parts(
            settings=settings,
            stores=stores,
            temporal=client,
            tokens=tokens,
            sealer=sealer,
            credentials=credentials,
            limits=limits,
            audit=audit,
            tasks=reader,
            hub=hub,
            listeners=listeners,
            admissions=admissions,
            gateway=gateway,
            knowledge=library,
            known_servers=KnownServers(stores),
            logs=logs,
            oauth_clients=_oauth_clients(stores, stack),
        )


async def _open_library(settings: Settings, stores: Stores, stack: AsyncExitStack) -> Library:
    """Open the knowledge base, and let workers search it too."""
    library = _library(settings, stores)
    await stack.enter_async_context(library.open())
    await stack.enter_async_context(_running(answer_searches(stores, library)))
    return library


async def _open_audit(stores: Stores, sealer: Sealer, stack: AsyncExitStack) -> AuditRecorder:
    audit = AuditRecorder(AuditLog(stores.database, sealer))
    await stack.enter_async_context(audit.open())
    return audit


def _oauth_clients(stores: Stores, stack: AsyncExitStack) -> Clients:
    # Whoever can sign in names these addresses: unlike those of remote servers they are never private.
    outbound = Outbound(private=False)
    stack.push_async_callback(outbound.close)
    return Clients(stores, outbound)


async def _open_gateway(
    settings: Settings, stores: Stores, tokens: Tokens, limits: RateLimits, stack: AsyncExitStack
) -> tuple[Gateway | None, Credentials]:
    """Open the gateway, where this process is one too, and give the credentials that both use."""
    if settings.mode is not Mode.EMBEDDED:
        credentials = Credentials(stores.database, stores.cache, tokens)
        await stack.enter_async_context(credentials.running())
        return None, credentials
    gateway = Gateway(settings, stores, tokens, limits)
    await stack.enter_async_context(gateway)
    return gateway, gateway.credentials


def _library(settings: Settings, stores: Stores) -> Library:
    own = settings.knowledge
    return Library(stores, partial(open_model, settings=own), own.embedding_model, own.refresh_interval)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something without an end while the body runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
