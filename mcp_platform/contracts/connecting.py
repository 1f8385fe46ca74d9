"""Connecting repositories: what is asked and answered, and what its workflows hand on."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, SecretStr, StrictBool, model_validator

from mcp_platform.contracts.base import Contract, Moment, Order
from mcp_platform.contracts.github import (
    Connection,
    ConnectionState,
    CredentialKind,
    Definition,
    DriftState,
    WebhookState,
)
from mcp_platform.contracts.repositories import FaultKind, GitHubFault
from mcp_platform.differences import Difference


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not 1 <= len(text) <= 1024 or not all("!" <= each <= "~" for each in text):
        raise ValueError("is no token of GitHub's: one has no spaces, and at most 1024 characters")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not 16 <= len(text) <= 255 or not all("!" <= each <= "~" for each in text):
        raise ValueError("has 16 to 255 characters, without spaces: openssl rand -hex 32 makes a good one")
    return value


def _path(value: str) -> str:
    path = value.strip("/")
    if any(part in {"", ".", ".."} for part in path.split("/") if path) or not path.isprintable():
        raise ValueError("is no path within a repository, such as servers/weather")
    return path


# The validators say what is right; the patterns are for who reads the schema.
Token = Annotated[SecretStr, Field(json_schema_extra={"pattern": "^[!-~]{1,1024}$"}), AfterValidator(_token)]
WebhookSecret = Annotated[
    SecretStr, Field(json_schema_extra={"pattern": "^[!-~]{16,255}$"}), AfterValidator(_webhook_secret)
]
# Git's own rules are stricter (git-check-ref-format); GitHub is asked whether there is such a branch.
BranchName = Annotated[
    str, Field(pattern=r"^[^\x00-\x20\x7f~^:?*\[\\/.-][^\x00-\x20\x7f~^:?*\[\\]*$", max_length=255)
]
FolderPath = Annotated[str, Field(max_length=1024), AfterValidator(_path)]


class ConnectRepository(Order):
    """Body of `POST /github/connect`."""

    repository_url: Annotated[str, Field(min_length=1, max_length=1024)]
    """As a browser shows it: `https://github.com/owner/repository`."""
    tool_id: UUID | None = None
    """The MCP that the repository's definition belongs to; without one, a sync registers new ones."""
    access_token: Token | None = None
    installation_id: Annotated[int, Field(gt=0, lt=2**53, strict=True)] | None = None
    """Of the platform's GitHub App, instead of a token."""
    branch: BranchName | None = None
    """The repository's default branch, unless told."""
    path: FolderPath = ""
    """Only definitions at or below this path."""
    deploy: StrictBool = False
    """Whether a push is rolled out."""
    base_url: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """The API of an Enterprise server, where it is not `/api/v3` of the repository's host."""

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if (self.access_token is None) == (self.installation_id is None):
            raise ValueError("needs exactly one of access_token and installation_id")
        return self


class ChangeConnection(Order):
    """Body of `PATCH /github/connections/{id}`; what is left out stays."""

    branch: BranchName | None = None
    path: FolderPath | None = None
    deploy: StrictBool | None = None
    access_token: Token | None = None
    """In place of the one that was stored, such as one that has expired."""
    webhook_secret: WebhookSecret | None = None
    """Of a webhook that was made by hand, because the platform may not install one."""


class ConnectOrder(Contract):
    """What the workflow that makes or changes a connection is started with."""

    connection_id: UUID
    """A row that nobody sees yet."""
    replaces: UUID | None = None
    """The connection that becomes as that row says."""

    @property
    def target(self) -> UUID:
        """The connection that there is afterwards."""
        return self.replaces or self.connection_id


class ConnectOutcome(Contract):
    """What came of it: connected, or why not."""

    fault: FaultKind | None = None
    message: str = ""
    reset_at: Moment | None = None
    branch_missing: bool = False
    holder: UUID | None = None
    """The connection to the same repository, branch and path that there is already."""
    warnings: list[str] = []
    """What the credential does not allow, and what will not be done therefore."""

    @property
    def good(self) -> bool:
        """Whether it is connected."""
        return self.fault is None and self.holder is None

    @classmethod
    def of(cls, fault: GitHubFault) -> "ConnectOutcome":
        """Give the outcome of a fault."""
        missing = fault.kind is FaultKind.NOT_FOUND
        return cls(fault=fault.kind, message=fault.message, reset_at=fault.reset_at, branch_missing=missing)


class DisconnectOrder(Contract):
    """What the workflow that ends a connection is started with."""

    connection_id: UUID


class HookRemoval(Contract):
    """What became of a webhook; `left` says what somebody has to do by hand."""

    left: str | None = None


class ShownConnection(Contract):
    """A connection, as its owner sees it: never a token."""

    connection_id: UUID
    repository_url: str
    tool_id: UUID | None
    status: ConnectionState
    created_at: Moment
    full_name: str
    branch: str
    path: str
    deploy: bool
    owner_id: UUID
    reason: str | None
    """Why GitHub refuses the credential, if it does."""
    credential: CredentialKind
    installation_id: int | None
    webhook: WebhookState
    webhook_url: str | None
    """Where GitHub tells of pushes; None where the App's own webhook does."""
    webhook_reason: str | None
    synced_commit: str | None
    synced_at: Moment | None
    head_commit: str | None
    drift: DriftState
    updated_at: Moment

    @classmethod
    def of(cls, connection: Connection, webhook_url: str) -> Self:
        """Show a connection."""
        by_app = connection.webhook is WebhookState.BY_APP
        return cls.model_validate(
            connection.model_dump(exclude={"id", "state"})
            | {
                "connection_id": connection.id,
                "status": connection.state,
                "webhook_url": None if by_app else webhook_url,
            }
        )


class ConnectionMade(ShownConnection):
    """Answer to `POST /github/connect`, and to changing a connection."""

    warnings: list[str] = []
    """What the credential does not allow, and what will not be done therefore, where GitHub was asked."""


class ConnectionPage(Contract):
    """One page of connections, the newest first."""

    items: list[ShownConnection]
    total: int
    page: int
    page_size: int
    pages: int


class DefinitionDrift(Contract):
    """How a definition in a repository and its MCP stand to each other."""

    path: str
    entry: str
    mcp_id: UUID
    slug: str
    version: str
    """Of the MCP now."""
    state: DriftState
    """`unknown` of a definition that is gone."""
    differences: list[Difference]
    """What the platform has changed since they were last in step; configuration below `/config`."""


class ConnectionDetails(ShownConnection):
    """A connection with the definitions that were found at the last sync."""

    definitions: list[Definition]
    drifts: list[DefinitionDrift]
    """How the repository and the platform stand to each other, for each of these definitions."""


class RepositoryDisconnected(Contract):
    """Answer to `DELETE /github/disconnect/{connection_id}`."""

    message: str
    connection_id: UUID
    task_id: str | None = None
    """While it is still under way: the task to follow."""
    left: str | None = None
    """What GitHub did not let the platform remove, and how to do it by hand."""


def webhook_url(api_url: str, connection_id: UUID) -> str:
    """Give where GitHub tells of what happens in a connected repository.

    Each connection has an address of its own, for GitHub takes no two webhooks to the same one.
    """
    return f"{api_url.rstrip('/')}/api/v1/github/webhook?connection={connection_id}"
