"""The tables of groups."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from storage.sql.base import Base
from storage.sql.types import LONG_TEXT, JsonText


class GroupRow(Base):
    """A group of accounts and MCPs."""

    __tablename__ = "user_groups"  # GROUPS is a word of MySQL's own

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    display_name: Mapped[str]
    description: Mapped[str] = mapped_column(LONG_TEXT)
    owner_id: Mapped[UUID] = mapped_column(index=True)
    settings: Mapped[dict[str, Any]] = mapped_column(JsonText)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class GroupMemberRow(Base):
    """An account in a group."""

    __tablename__ = "group_members"

    group_id: Mapped[UUID] = mapped_column(ForeignKey("user_groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(32))
    added_at: Mapped[datetime]


class GroupMcpRow(Base):
    """An MCP in a group, and what the group's endpoint lets be done with it."""

    __tablename__ = "group_mcps"

    group_id: Mapped[UUID] = mapped_column(ForeignKey("user_groups.id", ondelete="CASCADE"), primary_key=True)
    mcp_id: Mapped[UUID] = mapped_column(
        ForeignKey("mcps.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    permissions: Mapped[list[str]] = mapped_column(JsonText)
    added_at: Mapped[datetime]
