"""A deployment's life: the wish that an MCP runs with N replicas, kept true until it is stopped."""

from workflows.deployments.entity import DeploymentWorkflow

__all__ = ["DeploymentWorkflow"]
