"""Deployments, replicas and the routes that the gateway derives from them."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID, uuid5

from pydantic import Field

from mcp_platform.contracts.base import Contract, Moment, Order


class Driver(StrEnum):
    """What runs a replica."""

    PROCESS = "process"
    """A child process behind `runner`."""
    REMOTE = "remote"
    """Somebody else's server at a URL: watched, never started."""


class DeploymentState(StrEnum):
    """What is true of a deployment; `docs/deployments.md` draws the transitions."""

    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Health(StrEnum):
    """A deployment's health, in the words of the API."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class ReplicaState(StrEnum):
    """What is true of one replica."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    """Not answering; a successor comes after a delay."""
    STOPPED = "stopped"


class Resources(Order):
    """What a replica may use, in Kubernetes' notation; the process driver does not enforce it."""

    cpu: Annotated[str, Field(pattern=r"^(\d+m|\d+(\.\d+)?)$")] | None = None
    memory: Annotated[str, Field(pattern=r"^\d+(Ki|Mi|Gi)?$")] | None = None


class DeploymentConfig(Order):
    """The wish: how many replicas of which server, and where."""

    environment: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = "production"
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    resources: Resources = Resources()
    server: str | None = None
    """Which of `config.servers`; may be left out where there is only one."""


class CreateDeployment(Order):
    """Body of `POST /deployments`."""

    tool_id: UUID
    config: DeploymentConfig = DeploymentConfig()


class ScaleDeployment(Order):
    """Body of `PATCH /deployments/{id}`."""

    replicas: Annotated[int, Field(ge=1, le=100)]


class Replica(Contract):
    """One running copy, as it is stored and shown."""

    id: UUID
    deployment_id: UUID
    ordinal: int
    """Its place among the deployment's replicas, from 0; a successor takes the same place."""
    state: ReplicaState
    url: str | None = None
    """Its Streamable HTTP address, once it has one."""
    pid: int | None = None
    restarts: int = 0
    """How many replicas stood in this place before."""
    reason: str | None = None
    stderr_tail: list[str] = []
    """The last lines of standard error, at most 50, when it is not healthy."""
    started_at: Moment


class Deployment(Contract):
    """A deployment as it is stored."""

    id: UUID
    mcp_id: UUID
    slug: str
    tool_name: str
    version: str
    owner_id: UUID
    driver: Driver
    config: DeploymentConfig
    config_key: str
    """The document with the MCP's configuration that this deployment runs."""
    status: DeploymentState
    health_status: Health
    reason: str | None = None
    deployed_at: Moment
    stopped_at: Moment | None = None
    requests_total: int = 0
    errors_total: int = 0
    latency_ms_total: float = 0.0


class DeploymentOrder(Contract):
    """What the deployment's workflow is started with: ids, and the state it carries over.

    Times are in seconds.
    """

    deployment_id: UUID
    slug: str
    driver: Driver
    replicas: int
    patience: float = 30.0
    """How long a new replica may take until it answers."""
    check_interval: float = 5.0
    check_timeout: float = 5.0
    failures_allowed: int = 2
    """How many checks in a row may fail before a replica counts as unhealthy."""
    slots: list["Slot"] = []
    """Carried over when the workflow continues as new."""


class Slot(Contract):
    """One place among a deployment's replicas, as its workflow remembers it."""

    ordinal: int
    state: ReplicaState = ReplicaState.STARTING
    ever_healthy: bool = False
    failures: int = 0
    """Attempts that failed since the place was last healthy."""
    restarts: int = 0
    reason: str | None = None


class ReplicaOrder(Contract):
    """What an activity needs to start, watch or end one replica; times in seconds."""

    deployment_id: UUID
    ordinal: int
    driver: Driver
    restarts: int = 0
    patience: float
    check_interval: float
    check_timeout: float
    failures_allowed: int

    @property
    def replica_id(self) -> UUID:
        """The same for every copy that ever stands in this place: so none can run twice."""
        return uuid5(self.deployment_id, str(self.ordinal))


class ReplicaOutcome(Contract):
    """What came of an attempt to bring a replica up."""

    healthy: bool
    reason: str | None = None


class ReplicaLost(Contract):
    """Why a watch ended: the replica no longer answers."""

    reason: str


class DeploymentReport(Contract):
    """What the workflow found to be true, for the record."""

    deployment_id: UUID
    slug: str
    status: DeploymentState
    health_status: Health
    replicas: int
    """How many are wished."""
    healthy: int
    """How many answer."""
    reason: str | None = None

    @classmethod
    def stopped(cls, deployment: Deployment, reason: str) -> "DeploymentReport":
        """Report on a deployment that no workflow runs."""
        return cls(
            deployment_id=deployment.id,
            slug=deployment.slug,
            status=DeploymentState.STOPPED,
            health_status=Health.UNKNOWN,
            replicas=deployment.config.replicas,
            healthy=0,
            reason=reason,
        )


class Findings(Contract):
    """What a reconciliation found and put right."""

    deployments_to_start: list[DeploymentOrder] = []
    """Wishes whose workflow was never started: the caller starts them."""
    deployments_ended: list[UUID] = []
    """Deployments whose workflow had been ended from outside."""
    documents_to_index: list[UUID] = []
    """Documents of the knowledge base that nobody indexes: the caller starts that."""
    model_to_embed: str | None = None
    """The embedding model that passages lack: the caller starts the change to it."""
    tasks_settled: list[str] = []
    replicas_ended: list[UUID] = []
    """Replicas that no deployment owned."""


class UpstreamAddress(Contract):
    """A replica, seen from the gateway."""

    replica_id: UUID
    url: str
    driver: Driver
    server: str | None = None
    """For a remote server: its name in the configuration, whose headers the gateway sends."""


class Route(Contract):
    """Where the gateway sends calls for a slug. No upstreams: deployed, and none healthy."""

    slug: str
    mcp_id: UUID
    deployment_id: UUID
    config_key: str
    upstreams: list[UpstreamAddress]


class CallFigures(Contract):
    """What the gateway counted for one deployment since it last wrote."""

    deployment_id: UUID
    requests: int
    errors: int
    latency_ms: float
