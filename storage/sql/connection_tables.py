"""The tables of connections to repositories."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from storage.sql.base import Base
from storage.sql.types import LONG_TEXT, ClippedText


class ConnectionRow(Base):
    """A connection to a branch of a repository; what proves who we are there is sealed."""

    __tablename__ = "connections"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(index=True)
    repository_url: Mapped[str] = mapped_column(String(1024))
    api_url: Mapped[str] = mapped_column(String(1024))
    full_name: Mapped[str]
    repository_id: Mapped[int | None] = mapped_column(BigInteger)
    repository_key: Mapped[str] = mapped_column(index=True)
    """The full name in lower case: GitHub does not tell case apart."""
    tool_id: Mapped[UUID | None] = mapped_column(ForeignKey("mcps.id", ondelete="SET NULL"), index=True)
    branch: Mapped[str]
    path: Mapped[str] = mapped_column(String(1024))
    slot: Mapped[str | None] = mapped_column(String(64), unique=True)
    """A digest of whose it is, the repository, branch and path; null until GitHub has said what these are."""
    deploy: Mapped[bool]
    state: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str | None] = mapped_column(ClippedText)
    credential: Mapped[str] = mapped_column(String(32))
    installation_id: Mapped[int | None] = mapped_column(BigInteger)
    sealed_token: Mapped[str | None] = mapped_column(LONG_TEXT)
    sealed_webhook_secret: Mapped[str | None] = mapped_column(LONG_TEXT)
    webhook: Mapped[str] = mapped_column(String(32))
    webhook_id: Mapped[int | None] = mapped_column(BigInteger)
    webhook_reason: Mapped[str | None] = mapped_column(ClippedText)
    synced_commit: Mapped[str | None] = mapped_column(String(64))
    synced_at: Mapped[datetime | None]
    head_commit: Mapped[str | None] = mapped_column(String(64))
    drift: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime]


class ConnectionDefinitionRow(Base):
    """A definition in a connected repository, and the MCP that it is kept in step with."""

    __tablename__ = "connection_definitions"

    connection_id: Mapped[UUID] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True
    )
    place: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A digest of path and entry, which are too long for a key."""
    path: Mapped[str] = mapped_column(LONG_TEXT)
    entry: Mapped[str] = mapped_column(LONG_TEXT)
    mcp_id: Mapped[UUID] = mapped_column(ForeignKey("mcps.id", ondelete="CASCADE"), index=True)
    blob: Mapped[str] = mapped_column(String(64))
    revision: Mapped[int]
    config_key: Mapped[str]
    gone: Mapped[bool]
    refused: Mapped[bool]
