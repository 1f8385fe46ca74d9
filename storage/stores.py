"""All stores of one process, opened and closed together."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic
from uuid import UUID

from redis.asyncio import Redis

from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.mcps import ShownMcp
from mcp_platform.names import Channel
from mcp_platform.settings import Settings
from storage.cache import (
    Definitions,
    DriverStates,
    HealthStamps,
    Kind,
    LatestUsages,
    Loads,
    PartStates,
    Questions,
    ReadCache,
    RunningTrials,
    open_cache,
    publish,
)
from storage.documents import Documents, open_documents
from storage.sql.access import (
    ApiKeyRepository,
    FactorRepository,
    FailureRepository,
    RefreshTokenRepository,
    RoleRepository,
    UserRepository,
)
from storage.sql.audit import AuditRepository
from storage.sql.calls import CallRepository
from storage.sql.connections import ConnectionRepository
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database, ReadSession, SessionT, WriteSession
from storage.sql.figures import FigureRepository
from storage.sql.groups import GroupRepository
from storage.sql.images import ImageRepository
from storage.sql.knowledge import KnowledgeRepository
from storage.sql.known_servers import KnownServerRepository
from storage.sql.mcps import McpRepository
from storage.sql.model_usage import ModelUsageRepository
from storage.sql.oauth import GrantRepository, OAuthClientRepository
from storage.sql.oauth_upstream import UpstreamAuthorizationRepository, UpstreamIssuerRepository
from storage.sql.overrides import ReplicaOverrideRepository
from storage.sql.policies import PolicyRepository
from storage.sql.registry import RegistryRepository
from storage.sql.revisions import RevisionRepository
from storage.sql.running_settings import RunningSettingRepository
from storage.sql.secrets import SecretRepository
from storage.sql.services import ServiceRepository
from storage.sql.tasks import TaskRepository
from storage.sql.tool_figures import ToolFigureRepository

SHOWN_MCPS: Final = Kind("mcp", ShownMcp)


class Rows(Generic[SessionT]):
    """The repositories of one SQL session: what is done through them is one transaction."""

    def __init__(self, session: SessionT) -> None:
        self.users = UserRepository(session)
        self.refresh_tokens = RefreshTokenRepository(session)
        self.api_keys = ApiKeyRepository(session)
        self.roles = RoleRepository(session)
        self.oauth_clients = OAuthClientRepository(session)
        self.grants = GrantRepository(session)
        self.upstream_authorizations = UpstreamAuthorizationRepository(session)
        self.upstream_issuers = UpstreamIssuerRepository(session)
        self.factors = FactorRepository(session)
        self.failures = FailureRepository(session)
        self.secrets = SecretRepository(session)
        self.mcps = McpRepository(session)
        self.registry = RegistryRepository(session)
        self.tasks = TaskRepository(session)
        self.deployments = DeploymentRepository(session)
        self.revisions = RevisionRepository(session)
        self.figures = FigureRepository(session)
        self.tool_figures = ToolFigureRepository(session)
        self.calls = CallRepository(session)
        self.services = ServiceRepository(session)
        self.running_settings = RunningSettingRepository(session)
        self.audit = AuditRepository(session)
        self.images = ImageRepository(session)
        self.model_usage = ModelUsageRepository(session)
        self.knowledge = KnowledgeRepository(session)
        self.known_servers = KnownServerRepository(session)
        self.groups = GroupRepository(session)
        self.policies = PolicyRepository(session)
        self.overrides = ReplicaOverrideRepository(session)
        self.connections = ConnectionRepository(session)


class Stores:
    """Rows, documents and the cache."""

    def __init__(self, database: Database, documents: Documents, cache: Redis) -> None:
        self.database = database
        self.documents = documents
        self.cache = cache
        self.stamps = HealthStamps(cache)
        self.loads = Loads(cache)
        self.drivers = DriverStates(cache)
        self.parts = PartStates(cache)
        self.usages = LatestUsages(cache)
        self.reads = ReadCache(cache)
        self.questions = Questions(cache)
        self.definitions = Definitions(cache)
        self.trials = RunningTrials(cache)

    def changing_mcp(self, mcp_id: UUID) -> AbstractAsyncContextManager[None]:
        """Forget what is kept of an MCP, around the transaction that changes it."""
        return self.reads.changing(SHOWN_MCPS, str(mcp_id))

    async def publish(self, channel: Channel, message: Contract | dict[str, Any]) -> None:
        """Tell the other processes. A hint only: who misses it reads the rows anew before long."""
        await publish(self.cache, channel, message)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Rows[ReadSession]]:
        """Open repositories that only read."""
        async with self.database.read() as session:
            yield Rows(session)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Rows[WriteSession]]:
        """Open repositories whose changes are committed together, or not at all after an exception."""
        async with self.database.write() as session:
            yield Rows(session)


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Open the stores that the settings name; close them at the end."""
    database = Database(settings.sql_url, settings.sql.pool_size)
    documents = open_documents(settings, database)
    cache = open_cache(settings)
    try:
        yield Stores(database, documents, cache)
    finally:
        await cache.aclose()
        await documents.close()
        await database.close()
