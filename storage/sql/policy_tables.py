"""The tables of what governs MCPs at the gateway."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from storage.sql.base import Base
from storage.sql.types import JsonText


class McpPolicyRow(Base):
    """What governs an MCP at the gateway; without a row, the default does."""

    __tablename__ = "mcp_policies"

    mcp_id: Mapped[UUID] = mapped_column(ForeignKey("mcps.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int]
    policy: Mapped[dict[str, Any]] = mapped_column(JsonText)
    updated_at: Mapped[datetime]
    updated_by: Mapped[UUID]


class ToolPinRow(Base):
    """A tool's pinned definition; with `changed_digest` the tool is quarantined.

    Without it `changed_definition` is what was pinned before the last change that was accepted.
    """

    __tablename__ = "tool_pins"

    mcp_id: Mapped[UUID] = mapped_column(ForeignKey("mcps.id", ondelete="CASCADE"), primary_key=True)
    tool: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    definition: Mapped[dict[str, Any]] = mapped_column(JsonText)
    pinned_by: Mapped[UUID]
    pinned_at: Mapped[datetime]
    changed_digest: Mapped[str | None] = mapped_column(String(64))
    changed_definition: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    changed_at: Mapped[datetime | None]
    decisions: Mapped[int] = mapped_column(server_default="0")
