"""Deployments and replicas, as they are stored and shown."""

from enum import StrEnum
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.deployments.config import Autoscaling, DeploymentConfig, Driver, HealthCheck
from mcp_platform.contracts.deployments.revisions import Rollout


class DeploymentState(StrEnum):
    """What is true of a deployment; `docs/deployments.md` draws the transitions."""

    BUILDING = "building"
    """The image of its first revision is being made."""
    STARTING = "starting"
    RUNNING = "running"
    UPDATING = "updating"
    """As running, while replicas of another revision take over one by one."""
    ROLLED_BACK = "rolled_back"
    """As running, with the revision from before the last roll-out, which failed."""
    IDLE = "idle"
    """Scaled to zero; the next call starts it."""
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
    DRAINING = "draining"
    """Not called any more; ended once the calls in flight have finished."""
    STOPPED = "stopped"


class Replica(Contract):
    """One running copy, as it is stored and shown."""

    id: UUID
    deployment_id: UUID
    ordinal: int
    """Its place among the deployment's replicas, from 0; a successor takes the same place."""
    revision: int = 1
    state: ReplicaState
    url: str | None = None
    """Its Streamable HTTP address, once it has one."""
    pid: int | None = None
    container: str | None = None
    """The id of its container or service, where it has one."""
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
    revision: int = 1
    """The revision whose replicas serve, or that is being deployed first."""
    rollout: Rollout | None = None
    """The roll-out that goes on, or the last one."""
    deployed_at: Moment
    stopped_at: Moment | None = None
    requests_total: int = 0
    errors_total: int = 0
    latency_ms_total: float = 0.0


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
    rollout: Rollout | None = None
    health: HealthCheck | None = None
    """The checks that were asked for last, where they were changed."""
    autoscaling: Autoscaling | None = None
    fixed: bool = False
    """Whether autoscaling was ended."""

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
