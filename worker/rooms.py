"""Builds the rooms' activities with what they work with, and says which queue serves each of them."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from temporalio.client import Client

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
from mcp_platform.contracts.deployments import Driver
from mcp_platform.security.sealing import load_sealer
from mcp_platform.settings import Settings
from mcp_platform.variables import Variables
from storage.knowledge.passages import split_document
from storage.secrets import SecretValues
from storage.sql.audit import AuditLog
from storage.stores import Stores


@dataclass(frozen=True)
class Rooms:
    """Every room's activities."""

    tasks: TaskActivities
    analysis: AnalysisActivities
    deployments: DeploymentActivities
    mcps: McpActivities
    knowledge: KnowledgeActivities
    monitoring: MonitoringActivities

    @property
    def orchestration(self) -> list[Callable[..., Any]]:
        """Short activities, which wait for no replica."""
        return [
            self.tasks.begin,
            self.tasks.conclude,
            self.analysis.understand,
            self.analysis.find_known,
            self.analysis.judge,
            self.deployments.record,
            self.mcps.stop_deployment,
            self.mcps.delete,
            self.knowledge.split,
            self.knowledge.embed,
            self.knowledge.finish,
            self.knowledge.activate,
            self.knowledge.sweep,
            self.monitoring.sweep_documents,
        ]

    @property
    def replicas(self) -> list[Callable[..., Any]]:
        """Activities that start, watch and end replicas."""
        return [
            self.deployments.bring_up,
            self.deployments.watch,
            self.deployments.take_down,
            self.monitoring.reconcile,
        ]


@asynccontextmanager
async def opened_rooms(settings: Settings, temporal: Client, stores: Stores) -> AsyncIterator[Rooms]:
    """Open all rooms; at the end the replicas that they started are gone too."""
    async with AsyncExitStack() as stack:
        probe = await stack.enter_async_context(McpProbe())
        drivers: dict[Driver, ReplicaDriver] = {Driver.REMOTE: RemoteDriver()}
        processes = None
        if settings.process_driver:
            processes = ProcessDriver(settings.instance_id, settings.replicas.stop_grace)
            stack.push_async_callback(processes.close)
            drivers[Driver.PROCESS] = processes
        sealer = load_sealer(settings)
        environment = Variables(os.environ, settings.replicas.exposed_environment)
        own = settings.knowledge
        knowledge = KnowledgeActivities(
            stores, split_document, partial(open_model, settings=own), own.embedding_model
        )
        stack.push_async_callback(knowledge.close)
        yield Rooms(
            tasks=TaskActivities(stores),
            analysis=AnalysisActivities(stores, RuleAnalyst()),
            deployments=DeploymentActivities(
                stores, drivers, probe, SecretValues(stores.database, sealer, environment)
            ),
            mcps=McpActivities(stores, temporal),
            knowledge=knowledge,
            monitoring=MonitoringActivities(
                stores,
                temporal,
                processes,
                settings.replicas.order_for,
                AuditLog(stores.database, sealer),
                settings.audit.retention_days,
                knowledge,
            ),
        )
