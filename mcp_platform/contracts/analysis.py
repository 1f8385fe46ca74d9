"""Feasibility: what is asked and what is answered.

The workflow `analysis.feasibility` can be a part of another one, as a child: put what is judged into
`Collection.IDEAS` under `<the parent's task id>/<name>`, and start the child with that as `idea_key`, the
parent's `task_id`, and `recorded=False`. Its status is its answer: `result` is a `Feasibility`, and a child
that fails says why. What it keeps meanwhile has keys below `idea_key`, and goes when the parent's task does.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationInfo, field_validator

from mcp_platform.contracts.base import Contract, Order, Said, plain_json
from mcp_platform.contracts.checks import PackageFinding, PackageQuestion, TrialOutcome, TrialReport
from mcp_platform.contracts.evidence import Evidence
from mcp_platform.contracts.known import KnownMatch
from mcp_platform.contracts.models import EngineChoice, ModelOutcome

LONGEST_IDEA = 20_000
"""Characters of a description, and of a text."""


class Idea(BaseModel):
    """What is to be judged: a name, a description, requirements; anything else is kept as evidence.

    A configuration may stand in it: `servers` and `tools` as in an MCP's, `mcpServers`, or a `server.json`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=255)]
    description: Annotated[str, Field(max_length=LONGEST_IDEA)] = ""
    requirements: dict[str, Any] = {}

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain_json(value)


def _plain_extra(idea: Idea | None) -> Idea | None:
    plain_json(idea.model_extra if idea else None)
    return idea


class AnalyzeFeasibility(Order):
    """Body of `POST /analyze/feasibility`: either `config` or `description` says what is judged."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {"required": ["config"], "properties": {"config": {"type": "object"}}},
                {"required": ["description"], "properties": {"description": {"type": "string"}}},
            ],
            "example": {
                "config": {
                    "name": "Database Query Tool",
                    "description": "Execute SQL queries on production database",
                    "requirements": {"database_access": True, "read_only": False},
                }
            },
        },
    )

    description: Annotated[Said, Field(max_length=LONGEST_IDEA)] | None = None
    """The idea in one's own words; packages, commands and addresses in it are found and checked."""
    config: Annotated[Idea | None, Field(validate_default=True), AfterValidator(_plain_extra)] = None
    engine: EngineChoice = EngineChoice.AUTO
    try_it: Annotated[StrictBool, Field(alias="try")] = True
    """Whether servers may be started, or asked, to see what they are."""

    @field_validator("config")
    @classmethod
    def _exactly_one(cls, value: Idea | None, info: ValidationInfo) -> Idea | None:
        # A description that is wrong by itself has been told already.
        if "description" in info.data and (value is None) == (info.data["description"] is None):
            found = "both" if value else "none of them"
            raise ValueError(f"needs exactly one of config and description; found {found}")
        return value


class FeasibilityOrder(Contract):
    """What the workflow is started with; the idea itself is a document."""

    task_id: str
    """Whose budget and documents are used: the task of this workflow, or of its parent."""
    idea_key: str
    """Of `Collection.IDEAS`: an `Idea`, or `{"description": …}`."""
    owner_id: UUID
    engine: EngineChoice = EngineChoice.AUTO
    tries: bool = True
    may_run_commands: bool = False
    """Whether the owner may run commands as the platform's own user (`deployments:process`)."""
    reads_mcps: bool = True
    """Whether the owner may be told of registered MCPs."""
    reads_knowledge: bool = True
    of_mcp: UUID | None = None
    """The registered MCP that this is a version of: it is not told that it does the same as itself."""
    recorded: bool = True
    """False for a part of another workflow: no task of its own begins or ends."""


class PackageUse(Contract):
    """A package that the idea names."""

    question: PackageQuestion
    server: str | None = None
    """The server of the included configuration that it is run by."""


class IdeaFacts(Contract):
    """An idea, parsed: what it wants to do, in the terms of the rules."""

    idea_key: str
    capabilities: list[str]
    """Such as `database`, `write`, `secrets`, `network`, `shell`, `files`."""
    servers: list[str]
    """How the servers of an included configuration are reached: `command`, `url`, `image`."""
    problems: list[str]
    """What is wrong with an included configuration, in words."""
    words: int
    """Length of the description."""
    packages: list[PackageUse] = []
    draft_key: str | None = None
    """Of `Collection.DRAFTS`: the configuration that was found, where it is valid and has servers."""
    to_try: list[str] = []
    """Names of servers of that draft that are worth trying."""
    trusted: list[str] = []
    """Those of them that stand in the shipped catalogue exactly so, tried in the version that they pin."""
    from_words: bool = False
    """Whether the servers were found in a text, which may be a stranger's that the caller pasted."""
    search_text: str = ""
    """What to look for in catalogues: name, description and packages, cut to what a search takes."""
    warnings: list[str] = []


class SearchOrder(Contract):
    """What registered MCPs and documents are looked for."""

    text: str
    reads_mcps: bool = True
    reads_knowledge: bool = True
    of_mcp: UUID | None = None


class SimilarMcp(Contract):
    """A registered MCP that looks like the idea."""

    slug: str
    name: str
    score: float
    """The share of the idea's words that it has, rarer words weighing more."""


class FoundDocument(Contract):
    """A document of the knowledge base that the idea touches."""

    document_id: UUID
    title: str
    snippet: str
    score: float


class KnownMcps(Contract):
    """What is known here that looks like the idea, likest first."""

    similar: list[str]
    """Registered MCPs as `slug: name`."""
    mcps: list[SimilarMcp] = []
    documents: list[FoundDocument] = []
    warnings: list[str] = []


class TriedServer(Contract):
    """A server of the included configuration, and what its trial showed."""

    server: str
    report: TrialReport


class JudgeOrder(Contract):
    """Everything that an analyst judges by."""

    idea_key: str
    facts: IdeaFacts
    known: KnownMcps
    matches: list[KnownMatch] = []
    packages: list[PackageFinding] = []
    """In the order of `facts.packages`."""
    trials: list[TriedServer] = []
    warnings: list[str] = []
    input_key: str | None = None
    """Of `Collection.MODEL_INPUTS`: where a model finds what it is told; None where none is asked."""


class SimilarServer(Contract):
    """A known server that may do it."""

    slug: str
    name: str
    score: float
    sure: bool = False


class ShownTrial(Contract):
    """What a trial showed, in short."""

    server: str
    outcome: TrialOutcome
    reason: str | None = None
    driver: str | None = None
    tools: list[str] = []
    """Names of the tools that it listed, at most 50."""
    seconds: float = 0.0
    placeholders: list[str] = []


class Checks(Contract):
    """What was checked for real."""

    packages: list[PackageFinding] = []
    trials: list[ShownTrial] = []


class Feasibility(Contract):
    """The verdict, as the API shows it; `score` lies between 0 and 1."""

    score: float
    is_feasible: bool
    reasoning: str
    risks: list[str]
    recommendations: list[str]
    engine: Literal["rules", "model"]
    rule_score: float | None = None
    """The score by rules alone: the same for the same input and evidence."""
    stops: list[str] = []
    """Risks for which it is not feasible whatever the score is."""
    evidence: list[Evidence] = []
    """For each risk, and for what else is said, where it comes from."""
    similar: list[SimilarMcp] = []
    known: list[SimilarServer] = []
    checks: Checks = Checks()
    warnings: list[str] = []
    """What could not be found out, and why."""


class OpinionOrder(Contract):
    """A verdict by rules, and what the model said of it."""

    verdict: Feasibility
    outcome: ModelOutcome


class OpinionRisk(BaseModel):
    """A risk that a model sees."""

    risk: Annotated[str, Field(min_length=1, max_length=400)]
    because: Annotated[str, Field(max_length=400)] = ""
    """What of the input it concludes that from."""


class FeasibilityOpinion(BaseModel):
    """What a model answers about an idea that the rules have judged."""

    reasoning: Annotated[str, Field(min_length=1, max_length=2000)]
    risks: Annotated[list[OpinionRisk], Field(max_length=8)] = []
    """Those that the rules did not find."""
    recommendations: Annotated[list[Annotated[str, Field(max_length=400)]], Field(max_length=8)] = []
    score_change: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0
    """How far the rules' score is off; more than 0.15 up or down is cut to that."""
