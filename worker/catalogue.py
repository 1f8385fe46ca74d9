"""Every workflow that the platform has; the replay test reads this list too."""

from workflows.analysis import FeasibilityWorkflow
from workflows.deployments import DeploymentWorkflow
from workflows.monitoring import ReconcileWorkflow, SweepWorkflow

WORKFLOWS: list[type] = [DeploymentWorkflow, FeasibilityWorkflow, ReconcileWorkflow, SweepWorkflow]
