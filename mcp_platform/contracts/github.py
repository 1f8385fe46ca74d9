"""Connections between MCPs and GitHub repositories."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.names import sync_workflow_id


class ConnectionState(StrEnum):
    """How a connection stands."""

    CONNECTING = "connecting"
    """GitHub is being asked; the connection is nobody's yet, and shown to nobody."""
    CONNECTED = "connected"
    REFUSED = "refused"
    """GitHub refuses the credential, or the repository is gone; `reason` says which."""
    DISCONNECTING = "disconnecting"


class CredentialKind(StrEnum):
    """What proves who asks GitHub."""

    TOKEN = "token"  # noqa: S105 - a word of the API, no token
    """A personal access token, sealed in the connection's row."""
    APP = "app"
    """An installation of the platform's GitHub App, whose key is in the settings."""


class WebhookState(StrEnum):
    """Whether GitHub tells us of pushes."""

    INSTALLED = "installed"
    REFUSED = "refused"
    """The platform may not install it; `webhook_reason` says why, and how to do it by hand."""
    BY_HAND = "by_hand"
    """Somebody made it at GitHub, and told the platform its secret."""
    BY_APP = "by_app"
    """The App's own webhook tells it."""


class DriftState(StrEnum):
    """How the repository and the platform stand to each other."""

    UNKNOWN = "unknown"
    """Never synced."""
    IN_SYNC = "in_sync"
    PLATFORM_AHEAD = "platform_ahead"
    REPOSITORY_AHEAD = "repository_ahead"
    DIVERGED = "diverged"
    """Both changed."""


class Connection(Contract):
    """An account's MCPs bound to a branch of a repository."""

    id: UUID
    owner_id: UUID
    repository_url: str
    """As it was given."""
    api_url: str
    """Of the GitHub that it is at: `https://api.github.com`, or Enterprise's `…/api/v3`."""
    full_name: str
    """`owner/repository`, as GitHub spells it."""
    repository_id: int | None = None
    """GitHub's, as it was when the repository was connected: names are given away anew."""
    tool_id: UUID | None = None
    """The MCP that the repository's definition belongs to, where one was named."""
    branch: str
    path: str = ""
    """Only definitions at or below this path; the whole repository when empty."""
    deploy: bool = False
    """Whether a push is rolled out."""
    state: ConnectionState = ConnectionState.CONNECTED
    reason: str | None = None
    credential: CredentialKind
    installation_id: int | None = None
    webhook: WebhookState
    webhook_id: int | None = None
    webhook_reason: str | None = None
    synced_commit: str | None = None
    """The commit that the platform's versions were last brought in step with."""
    synced_at: Moment | None = None
    head_commit: str | None = None
    """The branch's newest commit that we know of."""
    drift: DriftState = DriftState.UNKNOWN
    """As it was last told to listeners."""
    created_at: Moment
    updated_at: Moment


class SealedConnection(Contract):
    """A connection with what proves who we are at GitHub, and GitHub to us: sealed, never shown."""

    connection: Connection
    sealed_token: str | None = None
    """For `connection_purpose(id, "token")`; None with an App's installation."""
    sealed_webhook_secret: str | None = None
    """For `connection_purpose(id, "webhook")`."""


def connection_purpose(connection_id: UUID, what: str) -> str:
    """Say what a connection's `token` or `webhook` secret is sealed for."""
    return f"connection:{connection_id}:{what}"


class Definition(Contract):
    """A definition in a repository, and the MCP that it is kept in step with."""

    connection_id: UUID
    path: str
    entry: str
    """Its key within the file; empty where the file is one definition."""
    mcp_id: UUID
    blob: str
    """Git's id of the file's content when it was last synced."""
    revision: int
    """The MCP's revision when it was last synced."""
    config_key: str
    """Its configuration then."""
    gone: bool = False
    """Whether the file or the entry was deleted since; the MCP stays."""
    refused: bool = False
    """Whether the last sync could not take what the repository says: both changed, or it is not valid."""


class ChangeOutcome(StrEnum):
    """What a sync made of one definition."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    REMOVED = "removed"
    """Its file or entry is gone; the MCP stays as it is."""


class DefinitionReport(Contract):
    """What a sync made of one definition, and why."""

    path: str
    entry: str = ""
    outcome: ChangeOutcome
    slug: str | None = None
    mcp_id: UUID | None = None
    version: str | None = None
    reason: str | None = None


class SyncReport(Contract):
    """The result of a sync."""

    connection_id: UUID
    commit: str
    branch: str
    files: int
    """How many files the repository has at that commit."""
    definitions: list[DefinitionReport]
    added: int
    changed: int
    unchanged: int
    refused: int
    removed: int
    message: str = ""
    """What came of it, in a few words."""
    warnings: list[str] = []
    """What is odd about the whole: the path names nothing, no definition was found."""


class SyncCause(StrEnum):
    """What a sync was asked by."""

    REQUEST = "request"
    PUSH = "push"


def sync_task(connection: Connection, moment: datetime) -> TaskRecord:
    """Give the task that brings a connection's MCPs in step; it is its owner's."""
    return TaskRecord(
        task_id=sync_workflow_id(connection.id),
        kind=TaskKind.GITHUB_SYNC,
        owner_id=connection.owner_id,
        status=TaskState.PENDING,
        message="Queued",
        created_at=moment,
    )


class SyncOrder(Contract):
    """What the sync's workflow is started with; its id is `sync_workflow_id(connection_id)`."""

    connection_id: UUID
    owner_id: UUID
    cause: SyncCause
    deploy: bool = False
    """Whether what changed is judged and rolled out afterwards: a push, to a connection that says so."""
    force: bool = False
    """Whether the repository's word counts where both it and the platform changed an MCP."""


BRANCH_GONE: Final = "deleted"
"""The action of a push that deletes its branch."""


class Delivery(Contract):
    """A webhook's delivery, as its workflow is started with it; the id of the workflow has GitHub's own."""

    delivery_id: str
    event: str
    connections: dict[UUID, UUID]
    """Those that it concerns, and their owners."""
    action: str | None = None
    ref: str | None = None
    commit: str | None = None
    """Of a push: the branch's commit afterwards; of a pull request: its head."""
    pull_request: int | None = None
    details: dict[str, Any] = {}
