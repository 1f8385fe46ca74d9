"""Checking what can be checked for real: packages in their registries, and servers that are tried."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment


class Registry(StrEnum):
    """A package registry."""

    PYPI = "pypi"
    NPM = "npm"


class PackageQuestion(Contract):
    """Which package is asked about."""

    registry: Registry
    name: str
    version: str | None = None
    """The one that a configuration pins."""


class PackageFinding(Contract):
    """What its registry says of a package."""

    registry: Registry
    name: str
    exists: bool | None
    """None where the registry could not be asked; `reason` says why."""
    version: str | None = None
    """The one that was asked about, where it exists."""
    latest: str | None = None
    released_at: Moment | None = None
    """Of the latest."""
    licence: str | None = None
    summary: str | None = None
    withdrawn: bool = False
    """Whether the version is yanked or deprecated."""
    reason: str | None = None


class SafeCall(Contract):
    """A call that changes nothing, to see whether a server answers."""

    tool: str
    arguments: dict[str, Any] = {}


class TrialOrder(Contract):
    """What is to be tried, for whom."""

    task_id: str
    owner_id: UUID
    draft_key: str
    """Of `Collection.DRAFTS`: a configuration. Its `${NAME}` get placeholders, never the secrets: what is
    tried may be a model's invention, or a stranger's."""
    server: str | None = None
    """Which of its servers; may be left out where there is one."""
    call: SafeCall | None = None
    patience: float = 60.0
    """Seconds within which it must list its tools."""
    trusted: bool = False
    """Whether the command is one of `known_servers.is_trusted`."""
    may_run_commands: bool = False
    """Whether who asks wrote the command, and may run commands as the platform's own user
    (`deployments:process`): never for what a repository, a model or a registry says."""
    image: str | None = None
    """The image that was built for its command; `workflows.checks` has it built where one is needed."""


class TrialOutcome(StrEnum):
    """What came of a trial."""

    PASSED = "passed"
    """It listed its tools, and answered the call if there was one."""
    FAILED = "failed"
    NOT_TRIED = "not_tried"
    """Nothing may run it here, or it asks for credentials; `reason` says which."""


class CallReport(Contract):
    """What a tool answered to a safe call."""

    tool: str
    ok: bool
    answer: str
    """The beginning of it, as text."""


class TrialReport(Contract):
    """What was seen. Nothing of the trial runs any more when this is told."""

    outcome: TrialOutcome
    reason: str | None = None
    driver: str | None = None
    """What it ran in: `process`, `docker` or `remote`."""
    era: str | None = None
    """The protocol that it speaks: `2026-07-28` or `2025-11-25`."""
    server_info: dict[str, Any] = {}
    tools: list[dict[str, Any]] = []
    """Their definitions as the server gives them, at most 200 and 256 KiB together."""
    call: CallReport | None = None
    seconds: float = 0.0
    stderr_tail: list[str] = []
    placeholders: list[str] = []
    """Names that the configuration refers to, and that stood for nothing in the trial."""
    needs_image: bool = False
    """It was not tried because its image is not built yet."""
