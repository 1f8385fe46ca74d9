"""What workflows and activities of deployments tell each other."""

from uuid import UUID, uuid5

from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.deployments.config import Autoscaling, Driver
from mcp_platform.contracts.deployments.records import ReplicaState
from mcp_platform.contracts.deployments.revisions import RevisionContent, Rollout


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
    environment: str = "production"
    owner_id: UUID | None = None
    drain_timeout: float = 30.0
    """How long calls in flight may take to finish before their replica is ended."""
    autoscaling: Autoscaling | None = None
    revision: int = 1
    latest_revision: int = 1
    """The highest number that was given to a revision."""
    content: RevisionContent | None = None
    """What the revision runs; None in orders of releases before revisions."""
    rollout: Rollout | None = None
    asleep: bool = False
    """Carried over: scaled to zero until the next call."""


class Slot(Contract):
    """One place among a deployment's replicas, as its workflow remembers it."""

    ordinal: int
    revision: int = 1
    driver: Driver | None = None
    """What runs it, where that is not the deployment's present driver."""
    state: ReplicaState = ReplicaState.STARTING
    ever_healthy: bool = False
    failures: int = 0
    """Attempts that failed since the place was last healthy for long."""
    lost: bool = False
    """Whether a replica was lost here since then."""
    restarts: int = 0
    reason: str | None = None
    last_words: str | None = None
    """What the replica wrote before it was lost."""


class RolloutOrder(Contract):
    """What a deployment's workflow is asked to run from now on."""

    order: DeploymentOrder
    """As if the workflow were begun for it; its slots and revision numbers do not matter."""
    replicas: int | None = None
    """How many replicas are wished then; as many as now unless given."""


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
    revision: int = 1
    drain: float = 0.0
    """How long to let calls in flight finish before the replica is ended."""

    @property
    def replica_id(self) -> UUID:
        """The same for every copy that ever stands in this place for a revision: so none can run twice."""
        return replica_id(self.deployment_id, self.ordinal, self.revision)


def replica_id(deployment_id: UUID, ordinal: int, revision: int) -> UUID:
    """Give the id of the replica that stands in a place for a revision."""
    return uuid5(deployment_id, str(ordinal) if revision == 1 else f"{revision}/{ordinal}")


class ReplicaOutcome(Contract):
    """What came of an attempt to bring a replica up."""

    healthy: bool
    reason: str | None = None
    unavailable: bool = False
    """Whether what runs replicas could not be reached: no fault of this one."""
    last_words: str | None = None
    """What it wrote before it was given up."""


class ReplicaLost(Contract):
    """Why a watch ended: the replica no longer answers."""

    reason: str
    last_words: str | None = None


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
