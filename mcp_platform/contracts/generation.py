"""Writing configurations: what is asked, what a draft is, and what is answered."""

import json
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool, field_validator, model_validator

from mcp_platform.contracts.base import Contract, Order, Said, plain_json
from mcp_platform.contracts.checks import PackageFinding, PackageQuestion, SafeCall, TrialReport
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.exchange import Skipped
from mcp_platform.contracts.images import GitSource
from mcp_platform.contracts.known import KnownMatch
from mcp_platform.contracts.mcps import Name, SemanticVersion, ServerConfig, Slug, Tags
from mcp_platform.contracts.models import EngineChoice
from mcp_platform.contracts.openapi import NeededSecret

MOST_DRAFTS: Final = 5
"""How many drafts one task tries, whoever wrote them."""
MOST_REPAIRS: Final = 2
"""How often a model is sent what was wrong with its draft."""

_LARGEST_REQUIREMENTS: Final = 20_000
_SOURCES: Final = ("requirements", "description", "openapi", "repository_url")


def _given(name: str, *kinds: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": list(kinds)}}}


def _without(*names: str) -> dict[str, Any]:
    return {"properties": {name: {"type": "null"} for name in names}}


_Text = Annotated[str, Field(json_schema_extra={"pattern": r"\S"})]
_Object = Annotated[dict[str, Any], Field(json_schema_extra={"minProperties": 1})]


class GenerateConfig(Order):
    """Body of `POST /analyze/generate-config`: exactly one source; words may accompany requirements."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {
                    "anyOf": [_given("requirements", "object"), _given("description", "string")],
                    **_without("openapi", "base_url", "repository_url", "ref", "path"),
                },
                {
                    "anyOf": [_given("openapi", "object", "string")],
                    **_without("requirements", "description", "repository_url", "ref", "path"),
                },
                {
                    "anyOf": [_given("repository_url", "string")],
                    **_without("requirements", "description", "openapi", "base_url"),
                },
            ],
            "example": {
                "requirements": {
                    "tool_type": "weather",
                    "features": ["current_weather", "forecast", "alerts"],
                    "data_sources": ["openweathermap"],
                }
            },
        },
    )

    requirements: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    """What is wanted, in whatever fields."""
    description: Annotated[Said, Field(max_length=20_000)] | None = None
    """The same in words."""
    openapi: _Text | _Object | None = None
    """OpenAPI 3.0 or 3.1: its text, JSON or YAML, or the JSON object itself. Nothing is fetched."""
    base_url: Annotated[str, Field(max_length=2000, pattern=r"^https?://")] | None = None
    """Where that API is; what the document says of its servers unless given."""
    repository_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://")] | None = None
    """`https://…` of a Git repository that holds an MCP server."""
    ref: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+-]*$", max_length=255)] | None = None
    """A branch, a tag or a commit of it; its main branch unless given."""
    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$", max_length=1024)] | None = None
    """The folder of the server within it, where that is not its root."""
    name: Name | None = None
    slug: Slug | None = None
    engine: EngineChoice = EngineChoice.AUTO
    try_it: Annotated[StrictBool, Field(alias="try")] = True
    """Whether the server is started, and asked for its tools, before it is told."""

    @field_validator("openapi", mode="before")
    @classmethod
    def _document(cls, value: Any) -> Any:
        # One error of this field, where the union would give one for each kind that it may be.
        blank = not value.strip() if isinstance(value, str) else value == {}
        if blank or not isinstance(value, str | dict | None):
            raise ValueError("must be an OpenAPI 3.0 or 3.1 document: an object, or its text in JSON or YAML")
        return value

    @field_validator("requirements", "openapi")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain_json(value)

    @field_validator("requirements")
    @classmethod
    def _bounded(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and len(json.dumps(value)) > _LARGEST_REQUIREMENTS:
            raise ValueError(f"are larger than {_LARGEST_REQUIREMENTS} characters")
        return value

    @field_validator("base_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        return None if value is None else ServerConfig.model_validate({"url": value}).url

    @field_validator("repository_url")
    @classmethod
    def _fetchable(cls, value: str | None) -> str | None:
        return None if value is None else GitSource.model_validate({"url": value}).url

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        if value is not None and ".." in value.split("/"):
            raise ValueError("must lie inside the repository")
        return value and value.rstrip("/")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        words = self.requirements is not None or self.description is not None
        given = [name for name in _SOURCES[2:] if getattr(self, name) is not None]
        if len(given) + words != 1:
            found = " and ".join([name for name in _SOURCES if getattr(self, name) is not None])
            raise ValueError(
                "needs exactly one of requirements (or description, or both), openapi and repository_url;"
                f" found {found or 'none of them'}"
            )
        for name, of in (("base_url", "openapi"), ("ref", "repository_url"), ("path", "repository_url")):
            if getattr(self, name) is not None and getattr(self, of) is None:
                raise ValueError(f"{name} belongs to {of}, which is not given")
        return self


class Background(Contract):
    """A passage of the knowledge base that may matter."""

    document_id: UUID
    title: str
    text: str


class Wish(Contract):
    """What is asked, as it is stored: the body, and what the knowledge base has about it."""

    requirements: dict[str, Any] | None = None
    description: str | None = None
    openapi: str | dict[str, Any] | None = None
    base_url: str | None = None
    repository_url: str | None = None
    ref: str | None = None
    path: str | None = None
    name: str | None = None
    slug: str | None = None
    background: list[Background] = []


class GenerationOrder(Contract):
    """What the workflow is started with; what is asked is a document under the task's id."""

    task_id: str
    owner_id: UUID
    source: Literal["words", "openapi", "repository"]
    engine: EngineChoice
    try_it: bool
    reads_connected: bool = False
    """Whether private repositories may be read with the account's connections (`github:read`)."""


class Draft(Contract):
    """A configuration that nobody has checked yet; it stands in `Collection.DRAFTS`."""

    key: str
    origin: SourceKind
    source: str
    """Names where it comes from, so that a reader can look it up."""
    label: str
    """What people call it: `the known server time`."""
    name: str
    slug: str
    description: str = ""
    explanation: str = ""
    secrets: dict[str, str] = {}
    """What the secrets must be that the configuration refers to, as far as that is known."""
    tools: list[str] = []
    """Names of tools that it is known to have before anybody asks it."""
    trusted: bool = False
    """Whether it is a command of the shipped catalogue that was tried, in that very version."""
    shipped: bool = False
    """Whether it stands in the catalogue that ships with the platform, as it is."""
    out_of_reach: bool = False
    """Whether only an image that is built has its files, so that a trial without one says little."""
    call: SafeCall | None = None
    warnings: list[str] = []
    evidence: list[Evidence] = []
    engine: Literal["rules", "model"] = "rules"
    known: str | None = None
    """The slug of the known server that it runs."""
    skipped: list[Skipped] = []
    """Operations of an OpenAPI document that are no tools."""
    problem: str | None = None
    """Why it can be no configuration."""


class Understood(Contract):
    """What is asked, as the next steps need it."""

    text: str
    """What the catalogue is searched by."""
    drafts: list[Draft] = []
    """What the source itself says, likest first."""
    notes: list[str] = []
    """Why it says no more, in words."""


class DraftKnown(Contract):
    """A known server is to be drafted."""

    task_id: str
    number: int
    match: KnownMatch
    explanation: str | None = None
    """A model's, where it chose."""
    model: str | None = None


class Failure(Contract):
    """A draft that did not hold, and why."""

    draft: Draft
    reason: str


class Question(Contract):
    """What a model is to be asked; the answer is a `ConfigDraft`."""

    task_id: str
    number: int
    matches: list[KnownMatch]
    failure: Failure | None = None
    """Its last draft, where it is to repair that one."""


class Answer(Contract):
    """What a model answered."""

    task_id: str
    number: int
    answer: dict[str, Any]
    model: str
    matches: list[KnownMatch]


class Checked(Contract):
    """What a draft looks like to rules."""

    problem: str | None = None
    packages: list[PackageQuestion] = []
    """The packages that it runs."""
    servers: list[str] = []
    """Names of its servers."""


class Tried(Contract):
    """A trial of one of a draft's servers; the report is short of the tools' definitions."""

    server: str
    report: TrialReport
    tools: list[str] = []


class Result(Contract):
    """A draft, and all that was seen of it."""

    draft: Draft
    packages: list[PackageFinding] = []
    trials: list[Tried] = []
    inconclusive: str | None = None
    """What it failed by, where that does not speak against it."""


class Conclusion(Contract):
    """All that the last step needs."""

    order: GenerationOrder
    result: Result | None = None
    """None where no draft held."""
    text: str = ""
    """What was looked for."""
    matches: list[KnownMatch] = []
    failures: list[Failure] = []
    notes: list[str] = []
    no_model: str | None = None
    """Why no model was asked."""


class Verified(Contract):
    """Something that was checked, how, and what came of it."""

    what: Literal["schema", "package", "trial", "call"]
    how: str
    outcome: Literal["passed", "failed", "not_tried", "unknown"]


class Alternative(Contract):
    """A known server that might do as well."""

    slug: str
    name: str
    score: float


class Generated(Contract):
    """A configuration, and what is known of it."""

    config: dict[str, Any]
    slug: str
    name: str
    version: str
    description: str
    explanation: str
    engine: Literal["rules", "model"]
    verified: list[Verified]
    warnings: list[str]
    sources: list[Evidence]
    secrets: list[NeededSecret]
    tools: list[str]
    alternatives: list[Alternative]
    skipped: list[Skipped] = []
    """Operations of an OpenAPI document that are no tools."""


class RegisterGenerated(Order):
    """Body of `POST /mcps/from-task/{task_id}`: what is left out is as it was generated."""

    name: Name | None = None
    slug: Slug | None = None
    version: SemanticVersion | None = None
    tags: Tags = []
