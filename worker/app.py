"""Puts the workers together and runs them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

from activities.analysis import AnalysisActivities
from activities.clients.embeddings import open_model
from activities.clients.probe import McpProbe
from activities.clients.processes import ProcessDriver
from activities.clients.remotes import RemoteDriver
from activities.deployments import DeploymentActivities
from activities.drivers import ReplicaDriver
from activities.feasibility_rules import RuleAnalyst
from activities.knowledge import KnowledgeActivities
from activities.mcps import McpActivities
from activities.monitoring import MonitoringActivities
from activities.tasks import TaskActivities
from mcp_platform import __version__
from mcp_platform.contracts.deployments import Driver
from mcp_platform.names import TaskQueue
from mcp_platform.security.sealing import load_sealer
from mcp_platform.settings import Settings
from mcp_platform.variables import Variables
from storage.knowledge.passages import split_document
from storage.secrets import SecretValues
from storage.sql.audit import AuditLog
from storage.stores import Stores
from worker.catalogue import WORKFLOWS
from worker.schedules import ensure_schedules

logger = structlog.get_logger(__name__)

_FAREWELL = timedelta(seconds=1)
"""How long running activities get to finish when the worker stops, before they are cancelled."""
_LARGEST_BEAT_INTERVAL = timedelta(seconds=2)
"""How late, at most, a running activity hears that it was cancelled."""


@asynccontextmanager
async def running_worker(settings: Settings, temporal: Client, stores: Stores) -> AsyncIterator[None]:
    """Workers for every queue, and their schedules; at the end their replicas are gone too."""
    async with AsyncExitStack() as stack:
        probe = await stack.enter_async_context(McpProbe())
        drivers: dict[Driver, ReplicaDriver] = {Driver.REMOTE: RemoteDriver()}
        processes = None
        if settings.process_driver:
            processes = ProcessDriver(settings.instance_id, settings.replicas.stop_grace)
            stack.push_async_callback(processes.close)
            drivers[Driver.PROCESS] = processes
        variables = Variables(os.environ, settings.replicas.exposed_environment)
        secrets = SecretValues(stores.database, load_sealer(settings), variables)
        deployments = DeploymentActivities(stores, drivers, probe, secrets)
        audit = AuditLog(stores.database, load_sealer(settings))
        knowledge = KnowledgeActivities(
            stores,
            split_document,
            partial(open_model, settings=settings.knowledge),
            settings.knowledge.embedding_model,
        )
        stack.push_async_callback(knowledge.close)
        monitoring = MonitoringActivities(
            stores,
            temporal,
            processes,
            settings.replicas.order_for,
            audit,
            settings.audit.retention_days,
            knowledge,
        )
        await monitoring.forget_lost_replicas()
        await stack.enter_async_context(
            _working(_workers(settings, temporal, stores, deployments, knowledge, monitoring))
        )
        await ensure_schedules(temporal)
        logger.info("worker_started", process_driver=settings.process_driver)
        yield
        logger.info("worker_stopping")


@asynccontextmanager
async def _working(workers: list[Worker]) -> AsyncIterator[None]:
    """Run them while the body runs; the first that fails ends the body with its error.

    A worker's own context manager cancels the task that entered it, so two of them that fail at once
    interrupt each other's ending, and the error is lost. Here each has a task.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(worker.run()) for worker in workers]
            try:
                yield
            finally:
                # The SDK drains a worker that is cancelled, within its graceful shutdown timeout.
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _workers(
    settings: Settings,
    temporal: Client,
    stores: Stores,
    deployments: DeploymentActivities,
    knowledge: KnowledgeActivities,
    monitoring: MonitoringActivities,
) -> list[Worker]:
    # Without a build id the SDK would make one at each start from the code of every loaded module.
    serving = partial(Worker, temporal, build_id=__version__, graceful_shutdown_timeout=_FAREWELL)
    tasks = TaskActivities(stores)
    analysis = AnalysisActivities(stores, RuleAnalyst())
    mcps = McpActivities(stores, temporal)
    return [
        serving(
            task_queue=TaskQueue.ORCHESTRATION,
            workflows=WORKFLOWS,
            activities=[
                tasks.begin,
                tasks.conclude,
                analysis.understand,
                analysis.find_known,
                analysis.judge,
                deployments.record,
                mcps.stop_deployment,
                mcps.delete,
                knowledge.split,
                knowledge.embed,
                knowledge.finish,
                knowledge.activate,
                knowledge.sweep,
                monitoring.sweep_documents,
            ],
        ),
        serving(
            task_queue=TaskQueue.REPLICAS,
            activities=[
                deployments.bring_up,
                deployments.watch,
                deployments.take_down,
                monitoring.reconcile,
            ],
            max_concurrent_activities=settings.worker.replicas,
            max_heartbeat_throttle_interval=_LARGEST_BEAT_INTERVAL,
        ),
    ]
