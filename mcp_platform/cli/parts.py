"""The parts by themselves, as production runs them."""

from datetime import timedelta

import structlog
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.service import RPCError, RPCStatusCode

from api.app import create_app as create_api
from gateway.app import create_app as create_gateway
from mcp_platform.cli.first_admin import ensure_admin
from mcp_platform.cli.serving import listening_socket, serving, told_to_stop
from mcp_platform.connection import connect_temporal, worker_runtime
from mcp_platform.settings import Settings
from storage.sql.migrate import migrate
from storage.stores import open_stores
from worker.app import running_worker

logger = structlog.get_logger(__name__)

_RETENTION = timedelta(days=7)


async def serve_api(settings: Settings) -> None:
    """Serve the API until a signal."""
    listener = listening_socket(settings.api.host, settings.api.port, "MCP_PLATFORM_API__PORT")
    with told_to_stop() as stop:
        async with serving(create_api(settings), listener):
            logger.info("api_ready", address=settings.api_url)
            await stop.wait()


async def serve_gateway(settings: Settings) -> None:
    """Serve the gateway until a signal."""
    own = settings.gateway
    listener = listening_socket(own.host, own.port, "MCP_PLATFORM_GATEWAY__PORT")
    with told_to_stop() as stop:
        async with serving(create_gateway(settings), listener):
            logger.info("gateway_ready", address=settings.gateway_url)
            await stop.wait()


async def serve_worker(settings: Settings) -> None:
    """Run the workers until a signal."""
    client = await connect_temporal(
        settings.temporal_address,
        settings.temporal,
        runtime=worker_runtime(settings.worker.metrics_address),
    )
    with told_to_stop() as stop:
        async with open_stores(settings) as stores, running_worker(settings, client, stores):
            await stop.wait()


async def migrate_schema(settings: Settings) -> None:
    """Bring the schema up to date."""
    await migrate(settings.sql_url)
    logger.info("schema_up_to_date")


async def set_up(settings: Settings) -> None:
    """Register the namespace and make the first administrator, unless they are there."""
    client = await connect_temporal(settings.temporal_address, settings.temporal)
    retention = Duration()
    retention.FromTimedelta(_RETENTION)
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(
                namespace=settings.temporal.namespace, workflow_execution_retention_period=retention
            )
        )
        logger.info("namespace_registered", namespace=settings.temporal.namespace)
    except RPCError as error:
        # Temporal Cloud registers namespaces in its own way and denies it here.
        if error.status not in {RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.PERMISSION_DENIED}:
            raise
    async with open_stores(settings) as stores:
        admin = await ensure_admin(settings, stores, choose_password=False)
    logger.info("set_up", administrator=admin.username if admin else "exists")
