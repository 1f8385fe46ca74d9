"""What happens around a merge: checks of pull requests before it, roll-outs after it."""

from enum import StrEnum
from uuid import UUID

from mcp_platform.contracts.base import Contract


class MergedPush(Contract):
    """A push that changed MCPs of a connection that says `deploy`."""

    connection_id: UUID
    owner_id: UUID
    commit: str
    mcp_ids: list[UUID]
    """Those that its sync added or changed."""


class DeployOrder(Contract):
    """What the workflow that deploys pushes is started with; the pushes come by signal."""

    connection_id: UUID
    owner_id: UUID
    waiting: MergedPush | None = None
    """Carried over when it continues as new."""


class DeployStep(Contract):
    """Asks to deploy one MCP of a push."""

    task_id: str
    connection_id: UUID
    owner_id: UUID
    commit: str
    mcp_id: UUID


class Judgement(Contract):
    """What the feasibility of one MCP is judged by."""

    mcp_id: UUID
    slug: str
    version: str
    idea_key: str


class RolloutBegun(Contract):
    """A roll-out, or a new deployment, that was begun for a push."""

    deployment_id: UUID
    revision: int


class RolloutEnded(Contract):
    """What became of it."""

    healthy: bool
    rolled_back: bool = False
    """Whether what ran before serves on."""
    reason: str | None = None


class DeployOutcome(StrEnum):
    """What became of one MCP of a push."""

    DEPLOYED = "deployed"
    NOT_FEASIBLE = "not_feasible"
    ROLLED_BACK = "rolled_back"
    """Its replicas did not become healthy; what ran before serves on."""
    FAILED = "failed"
    """It was not deployed; the reason says why."""


class DeployedMcp(Contract):
    """What became of one MCP of a push, and why."""

    mcp_id: UUID
    slug: str
    version: str
    outcome: DeployOutcome
    reason: str | None = None
    deployment_id: UUID | None = None
    revision: int | None = None


class DeployReport(Contract):
    """The result of a deployment on merge."""

    connection_id: UUID
    commit: str
    mcps: list[DeployedMcp]
    commented: bool = False
    """Whether the commit says what went wrong."""


class DeployNote(Contract):
    """Asks to tell a commit how its deployment stands; without a report that it goes on."""

    connection_id: UUID
    commit: str
    report: DeployReport | None = None


class PullRequestEvent(Contract):
    """A pull request was opened, has a new head, or was closed."""

    connection_id: UUID
    owner_id: UUID
    number: int


class CheckOrder(Contract):
    """What the workflow that checks a pull request is started with; its id has connection and number."""

    connection_id: UUID
    owner_id: UUID
    number: int


class CheckStep(Contract):
    """Asks for a step of a check."""

    task_id: str
    connection_id: UUID
    number: int


class ChangeKind(StrEnum):
    """What a pull request makes of a definition."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    REFUSED = "refused"
    """It is not valid as the pull request has it."""


class ChangedDefinition(Contract):
    """A definition that a pull request changes."""

    path: str
    entry: str = ""
    slug: str | None = None
    kind: ChangeKind
    reason: str | None = None
    """Why it is refused."""
    differences: list[str] = []
    """In lines that begin with `+` or `-`."""


class CheckPlan(Contract):
    """What a check found at the head of a pull request: a document of its task."""

    head: str
    fork: bool = False
    """Whether the head is in somebody else's repository."""
    definitions: list[ChangedDefinition] = []
    more: int = 0
    """How many are left out: one check judges a bounded number."""


class CheckFound(Contract):
    """A plan is written, or there is nothing to check."""

    open: bool
    """Whether the pull request is, and is for the connection's branch."""
    head: str = ""
    fork: bool = False
    key: str = ""
    """Of the plan's document."""
    ideas: dict[int, str] = {}
    """What is to be judged, by the place of the definition in the plan."""


class CheckVerdict(Contract):
    """What was judged of one definition, or why it could not be."""

    place: int
    """In the plan's definitions."""
    score: float | None = None
    feasible: bool | None = None
    engine: str | None = None
    reasoning: str = ""
    risks: list[str] = []
    recommendations: list[str] = []
    reason: str | None = None
    """Why there is no verdict."""


class CheckNote(Contract):
    """Asks to write what was found onto the pull request."""

    step: CheckStep
    key: str
    """Of the plan's document."""
    verdicts: list[CheckVerdict]


class CheckReport(Contract):
    """The result of a check."""

    connection_id: UUID
    number: int
    open: bool = True
    head: str = ""
    definitions: list[ChangedDefinition] = []
    state: str = "none"
    """`success` or `failure`, as the commit's status says it; `none` where nothing was to be said."""
    commented: bool = False
    status_written: bool = False
    """False where the credential may not write statuses."""


class HeadsSeen(Contract):
    """What a look at the heads of branches found."""

    asked: int = 0
    moved: int = 0
    failed: int = 0
    """Repositories that did not answer."""
