"""The steps of a deployment's life; each may be repeated."""

from activities.deployments.records import DeploymentActivities
from activities.deployments.replicas import ReplicaActivities

__all__ = ["DeploymentActivities", "ReplicaActivities"]
