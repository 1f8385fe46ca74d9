"""Every workflow that the platform has; the replay test reads this list too."""

from workflows.analysis import FeasibilityWorkflow
from workflows.deployments import DeploymentWorkflow
from workflows.knowledge import IndexDocumentWorkflow, ReembedWorkflow
from workflows.mcps import DeleteMcpWorkflow
from workflows.monitoring import ReconcileWorkflow, SweepWorkflow

WORKFLOWS: list[type] = [
    DeleteMcpWorkflow,
    DeploymentWorkflow,
    FeasibilityWorkflow,
    IndexDocumentWorkflow,
    ReconcileWorkflow,
    ReembedWorkflow,
    SweepWorkflow,
]
