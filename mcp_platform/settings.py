"""Settings, read from the environment: `MCP_PLATFORM_<GROUP>__<NAME>`.

In embedded mode everything has a working default, and what is secret is made at the first start.
In production mode the addresses of the stores and the master key must be given; nothing falls back.
"""

import hashlib
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mcp_platform.check_settings import PackageSettings, RegistrySettings, TrialSettings
from mcp_platform.contracts.deployments import Deployment, DeploymentOrder, Driver, RevisionContent
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.gateway_settings import GatewaySettings
from mcp_platform.github_settings import GitHubSettings
from mcp_platform.model_settings import ModelSettings
from mcp_platform.names import RouteClass


class Mode(StrEnum):
    """How the parts are put together."""

    EMBEDDED = "embedded"
    PRODUCTION = "production"


def _network(value: str) -> str:
    return str(ip_network(value, strict=False))


class ApiSettings(BaseModel):
    """The API's socket and limits."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    public_url: str | None = None
    """The address that users see; made of host and port unless told."""
    max_body_bytes: int = Field(1_048_576, gt=0)
    registration: bool = True
    """Whether anybody may register an account by themselves."""
    listener_backlog: int = Field(1000, gt=0)
    """Tasks and deployments with unsent news that one live listener may have before it is cut off."""
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = []
    """Addresses and networks of proxies whose `X-Forwarded-For` is believed."""


class TemporalSettings(BaseModel):
    """Where Temporal is, or how the embedded server is started."""

    address: str | None = None
    namespace: str = "default"
    api_key: SecretStr | None = None
    tls: bool = False
    tls_ca_path: Path | None = None
    tls_cert_path: Path | None = None
    tls_key_path: Path | None = None
    tls_server_name: str | None = None
    ui_url: str | None = None
    server_path: Path | None = None
    """The `temporal` program, for the embedded server."""
    cache_dir: Path = Path(".cache/temporal")
    """Where a built or downloaded `temporal` is kept."""
    port: int = Field(7233, ge=1, le=65535)
    ui_port: int = Field(8233, ge=1, le=65535)


class SqlSettings(BaseModel):
    """The relational store."""

    url: SecretStr | None = None
    """`mysql+asyncmy://…?charset=utf8mb4`, or `sqlite+aiosqlite:///…`."""
    pool_size: int = Field(10, gt=0)


class DocumentSettings(BaseModel):
    """The document store; without a URL, a table beside the relational data."""

    url: SecretStr | None = None
    database: str = "mcp_platform"


class CacheSettings(BaseModel):
    """Redis; without a URL, one inside the process."""

    url: SecretStr | None = None


class SecuritySettings(BaseModel):
    """Keys and the lifetimes of tokens, in seconds."""

    master_key: SecretStr | None = None
    """32 bytes in base64, from which all other keys are derived: `openssl rand -base64 32`."""
    previous_master_key: SecretStr | None = None
    """The one before, until `mcp-platform rotate-key` has sealed everything under the present one."""
    access_ttl: int = Field(900, gt=0)
    refresh_ttl: int = Field(604_800, gt=0)
    lockout_threshold: int = Field(5, ge=1)
    """Wrong passwords for one account after which signing in to it has to wait, ever longer."""
    lockout_address_threshold: int = Field(50, ge=1)
    """The same for all accounts together, from one address."""


class OAuthSettings(BaseModel):
    """Signing in by OAuth: clients here, and the platform at remote servers; times in seconds."""

    advertise_smart: bool = False
    """Whether clients of `/mcp/smart` are told to sign in by OAuth; MCPs and groups have a field for it."""
    access_ttl: int = Field(900, gt=0)
    refresh_ttl: int = Field(2_592_000, gt=0)
    registration: bool = True
    """Whether clients may register themselves (RFC 7591)."""
    most_clients: int = Field(1000, gt=0)
    """How many may be registered at once."""
    unused_client_ttl: int = Field(2_592_000, gt=0)
    """After how long a registered client that got no tokens is forgotten."""
    client_metadata: bool = False
    """Whether remote authorization servers can read the platform's own client metadata document: its
    public address is https, and reachable from there."""
    refresh_ahead: float = Field(120.0, ge=0)
    """How long before its end a remote server's token is refreshed, at most a third of its life."""


class AuditSettings(BaseModel):
    """The audit log."""

    retention_days: int = Field(365, ge=0)
    """After how many days entries are removed; 0 keeps all."""


class AdminSettings(BaseModel):
    """The first administrator, made when there is no account yet."""

    username: str = "admin"
    email: str = "admin@localhost.localdomain"
    password: SecretStr | None = None
    """A random one is made in embedded mode."""


class ReplicaSettings(BaseModel):
    """How replicas run and are watched; times in seconds."""

    driver: Driver | None = None
    """What runs servers with a command, where a deployment does not say: `process` in embedded mode,
    `docker` in production, unless told."""
    process_driver: bool | None = None
    """Whether commands may run as the platform's own user: yes in embedded mode unless told."""
    exposed_environment: list[str] = ["HOME", "LANG", "TZ"]
    """Variables of the platform's environment that a configuration may name as `${NAME}`."""
    patience: float = Field(30.0, gt=0)
    check_interval: float = Field(5.0, gt=0)
    check_timeout: float = Field(5.0, gt=0)
    failures_allowed: int = Field(2, ge=1)
    stop_grace: float = Field(3.0, ge=0)
    """How long a replica may take to end by itself before it is killed."""
    drain_timeout: float = Field(30.0, ge=0)
    """How long calls in flight may take to finish before their replica is ended."""
    most_deployments: int = Field(50, gt=0)
    """How many deployments one account may have, unless it may change everybody's."""
    most_replicas: int = Field(100, gt=0)
    """How many replicas all of these may have together."""

    def order_for(self, deployment: Deployment, content: RevisionContent) -> DeploymentOrder:
        """Give what the workflow of this deployment's present revision is started with."""
        config = deployment.config
        health = config.health
        return DeploymentOrder(
            deployment_id=deployment.id,
            slug=deployment.slug,
            driver=deployment.driver,
            # A remote server is one address, however many replicas were wished.
            replicas=1 if deployment.driver is Driver.REMOTE else config.replicas,
            patience=health.patience or self.patience,
            check_interval=health.interval or self.check_interval,
            check_timeout=health.timeout or self.check_timeout,
            failures_allowed=health.failures_allowed or self.failures_allowed,
            environment=config.environment,
            owner_id=deployment.owner_id,
            drain_timeout=self.drain_timeout if config.drain_timeout is None else config.drain_timeout,
            autoscaling=config.autoscaling,
            revision=deployment.revision,
            latest_revision=deployment.revision,
            content=content,
        )


class WorkerSettings(BaseModel):
    """The worker's capacity."""

    metrics_address: str | None = None
    """Where Prometheus reads Temporal's own metrics of the worker, as `host:port`; not served unless told."""
    figures_address: str | None = Field(None, pattern=r"^.+:\d{1,5}$")
    """Where it reads those of deployments and replicas, as `host:port`; not served unless told."""
    figures_interval: float = Field(5.0, gt=0)
    """How often, in seconds, what replicas use is written."""
    replicas: int = Field(1000, gt=0)
    """How many replicas one worker may start and watch at once."""


class RateSettings(BaseModel):
    """Requests a minute, by whose they are."""

    anonymous: int = Field(100, gt=0)
    """From one address without a credential; failed credentials count here too."""
    user: int = Field(1000, gt=0)
    """By one credential."""
    admin: int = Field(5000, gt=0)
    """By one credential of an administrator."""


class LimitSettings(RateSettings):
    """Limits on requests. Each class of routes has buckets of its own."""

    enabled: bool = True
    classes: dict[RouteClass, RateSettings] = {}
    """Limits of single classes that differ from the ones above."""


class KnowledgeSettings(BaseModel):
    """The knowledge base: what may be uploaded, and what makes the embeddings; times in seconds."""

    max_upload_bytes: int = Field(20_971_520, gt=0)
    embedding_model: str = Field("wordllama", pattern=r"^(wordllama|[a-z_]+:\S+)$", max_length=128)
    """`wordllama`, which ships with the platform, or `provider:model` of LangChain's embeddings."""
    embedding_base_url: str | None = None
    """The provider's address, where it is not the provider's usual one."""
    embedding_api_key: SecretStr | None = None
    embedding_timeout: float = Field(60.0, gt=0)
    """How long the embeddings of one batch of passages may take."""
    query_timeout: float = Field(3.0, gt=0)
    """How long a query's embedding may take; after that a hybrid search goes by words alone."""
    refresh_interval: float = Field(30.0, gt=0)
    """How often the search index is compared with the store, in case a message was lost."""


class LogSettings(BaseModel):
    """Log lines go to standard error."""

    level: str = "info"
    format: str = Field("json", pattern="^(json|console)$")


class ReplicaLogSettings(BaseModel):
    """What replicas write: where it is kept, and how much of it."""

    folder: Path | None = None
    """A folder that worker and API share; `replica-logs` in the data directory unless told."""
    file_bytes: int = Field(8_388_608, ge=65_536)
    """The size at which a replica's log goes on in another file."""
    file_seconds: int = Field(86_400, ge=1)
    """The age at which it does."""
    replica_bytes: int = Field(67_108_864, ge=131_072)
    """How much is kept for one replica; at least twice `file_bytes`."""
    total_bytes: int = Field(2_147_483_648, ge=131_072)
    """How much is kept for all replicas together."""
    retention_days: int = Field(14, ge=1)
    """After how many days a file that nobody writes any more is removed."""
    line_bytes: int = Field(16_384, ge=256, le=65_536)
    """How much of a line is kept."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.replica_bytes < 2 * self.file_bytes:
            raise ValueError("replica_bytes must be at least twice file_bytes")
        return self


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="MCP_PLATFORM_", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    mode: Mode = Mode.EMBEDDED
    data_dir: Path = Path(".mcp-platform")
    api: ApiSettings = ApiSettings()
    gateway: GatewaySettings = GatewaySettings()
    temporal: TemporalSettings = TemporalSettings()
    sql: SqlSettings = SqlSettings()
    documents: DocumentSettings = DocumentSettings()
    cache: CacheSettings = CacheSettings()
    security: SecuritySettings = SecuritySettings()
    oauth: OAuthSettings = OAuthSettings()
    audit: AuditSettings = AuditSettings()
    admin: AdminSettings = AdminSettings()
    replicas: ReplicaSettings = ReplicaSettings()
    docker: DockerSettings = DockerSettings()
    registry: RegistrySettings = RegistrySettings()
    worker: WorkerSettings = WorkerSettings()
    packages: PackageSettings = PackageSettings()
    trials: TrialSettings = TrialSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    github: GitHubSettings = GitHubSettings()
    models: ModelSettings = ModelSettings()
    limits: LimitSettings = LimitSettings()
    logs: LogSettings = LogSettings()
    replica_logs: ReplicaLogSettings = ReplicaLogSettings()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mode is Mode.EMBEDDED:
            return self
        needed = {
            "MCP_PLATFORM_SQL__URL": self.sql.url,
            "MCP_PLATFORM_DOCUMENTS__URL": self.documents.url,
            "MCP_PLATFORM_CACHE__URL": self.cache.url,
            "MCP_PLATFORM_TEMPORAL__ADDRESS": self.temporal.address,
            "MCP_PLATFORM_SECURITY__MASTER_KEY": self.security.master_key,
        }
        missing = [name for name, value in needed.items() if not value]
        if missing:
            raise ValueError(
                f"production mode needs {', '.join(missing)}"
                " (make a master key with: openssl rand -base64 32)"
            )
        return self

    @property
    def sql_url(self) -> str:
        """The relational store's URL: a SQLite file in the data directory unless told."""
        if self.sql.url:
            return self.sql.url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir.absolute() / 'platform.db'}"

    @property
    def temporal_address(self) -> str:
        """Host and port of Temporal's frontend."""
        return self.temporal.address or f"127.0.0.1:{self.temporal.port}"

    @property
    def temporal_ui_url(self) -> str:
        """Where Temporal's web UI is."""
        return self.temporal.ui_url or f"http://127.0.0.1:{self.temporal.ui_port}"

    @property
    def api_url(self) -> str:
        """The address under which users reach the API."""
        return self.api.public_url or _address(self.api.host, self.api.port)

    @property
    def issuer(self) -> str:
        """The name of the authorization server: the API's address."""
        return self.api_url.rstrip("/")

    @property
    def gateway_url(self) -> str:
        """The address before `/mcp` under which users reach the gateway."""
        if self.gateway.public_url:
            return self.gateway.public_url
        if self.mode is Mode.EMBEDDED:
            return self.api_url
        return _address(self.gateway.host, self.gateway.port)

    @property
    def private_addresses(self) -> bool:
        """Whether remote servers may be at loopback or private addresses."""
        chosen = self.gateway.private_addresses
        return self.mode is Mode.EMBEDDED if chosen is None else chosen

    @property
    def process_driver(self) -> bool:
        """Whether the process driver is on."""
        chosen = self.replicas.process_driver
        return self.mode is Mode.EMBEDDED if chosen is None else chosen

    @property
    def command_driver(self) -> Driver:
        """What runs servers with a command, where a deployment does not say."""
        if self.replicas.driver:
            return self.replicas.driver
        return Driver.PROCESS if self.process_driver else Driver.DOCKER

    @property
    def replica_log_folder(self) -> Path:
        """Where what replicas write is kept."""
        return self.replica_logs.folder or self.data_dir / "replica-logs"

    @property
    def instance_id(self) -> str:
        """Tells this platform's processes from another's on the same machine: a digest of its store."""
        return hashlib.sha256(self.sql_url.encode()).hexdigest()[:12]


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
