"""The tables; `migrations/` makes them, and a test holds the two together.

A row that is part of another goes with it (foreign key, cascade). A reference that may outlive what
it names, such as the author of an MCP or the MCP of a stopped deployment, is a plain id.

No object of these classes leaves the repositories.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from mcp_platform.contracts.mcps import McpStatus
from mcp_platform.contracts.tasks import TaskKind, TaskState
from storage.sql.base import MYSQL_OPTIONS as MYSQL_OPTIONS
from storage.sql.base import Base as Base
from storage.sql.call_tables import CallRow as CallRow
from storage.sql.call_tables import RunningSettingRow as RunningSettingRow
from storage.sql.call_tables import ToolFigureRow as ToolFigureRow
from storage.sql.connection_tables import ConnectionDefinitionRow as ConnectionDefinitionRow
from storage.sql.connection_tables import ConnectionRow as ConnectionRow
from storage.sql.deployment_tables import DeploymentRow as DeploymentRow
from storage.sql.deployment_tables import FigureRow as FigureRow
from storage.sql.deployment_tables import ReplicaOverrideRow as ReplicaOverrideRow
from storage.sql.deployment_tables import ReplicaRow as ReplicaRow
from storage.sql.deployment_tables import RevisionRow as RevisionRow
from storage.sql.group_tables import GroupMcpRow as GroupMcpRow
from storage.sql.group_tables import GroupMemberRow as GroupMemberRow
from storage.sql.group_tables import GroupRow as GroupRow
from storage.sql.known_tables import KnownServerRow as KnownServerRow
from storage.sql.model_tables import ModelCallRow as ModelCallRow
from storage.sql.oauth_tables import OAuthClientRow as OAuthClientRow
from storage.sql.oauth_tables import OAuthGrantRow as OAuthGrantRow
from storage.sql.oauth_tables import OAuthRefreshTokenRow as OAuthRefreshTokenRow
from storage.sql.oauth_tables import UpstreamAuthorizationRow as UpstreamAuthorizationRow
from storage.sql.oauth_tables import UpstreamIssuerRow as UpstreamIssuerRow
from storage.sql.policy_tables import McpPolicyRow as McpPolicyRow
from storage.sql.policy_tables import ToolPinRow as ToolPinRow
from storage.sql.types import LONG_BINARY, LONG_TEXT, ClippedText, JsonText


class UserRow(Base):
    """An account. The `_key` columns hold the name and the address in lower case."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    username_key: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str]
    email_key: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(String(32))
    """A built-in role's name or a custom one's."""
    is_active: Mapped[bool]
    created_at: Mapped[datetime]


class TokenFamilyRow(Base):
    """A session: all refresh tokens that descend from one sign-in."""

    __tablename__ = "token_families"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime | None]
    refreshed_at: Mapped[datetime | None]
    address: Mapped[str | None] = mapped_column(String(64))
    user_agent: Mapped[str | None]


class RefreshTokenRow(Base):
    """A refresh token, which may be spent once."""

    __tablename__ = "refresh_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    family_id: Mapped[UUID] = mapped_column(ForeignKey("token_families.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    spent_at: Mapped[datetime | None]


class ApiKeyRow(Base):
    """An API key; only its hash is known."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    key_hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    scopes: Mapped[list[str] | None] = mapped_column(JsonText)
    mcp_ids: Mapped[list[str] | None] = mapped_column(JsonText)
    last_used_at: Mapped[datetime | None]


class RoleRow(Base):
    """A role that an administrator made; the built-in ones are no rows."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    description: Mapped[str]
    permissions: Mapped[list[str]] = mapped_column(JsonText)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SecondFactorRow(Base):
    """An account's authenticator. `last_step` is the newest time step whose code was used."""

    __tablename__ = "second_factors"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    sealed_secret: Mapped[str] = mapped_column(LONG_TEXT)
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(BigInteger)


class RecoveryCodeRow(Base):
    """A code that stands in for the authenticator once; only its hash is known."""

    __tablename__ = "recovery_codes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    code_hash: Mapped[str]
    spent_at: Mapped[datetime | None]


class SignInFailureRow(Base):
    """Failed sign-ins of one account's name, or from one address, in a row."""

    __tablename__ = "sign_in_failures"

    subject: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    last_failed_at: Mapped[datetime] = mapped_column(index=True)
    locked_until: Mapped[datetime | None]


class SecretRow(Base):
    """A secret, sealed. `holder` is whose it is: an account's id in hexadecimal, or `shared`."""

    __tablename__ = "secrets"
    __table_args__ = (UniqueConstraint("holder", "name"), MYSQL_OPTIONS)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(128), index=True)
    sealed_value: Mapped[str] = mapped_column(LONG_TEXT)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class McpRow(Base):
    """A registered MCP."""

    __tablename__ = "mcps"
    __table_args__ = (Index(None, "created_at", "id"), MYSQL_OPTIONS)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str] = mapped_column(LONG_TEXT)
    version: Mapped[str] = mapped_column(String(64))
    author_id: Mapped[UUID]
    status: Mapped[McpStatus] = mapped_column(index=True)
    config_key: Mapped[str]
    revision: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    search_text: Mapped[str] = mapped_column(LONG_TEXT)
    """The name in the first line, then what else is searched, in lower case: the engines fold differently."""
    deletion_task_id: Mapped[str | None]
    """The task that deletes it; it means something while that task is open."""


class McpVersionRow(Base):
    """One revision of an MCP. `fields` is what may change beside the configuration, as it was then."""

    __tablename__ = "mcp_versions"

    mcp_id: Mapped[UUID] = mapped_column(ForeignKey("mcps.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[str] = mapped_column(String(64))
    changed_at: Mapped[datetime]
    changed_by: Mapped[UUID]
    change_type: Mapped[str] = mapped_column(String(32))
    config_key: Mapped[str]
    fields: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    origin: Mapped[str | None] = mapped_column(String(1024))


class McpTagRow(Base):
    """A tag of an MCP."""

    __tablename__ = "mcp_tags"

    mcp_id: Mapped[UUID] = mapped_column(ForeignKey("mcps.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class TaskRow(Base):
    """A background operation."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index(None, "created_at", "task_id"),
        Index(None, "owner_id", "created_at"),
        Index(None, "completed_at", "task_id"),
        MYSQL_OPTIONS,
    )

    task_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[TaskKind]
    owner_id: Mapped[UUID]
    status: Mapped[TaskState] = mapped_column(index=True)
    progress: Mapped[int]
    message: Mapped[str] = mapped_column(ClippedText)
    error: Mapped[str | None] = mapped_column(ClippedText)
    result_key: Mapped[str | None]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class DocumentRow(Base):
    """An immutable document, where there is no document store."""

    __tablename__ = "documents"
    __table_args__ = (Index(None, "collection", "created_at"), MYSQL_OPTIONS)

    collection: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[Any] = mapped_column(JsonText)
    created_at: Mapped[datetime]


class AuditEntryRow(Base):
    """One entry of the audit log. `hash` covers the entry and the hash before it."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index(None, "actor_id", "seq"), MYSQL_OPTIONS)

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(index=True)
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str]
    credential: Mapped[str]
    action: Mapped[str]
    resource_type: Mapped[str]
    resource_id: Mapped[str] = mapped_column(index=True)
    address: Mapped[str]
    outcome: Mapped[str] = mapped_column(String(32))
    status: Mapped[int]
    request_id: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JsonText)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditChainRow(Base):
    """The one row that says where the audit log begins and ends, and seals the key of its hashes.

    `first_seq` is the oldest entry that is kept, and `first_hash` the hash that it follows.
    """

    __tablename__ = "audit_chain"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_seq: Mapped[int] = mapped_column(BigInteger)
    first_hash: Mapped[str] = mapped_column(String(64))
    last_seq: Mapped[int] = mapped_column(BigInteger)
    last_hash: Mapped[str] = mapped_column(String(64))
    ends_hash: Mapped[str] = mapped_column(String(64))
    sealed_key: Mapped[str] = mapped_column(LONG_TEXT)


class KnowledgeDocumentRow(Base):
    """A document of the knowledge base. `tags_text` is a line for each tag, with a line end before it."""

    __tablename__ = "knowledge_documents"
    __table_args__ = (Index(None, "created_at", "id"), MYSQL_OPTIONS)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(500))
    owner_id: Mapped[UUID]
    details: Mapped[dict[str, Any]] = mapped_column(JsonText)
    content_key: Mapped[str] = mapped_column(index=True)
    embedding_id: Mapped[UUID]
    revision: Mapped[int]
    indexed_revision: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    indexed_at: Mapped[datetime | None] = mapped_column(index=True)
    source: Mapped[str | None]
    language: Mapped[str | None] = mapped_column(String(35))
    tags_text: Mapped[str] = mapped_column(LONG_TEXT)


class KnowledgePassageRow(Base):
    """A passage, by its place in the document's text; `terms` are its words, as the index packs them."""

    __tablename__ = "knowledge_passages"

    document_id: Mapped[UUID] = mapped_column(
        ForeignKey("knowledge_documents.id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    begins: Mapped[int]
    ends: Mapped[int]
    context: Mapped[str] = mapped_column(LONG_TEXT)
    text: Mapped[str] = mapped_column(LONG_TEXT)
    text_hash: Mapped[str] = mapped_column(String(64), index=True)
    terms: Mapped[bytes] = mapped_column(LONG_BINARY)


class KnowledgeEmbeddingRow(Base):
    """What a model makes of a text, for every passage that has this text."""

    __tablename__ = "knowledge_embeddings"

    model: Mapped[str] = mapped_column(String(128), primary_key=True)
    text_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    vector: Mapped[bytes] = mapped_column(LONG_BINARY)


class KnowledgeModelRow(Base):
    """The embedding model that searches go by: one row, with the id 1."""

    __tablename__ = "knowledge_model"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(128))
    activated_at: Mapped[datetime]


class ClientSessionRow(Base):
    """A session of an MCP client of the older protocol, where there is no Redis for it."""

    __tablename__ = "client_sessions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    body: Mapped[str] = mapped_column(LONG_TEXT)
    used_at: Mapped[float] = mapped_column(index=True)
    """Seconds since 1970."""
