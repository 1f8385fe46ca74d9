"""Deployments, replicas and the routes that the gateway derives from them."""

from mcp_platform.contracts.deployments.config import (
    Autoscaling,
    CreateDeployment,
    DeploymentConfig,
    Driver,
    HealthCheck,
    ScaleDeployment,
)
from mcp_platform.contracts.deployments.orders import (
    DeploymentOrder,
    Findings,
    ReplicaLost,
    ReplicaOrder,
    ReplicaOutcome,
    RolloutOrder,
    Slot,
    replica_id,
)
from mcp_platform.contracts.deployments.records import (
    Deployment,
    DeploymentReport,
    DeploymentState,
    Health,
    Replica,
    ReplicaState,
)
from mcp_platform.contracts.deployments.revisions import (
    Revision,
    RevisionCause,
    RevisionContent,
    RevisionOutcome,
    RevisionState,
    Rollout,
)
from mcp_platform.contracts.deployments.routes import CallFigures, Route, UpstreamAddress

__all__ = [
    "Autoscaling",
    "CallFigures",
    "CreateDeployment",
    "Deployment",
    "DeploymentConfig",
    "DeploymentOrder",
    "DeploymentReport",
    "DeploymentState",
    "Driver",
    "Findings",
    "Health",
    "HealthCheck",
    "Replica",
    "ReplicaLost",
    "ReplicaOrder",
    "ReplicaOutcome",
    "ReplicaState",
    "Revision",
    "RevisionCause",
    "RevisionContent",
    "RevisionOutcome",
    "RevisionState",
    "Rollout",
    "RolloutOrder",
    "Route",
    "ScaleDeployment",
    "Slot",
    "UpstreamAddress",
    "replica_id",
]
