"""Every workflow that the platform has; the replay test reads this list too."""

from workflows.analysis import FeasibilityWorkflow
from workflows.authorizations import AuthorizationWorkflow
from workflows.deployments import DeploymentWorkflow
from workflows.generation import GenerationWorkflow
from workflows.github_sync.checks import CheckPullRequestWorkflow
from workflows.github_sync.connecting import ConnectWorkflow
from workflows.github_sync.deliveries import DeliveryWorkflow
from workflows.github_sync.deploying import DeployMergedWorkflow
from workflows.github_sync.disconnecting import DisconnectWorkflow
from workflows.github_sync.pushing import PushWorkflow
from workflows.github_sync.syncing import SyncWorkflow
from workflows.github_sync.watching import WatchHeadsWorkflow
from workflows.images import BuildImageWorkflow
from workflows.improvements import ImprovementWorkflow
from workflows.knowledge import IndexDocumentWorkflow, ReembedWorkflow
from workflows.known import RefreshKnownWorkflow
from workflows.mcps import DeleteMcpWorkflow
from workflows.monitoring import ReconcileWorkflow, SweepWorkflow

WORKFLOWS: list[type] = [
    AuthorizationWorkflow,
    BuildImageWorkflow,
    CheckPullRequestWorkflow,
    ConnectWorkflow,
    DeleteMcpWorkflow,
    DeliveryWorkflow,
    DeployMergedWorkflow,
    DeploymentWorkflow,
    DisconnectWorkflow,
    FeasibilityWorkflow,
    GenerationWorkflow,
    ImprovementWorkflow,
    IndexDocumentWorkflow,
    PushWorkflow,
    ReconcileWorkflow,
    ReembedWorkflow,
    RefreshKnownWorkflow,
    SweepWorkflow,
    SyncWorkflow,
    WatchHeadsWorkflow,
]
