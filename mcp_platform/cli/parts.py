"""The parts by themselves, as production runs them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
from google.protobuf.duration_pb2 import Duration
from starlette.applications import Starlette
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.service import RPCError, RPCStatusCode

from api.app import create_app as create_api
from gateway.app import create_app as create_gateway
from mcp_platform.cli.data_dir import prepare_data_dir
from mcp_platform.cli.first_admin import ensure_admin
from mcp_platform.cli.serving import forever, listening_socket, run_until_told, serving, spare_collections
from mcp_platform.cli.trouble import connect, told_plainly
from mcp_platform.connection import worker_runtime
from mcp_platform.settings import Mode, Settings
from storage.sql.migrate import migrate
from storage.stores import open_stores
from worker.app import running_worker
from worker.figures import create_app as create_figures

logger = structlog.get_logger(__name__)

_RETENTION = timedelta(days=7)


async def serve_api(settings: Settings) -> None:
    """Serve the API until a signal."""
    _prepare(settings)
    own = settings.api
    work = _serve(create_api(settings), own.host, own.port, "MCP_PLATFORM_API__PORT")
    await run_until_told(work)


async def serve_gateway(settings: Settings) -> None:
    """Serve the gateway until a signal."""
    _prepare(settings)
    own = settings.gateway
    work = _serve(create_gateway(settings), own.host, own.port, "MCP_PLATFORM_GATEWAY__PORT")
    await run_until_told(work)


async def serve_worker(settings: Settings) -> None:
    """Run the workers until a signal."""
    _prepare(settings)
    await run_until_told(_work(settings))


async def migrate_schema(settings: Settings) -> None:
    """Bring the schema up to date."""
    _prepare(settings)
    with told_plainly():
        await migrate(settings.sql_url)
    logger.info("schema_up_to_date")


async def set_up(settings: Settings) -> None:
    """Register the namespace and make the first administrator, unless they are there."""
    _prepare(settings)
    with told_plainly():
        await _ensure_namespace(settings)
        async with open_stores(settings) as stores:
            admin = await ensure_admin(settings, stores, choose_password=False)
    logger.info("set_up", administrator=admin.username if admin else "exists")


def _prepare(settings: Settings) -> None:
    """Make the data directory where this part would keep something in it; in production none does."""
    if settings.mode is Mode.EMBEDDED:
        prepare_data_dir(settings)


async def _serve(app: Starlette, host: str, port: int, option: str) -> None:
    listener = listening_socket(host, port, option)
    with told_plainly(), listener:
        async with serving(app, listener):
            spare_collections()
            logger.info("listening", host=host, port=port)
            await forever()


async def _work(settings: Settings) -> None:
    with told_plainly():
        client = await connect(
            settings.temporal_address,
            settings,
            runtime=worker_runtime(settings.worker.metrics_address),
        )
        async with (
            open_stores(settings) as stores,
            running_worker(settings, client, stores),
            _figures_served(settings.worker.figures_address),
        ):
            await forever()


@asynccontextmanager
async def _figures_served(address: str | None) -> AsyncIterator[None]:
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    listener = listening_socket(host.strip("[]"), int(port), "MCP_PLATFORM_WORKER__FIGURES_ADDRESS")
    with listener:
        async with serving(create_figures(), listener):
            yield


async def _ensure_namespace(settings: Settings) -> None:
    client = await connect(settings.temporal_address, settings)
    retention = Duration()
    retention.FromTimedelta(_RETENTION)
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(
                namespace=settings.temporal.namespace, workflow_execution_retention_period=retention
            ),
            retry=True,
        )
        logger.info("namespace_registered", namespace=settings.temporal.namespace)
    except RPCError as error:
        # Temporal Cloud registers namespaces in its own way and denies it here.
        if error.status not in {RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.PERMISSION_DENIED}:
            raise
