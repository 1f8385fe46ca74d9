"""Builds the rooms' activities with what they work with, and says which queue serves each of them."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from temporalio.client import Client

from activities.analysis import AnalysisActivities
from activities.authorizations import AuthorizationActivities
from activities.autoscaling import AutoscalingActivities
from activities.checks import CheckActivities
from activities.checks.trials import Trials
from activities.checks.turns import Turns
from activities.clients.checkouts import GitCheckouts
from activities.clients.docker_engine import DockerEngine
from activities.clients.embeddings import open_model
from activities.clients.github import GitHubs
from activities.clients.github.writing import Writing
from activities.clients.image_builder import DockerImageBuilder
from activities.clients.models.chain import ModelChain
from activities.clients.models.masking import AccountMasks
from activities.clients.packages import PackageRegistries
from activities.clients.probe import McpProbe
from activities.clients.repository_tokens import ConnectionTokens
from activities.clients.server_registry import ServerRegistry
from activities.clients.server_talk import ServerTalk
from activities.deployments import DeploymentActivities, ReplicaActivities
from activities.deployments.health import Health
from activities.deployments.specs import Specs
from activities.deployments.troubles import Troubles
from activities.drivers import ReplicaDriver
from activities.feasibility_rules import RuleAnalyst
from activities.generation import GenerationActivities
from activities.github_sync.checks import PullRequestActivities
from activities.github_sync.connections import ConnectionActivities
from activities.github_sync.deliveries import DeliveryActivities
from activities.github_sync.drift import DriftActivities
from activities.github_sync.notes import NoteActivities
from activities.github_sync.pushing import PushActivities
from activities.github_sync.rollouts import RolloutActivities
from activities.github_sync.syncing import SyncActivities
from activities.images import DraftBuilds, ImageActivities
from activities.improvements import ImprovementActivities
from activities.knowledge import KnowledgeActivities
from activities.known import KnownActivities
from activities.mcps import McpActivities
from activities.models import ModelActivities
from activities.monitoring import MonitoringActivities
from activities.tasks import TaskActivities
from activities.usage import UsageSampler
from gateway.authorization.discovery import RemoteServers
from gateway.authorization.outbound import Outbound
from gateway.discovery.known_servers import KnownServers
from mcp_platform.contracts.deployments import Driver
from mcp_platform.names import Channel
from mcp_platform.security.sealing import Sealer, load_sealer
from mcp_platform.settings import KnowledgeSettings, Settings
from mcp_platform.variables import Variables
from storage import registration
from storage.cache import listen
from storage.deploying import MergedDeployments
from storage.drift import tell_drift
from storage.knowledge.passages import split_document
from storage.logs.book import LogBook
from storage.secrets import KnownSecrets, SecretValues
from storage.sql.audit import AuditLog
from storage.stores import Stores
from worker.check_interval import CheckInterval
from worker.drivers import open_drivers, reported
from worker.figures import shown_fleet
from worker.parts import temporal_reported

_SHOWN_EVERY: Final = 3
"""What Prometheus sees is read at every third writing: it asks every 15 seconds."""


@dataclass(frozen=True)
class Rooms:
    """Every room's activities."""

    tasks: TaskActivities
    analysis: AnalysisActivities
    deployments: DeploymentActivities
    attendance: ReplicaActivities
    mcps: McpActivities
    knowledge: KnowledgeActivities
    monitoring: MonitoringActivities
    images: ImageActivities
    autoscaling: AutoscalingActivities
    authorizations: AuthorizationActivities
    generation: GenerationActivities
    known: KnownActivities
    connections: ConnectionActivities
    models: ModelActivities
    checks: CheckActivities
    improvements: ImprovementActivities
    syncing: SyncActivities
    deliveries: DeliveryActivities
    merging: list[Callable[..., Any]]
    """What is done around merges: pushes, checks of pull requests, deployments."""

    @property
    def orchestration(self) -> list[Callable[..., Any]]:
        """Short activities, which wait for no replica."""
        return [
            self.tasks.begin,
            self.tasks.conclude,
            self.analysis.understand,
            self.analysis.find_known,
            self.analysis.search,
            self.analysis.hear,
            self.analysis.judge,
            self.deployments.record,
            self.deployments.begin_revision,
            self.deployments.settle_revision,
            self.images.begin,
            self.authorizations.prepare,
            self.authorizations.exchange,
            self.authorizations.refresh,
            self.authorizations.look,
            self.authorizations.give_back,
            self.authorizations.give_up,
            self.mcps.stop_deployment,
            self.mcps.delete,
            self.knowledge.split,
            self.knowledge.embed,
            self.knowledge.finish,
            self.knowledge.activate,
            self.knowledge.sweep,
            self.monitoring.sweep_documents,
            *self.generation.steps,
            self.known.find,
            self.known.refresh,
            self.checks.look_up,
            self.improvements.look,
            self.improvements.judge,
            self.improvements.conclude,
            *self.connections.steps,
            *self.syncing.steps,
            *self.deliveries.steps,
            *self.merging,
        ]

    @property
    def replicas(self) -> list[Callable[..., Any]]:
        """Activities that start, watch and end replicas."""
        return [
            self.attendance.bring_up,
            self.attendance.watch,
            self.attendance.take_down,
            self.autoscaling.observe,
            self.monitoring.reconcile,
            self.checks.try_server,
        ]

    @property
    def asking(self) -> list[Callable[..., Any]]:
        """Activities that ask language models."""
        return [self.models.ask]

    @property
    def builds(self) -> list[Callable[..., Any]]:
        """Activities that build images, and remove those that nobody needs any more."""
        return [self.images.build, self.images.build_draft, self.images.sweep]


@asynccontextmanager
async def opened_rooms(settings: Settings, temporal: Client, stores: Stores) -> AsyncIterator[Rooms]:
    """Open all rooms; at the end the replicas that they started are gone too."""
    async with AsyncExitStack() as stack:
        # Before the drivers, which hand over lines until their replicas have ended.
        logs = LogBook(settings.replica_log_folder, settings.replica_logs)
        await stack.enter_async_context(logs.open())
        drivers = open_drivers(settings, stack)
        await stack.enter_async_context(reported(drivers, stores))
        await stack.enter_async_context(temporal_reported(temporal, stores))
        sealer = load_sealer(settings)
        environment = Variables(os.environ, settings.replicas.exposed_environment)
        secrets = SecretValues(stores.database, sealer, environment)
        audit = AuditLog(stores.database, sealer)
        knowledge = _knowledge(settings.knowledge, stores, stack)
        records = DeploymentActivities(stores, audit)
        yield Rooms(
            tasks=TaskActivities(stores),
            authorizations=_authorizations(settings, stores, sealer, secrets, audit, stack),
            analysis=AnalysisActivities(stores, RuleAnalyst()),
            deployments=records,
            generation=_generation(settings, stores, sealer),
            attendance=await _open_attendance(settings, stores, drivers, Specs(stores, secrets, logs), stack),
            mcps=McpActivities(stores, temporal),
            models=_models(settings, stores, sealer, stack),
            images=_images(settings, stores, secrets, stack),
            checks=await _open_checks(settings, stores, drivers, stack),
            improvements=ImprovementActivities(stores),
            autoscaling=await _open_autoscaling(stores, stack),
            knowledge=knowledge,
            known=_known(settings, stores, stack),
            connections=_connections(settings, stores, temporal, sealer),
            syncing=SyncActivities(stores, registration, GitHubs(settings.github, sealer), audit, tell_drift),
            deliveries=DeliveryActivities(stores, temporal, tell_drift),
            merging=_merging(settings, stores, temporal, sealer, audit),
            monitoring=_monitoring(settings, stores, temporal, drivers, audit, knowledge, records, logs),
        )


def _monitoring(
    settings: Settings,
    stores: Stores,
    temporal: Client,
    drivers: dict[Driver, ReplicaDriver],
    audit: AuditLog,
    knowledge: KnowledgeActivities,
    records: DeploymentActivities,
    logs: LogBook,
) -> MonitoringActivities:
    return MonitoringActivities(
        stores,
        temporal,
        drivers,
        settings.replicas.order_for,
        audit,
        settings.audit.retention_days,
        knowledge,
        records,
        logs,
        settings.gateway.journal_days,
    )


def _generation(settings: Settings, stores: Stores, sealer: Sealer) -> GenerationActivities:
    return GenerationActivities(
        stores,
        GitCheckouts(settings.private_addresses),
        ConnectionTokens(stores, sealer, settings.github),
        settings.replicas.exposed_environment,
    )


def _connections(
    settings: Settings, stores: Stores, temporal: Client, sealer: Sealer
) -> ConnectionActivities:
    hubs = GitHubs(settings.github, sealer)
    return ConnectionActivities(stores, temporal, hubs, sealer, settings.issuer)


def _merging(
    settings: Settings, stores: Stores, temporal: Client, sealer: Sealer, audit: AuditLog
) -> list[Callable[..., Any]]:
    githubs = GitHubs(settings.github, sealer)
    merged = MergedDeployments(stores, settings)
    return [
        *PushActivities(stores, githubs, Writing).steps,
        *PullRequestActivities(stores, githubs, temporal).steps,
        *RolloutActivities(stores, temporal, merged, audit, settings.replicas.patience).steps,
        *NoteActivities(stores, githubs, Writing).steps,
        *DriftActivities(stores, githubs, tell_drift).steps,
    ]


def _knowledge(own: KnowledgeSettings, stores: Stores, stack: AsyncExitStack) -> KnowledgeActivities:
    opening = partial(open_model, settings=own)
    knowledge = KnowledgeActivities(stores, split_document, opening, own.embedding_model)
    stack.push_async_callback(knowledge.close)
    return knowledge


def _models(settings: Settings, stores: Stores, sealer: Sealer, stack: AsyncExitStack) -> ModelActivities:
    secrets = KnownSecrets(stores.database, sealer)
    chain = ModelChain(settings.models, secrets)
    stack.push_async_callback(chain.close)
    own = [each.api_key.get_secret_value() for each in settings.models.chain if each.api_key]
    masks = AccountMasks(secrets, settings.replicas.exposed_environment, own)
    return ModelActivities(stores, chain, masks, settings.models)


def _known(settings: Settings, stores: Stores, stack: AsyncExitStack) -> KnownActivities:
    registry = None
    if settings.registry.source:
        registry = ServerRegistry(settings.registry.source, settings.registry.source_timeout)
        stack.push_async_callback(registry.close)
    return KnownActivities(KnownServers(stores), stores, registry)


def _authorizations(
    settings: Settings,
    stores: Stores,
    sealer: Sealer,
    secrets: SecretValues,
    audit: AuditLog,
    stack: AsyncExitStack,
) -> AuthorizationActivities:
    outbound = Outbound(settings.private_addresses)
    stack.push_async_callback(outbound.close)
    return AuthorizationActivities(stores, sealer, secrets, RemoteServers(outbound), audit, settings)


async def _open_attendance(
    settings: Settings,
    stores: Stores,
    drivers: dict[Driver, ReplicaDriver],
    specs: Specs,
    stack: AsyncExitStack,
) -> ReplicaActivities:
    usage = await _open_usage(settings, stores, stack)
    probe = await stack.enter_async_context(McpProbe(private=settings.private_addresses))
    troubles = Troubles()
    await stack.enter_async_context(troubles.listening(listen(stores.cache, Channel.TROUBLE)))
    interval = CheckInterval(stores, settings.replicas.check_interval)
    await stack.enter_async_context(interval.followed())
    health = Health(stores, probe, troubles, usage, interval.applied)
    return ReplicaActivities(stores, drivers, specs, health)


async def _open_checks(
    settings: Settings, stores: Stores, drivers: dict[Driver, ReplicaDriver], stack: AsyncExitStack
) -> CheckActivities:
    registries = PackageRegistries(settings.packages)
    stack.push_async_callback(registries.close)
    talk = await stack.enter_async_context(ServerTalk(private=settings.private_addresses))
    return CheckActivities(Trials(stores, drivers, talk, settings.trials), registries)


async def _open_autoscaling(stores: Stores, stack: AsyncExitStack) -> AutoscalingActivities:
    autoscaling = AutoscalingActivities(stores)
    await stack.enter_async_context(autoscaling.following(listen(stores.cache, Channel.WAKE)))
    return autoscaling


def _images(
    settings: Settings, stores: Stores, secrets: SecretValues, stack: AsyncExitStack
) -> ImageActivities:
    builder = None
    if settings.docker.enabled:
        builder = DockerImageBuilder(DockerEngine(settings.docker), settings.instance_id)
        stack.push_async_callback(builder.close)
    drafts = DraftBuilds(
        GitCheckouts(settings.private_addresses), Turns(stores.trials, settings.trials.at_once)
    )
    return ImageActivities(
        stores, secrets, builder, GitCheckouts(), settings.docker, settings.instance_id, drafts
    )


async def _open_usage(settings: Settings, stores: Stores, stack: AsyncExitStack) -> UsageSampler:
    """Keep, and show to Prometheus, what replicas use."""
    interval = settings.worker.figures_interval
    usage = UsageSampler(stores, interval)
    await stack.enter_async_context(usage.running())
    await stack.enter_async_context(shown_fleet(stores.database, usage, _SHOWN_EVERY * interval))
    return usage
