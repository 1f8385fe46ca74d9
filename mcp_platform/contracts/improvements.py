"""Improvements: what is suggested for a registered MCP, and what it rests on."""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from mcp_platform.contracts.base import Contract, Order
from mcp_platform.contracts.checks import PackageFinding, PackageQuestion, TrialReport
from mcp_platform.contracts.evidence import Evidence
from mcp_platform.contracts.models import EngineChoice


class Severity(StrEnum):
    """How much a suggestion matters."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Category(StrEnum):
    """What a suggestion is about."""

    DESCRIPTION = "description"
    PARAMETERS = "parameters"
    ANNOTATIONS = "annotations"
    NAMES = "names"
    USAGE = "usage"
    RELIABILITY = "reliability"
    SPEED = "speed"
    SIZE = "size"
    DEPLOYMENT = "deployment"
    PACKAGE = "package"
    SECRETS = "secrets"
    SECURITY = "security"
    CONFIGURATION = "configuration"


class AnalyzeImprovements(Order):
    """Body of `POST /analyze/improvements`."""

    tool_id: UUID
    engine: EngineChoice = EngineChoice.AUTO


class ApplySuggestion(Order):
    """Body of `POST /mcps/{id}/apply-suggestion`."""

    task_id: Annotated[str, Field(min_length=1, max_length=100)]
    suggestion_id: Annotated[str, Field(min_length=1, max_length=100)]


class Suggestion(Contract):
    """One thing that could be better."""

    id: str
    """The same for the same finding, whenever the MCP is looked at."""
    title: str
    severity: Severity
    category: Category
    reason: str
    evidence: list[Evidence] = []
    patch: list[dict[str, Any]] | None = None
    """JSON Patch (RFC 6902) of the MCP's configuration; None where it is no matter of the configuration."""
    target: str
    """`config`, `deployment`, `mcp`, `server:<name>` or `tool:<name>`."""


class Checked(Contract):
    """Something that was to be looked at."""

    what: str
    looked: bool
    detail: str


class Improvements(Contract):
    """The result, as the API shows it."""

    tool_id: UUID
    score: float
    """Between 0 and 1: what the findings leave of 1."""
    engine: Literal["rules", "model"]
    engine_reason: str | None = None
    """Why it was rules alone."""
    version: str
    """Of the MCP, as it was looked at."""
    config_key: str
    """The configuration that the patches are for."""
    suggestions: list[Suggestion]
    summary: str
    checked: list[Checked]


class ImprovementOrder(Contract):
    """What the workflow is started with."""

    task_id: str
    mcp_id: UUID
    owner_id: UUID
    """Who asks."""
    engine: EngineChoice = EngineChoice.AUTO
    may_run_commands: bool = False


class ServerToTry(Contract):
    """A server whose tools nothing that runs tells."""

    name: str
    trusted: bool
    """Whether its command ships with the platform."""


class PackageInUse(Contract):
    """A package that a server runs."""

    server: str
    question: PackageQuestion


class Looked(Contract):
    """What an MCP is, and what is still to be checked of it."""

    config_key: str
    version: str
    draft_key: str
    servers: list[ServerToTry]
    packages: list[PackageInUse]


class JudgeImprovements(Contract):
    """What was found, for the rules."""

    order: ImprovementOrder
    looked: Looked
    trials: list[TrialReport]
    """By the order of `looked.servers`."""
    findings: list[PackageFinding]
    """By the order of `looked.packages`."""


class Wording(BaseModel):
    """What a model says of one tool."""

    model_config = ConfigDict(extra="forbid")

    tool: str
    description: Annotated[str, Field(min_length=10, max_length=1_000)]
    """How the tool should be described."""
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Remark(BaseModel):
    """Something that a model found beyond the rules."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, Field(min_length=1, max_length=200)]
    severity: Literal["info", "low", "medium"]
    category: Category
    target: Annotated[str, Field(max_length=200)]
    reason: Annotated[str, Field(min_length=1, max_length=1_000)]


class ImprovementWording(BaseModel):
    """What a model adds to the findings of the rules; it takes none of them away."""

    model_config = ConfigDict(extra="forbid")

    wordings: Annotated[list[Wording], Field(max_length=50)] = []
    remarks: Annotated[list[Remark], Field(max_length=10)] = []
    summary: Annotated[str, Field(min_length=1, max_length=1_000)]


class ConcludeImprovements(Contract):
    """What the result is made of."""

    order: ImprovementOrder
    answer: dict[str, Any] | None = None
    """An `ImprovementWording`."""
    model: str | None = None
    engine_reason: str | None = None
