"""Deployments as the API shows them."""

from datetime import datetime
from uuid import UUID

from api.parts import Parts
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentConfig,
    DeploymentState,
    Driver,
    Health,
    Replica,
    Revision,
    RevisionCause,
    RevisionState,
    Rollout,
)
from mcp_platform.contracts.figures import DeploymentFigures, ReplicaFigures
from mcp_platform.names import build_workflow_id, deployment_workflow_id
from storage.figures import figures_of


class DeploymentStarted(Contract):
    """Answer to a deployment."""

    deployment_id: UUID
    tool_id: UUID
    endpoint_url: str
    status: DeploymentState
    deployed_at: Moment


class DeploymentSummary(DeploymentStarted):
    """A deployment in a list."""

    tool_name: str
    health_status: Health
    last_health_check: Moment | None


class ShownReplica(Replica):
    """A replica with its figures."""

    metrics: ReplicaFigures


class DeploymentDetails(DeploymentSummary):
    """A deployment with its replicas and figures."""

    slug: str
    version: str
    revision: int
    environment: str
    driver: Driver
    config: DeploymentConfig
    replicas_wished: int
    reason: str | None
    rollout: Rollout | None
    build_task_id: str | None
    """The task that builds, or built, the image of the present revision, or of the one that is rolled out."""
    stopped_at: Moment | None
    workflow_id: str
    replicas: list[ShownReplica]
    metrics: DeploymentFigures


class DeploymentList(Contract):
    """Deployments, the newest first."""

    deployments: list[DeploymentSummary]
    total: int


class DeploymentStopped(Contract):
    """Answer to a stop; without `stopped_at` the last replicas are still ending."""

    message: str
    deployment_id: UUID
    stopped_at: Moment | None = None


class RolloutStarted(Contract):
    """Answer to what makes a new revision: the replicas are being replaced."""

    deployment_id: UUID
    revision: int
    version: str
    cause: RevisionCause
    state: RevisionState
    message: str


class RevisionList(Contract):
    """A deployment's revisions, the newest first; at most a hundred."""

    deployment_id: UUID
    revisions: list[Revision]


def started(parts: Parts, deployment: Deployment) -> dict[str, object]:
    """Give what every answer about a deployment begins with."""
    return {
        "deployment_id": deployment.id,
        "tool_id": deployment.mcp_id,
        "endpoint_url": f"{parts.settings.gateway_url}/mcp/{deployment.slug}/v1",
        "status": deployment.status,
        "deployed_at": deployment.deployed_at,
    }


def summary(parts: Parts, deployment: Deployment, checked: datetime | None) -> dict[str, object]:
    """Give what a list shows of a deployment."""
    return {
        **started(parts, deployment),
        "tool_name": deployment.tool_name,
        "health_status": deployment.health_status,
        "last_health_check": checked,
    }


async def details(parts: Parts, deployment: Deployment) -> DeploymentDetails:
    """Give all that is known of a deployment."""
    async with parts.stores.read() as rows:
        replicas = await rows.deployments.replicas(deployment.id)
        pending = deployment.rollout and deployment.rollout.state is RevisionState.PENDING
        number = deployment.rollout.revision if pending and deployment.rollout else deployment.revision
        revision = await rows.revisions.get(deployment.id, number)
    checked = await parts.stores.stamps.last([deployment.id])
    whole, each = await figures_of(parts.stores, deployment, replicas)
    builds = revision is not None and revision.builds
    return DeploymentDetails.model_validate(
        {
            **summary(parts, deployment, checked.get(deployment.id)),
            "slug": deployment.slug,
            "version": deployment.version,
            "revision": deployment.revision,
            "environment": deployment.config.environment,
            "driver": deployment.driver,
            "config": deployment.config,
            "replicas_wished": deployment.config.replicas,
            "reason": deployment.reason,
            "rollout": deployment.rollout,
            "build_task_id": build_workflow_id(deployment.id, number) if builds else None,
            "stopped_at": deployment.stopped_at,
            "workflow_id": deployment_workflow_id(deployment.id),
            "replicas": [
                replica.model_dump() | {"metrics": each.get(replica.id, ReplicaFigures())}
                for replica in replicas
            ],
            "metrics": whole,
        }
    )
