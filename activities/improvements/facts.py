"""What is known of an MCP that is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.checks import PackageFinding, PackageQuestion, TrialReport
from mcp_platform.contracts.deployments import Deployment, Replica
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.improvements import Category, Severity, Suggestion
from mcp_platform.contracts.mcps import Mcp, McpConfig


class Offered(Contract):
    """The tools of what runs, as a gateway told them."""

    tools: dict[str, dict[str, Any]] = {}
    differing: list[str] = []
    problem: str | None = None


@dataclass(frozen=True)
class Tool:
    """A tool as it was seen."""

    name: str
    definition: Mapping[str, Any]
    kind: SourceKind
    source: str
    server: str | None = None
    place: int | None = None
    """Where in `config.tools` it is defined, if that is what defines it."""

    @property
    def target(self) -> str:
        """Name it in a suggestion."""
        return f"tool:{self.name}"

    @property
    def properties(self) -> dict[str, Any]:
        """Its parameters by name."""
        schema = self.definition.get("inputSchema")
        found = schema.get("properties") if isinstance(schema, dict) else None
        return found if isinstance(found, dict) else {}

    def evidence(self, statement: str) -> Evidence:
        """Say something that was seen of it."""
        return Evidence(statement=statement, kind=self.kind, source=self.source)


@dataclass(frozen=True)
class Usage:
    """What was counted of one tool."""

    requests: int
    errors: int
    average_ms: float
    p95_ms: float | None

    @property
    def error_rate(self) -> float:
        """The share of the calls that failed."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Package:
    """A package that a server runs, and what its registry says of it."""

    server: str
    question: PackageQuestion
    finding: PackageFinding


@dataclass(frozen=True)
class Facts:
    """Everything that the rules go by."""

    mcp: Mcp
    raw: dict[str, Any]
    """The configuration as it was given: what patches are for."""
    config: McpConfig
    tools: list[Tool]
    offered: Offered = field(default_factory=Offered)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    deployment: Deployment | None = None
    replicas: list[Replica] = field(default_factory=list)
    packages: list[Package] = field(default_factory=list)
    trials: Mapping[str, TrialReport] = field(default_factory=dict)
    days: float = 0.0
    """For how long the deployment has been there, as far as figures go back."""


@dataclass(frozen=True)
class Finding:
    """What a rule found."""

    rule: str
    target: str
    title: str
    severity: Severity
    category: Category
    reason: str
    evidence: list[Evidence] = field(default_factory=list)
    patch: list[dict[str, Any]] | None = None
    shared: tuple[str, str] | None = None
    """Title, with `{}` for their number, and reason where the same was found of several tools, which makes
    one suggestion."""

    def suggestion(self, number: str) -> Suggestion:
        """Give it as it is shown."""
        return Suggestion(
            id=number,
            title=self.title,
            severity=self.severity,
            category=self.category,
            reason=self.reason,
            evidence=self.evidence,
            patch=self.patch,
            target=self.target,
        )
