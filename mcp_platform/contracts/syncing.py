"""What a sync reads in a repository, and what its steps tell one another."""

from typing import Any
from uuid import UUID

from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.github import DefinitionReport, SyncCause
from mcp_platform.contracts.mcps import Tags


class FoundDefinition(Contract):
    """A valid definition, as a file has it; what the file does not say is None."""

    path: str
    entry: str = ""
    """Its key within the file; empty where the file is one definition."""
    slug: str
    name: str | None = None
    description: str | None = None
    version: str | None = None
    tags: Tags | None = None
    config: dict[str, Any]


class RefusedDefinition(Contract):
    """A definition that cannot be an MCP, and why."""

    path: str
    entry: str = ""
    slug: str | None = None
    reason: str


class PlannedDefinition(Contract):
    """A valid definition, the MCP that it belongs to, and Git's id of the content of its file."""

    found: FoundDefinition
    blob: str
    mcp_id: UUID
    synced_revision: int = 0
    """The MCP's revision when it was last synced, before this sync; 0 where it never was."""


class SyncPlan(Contract):
    """What a sync found at a commit, and what there is to do: a document of its task."""

    commit: str
    branch: str
    full_name: str
    files: int
    to_write: list[PlannedDefinition]
    """Those whose MCP, or the record of them, has to change."""
    settled: list[DefinitionReport]
    """What is known of the others."""
    warnings: list[str] = []


class SyncStep(Contract):
    """Asks for a step of a sync; `key` names the plan's document."""

    connection_id: UUID
    key: str
    force: bool = False


class PlanMade(Contract):
    """A plan is written."""

    commit: str
    to_write: int


class WriteOrder(SyncStep):
    """Asks to bring one MCP in step with its definition."""

    place: int


class FinishOrder(SyncStep):
    """Asks to record what a sync has done."""

    written: list[DefinitionReport]


class SyncRequest(Contract):
    """One more request or push, told to a sync that runs."""

    cause: SyncCause
    deploy: bool = False
    force: bool = False


class PushHeard(Contract):
    """A push to a connection's branch, as a delivery tells of it."""

    connection_id: UUID
    commit: str | None
    """The branch's commit afterwards, if it was told."""
    gone: bool = False
    """Whether the branch was deleted."""


class InstallationHeard(Contract):
    """What became of the right of the platform's App to see the repositories of connections."""

    connection_ids: list[UUID]
    refused: str | None
    """Why it has none any more; None where it has it again."""


class Handled(Contract):
    """What the platform did about a delivery, for one connection."""

    connection_id: UUID
    done: str


class DeliveryOutcome(Contract):
    """What the platform did about a delivery."""

    handled: list[Handled]
