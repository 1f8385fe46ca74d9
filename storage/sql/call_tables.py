"""The tables of calls: the journal, what was counted of each tool, and what is set while running."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Double, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from storage.sql.base import MYSQL_OPTIONS, Base
from storage.sql.types import JsonText


class CallRow(Base):
    """One call of a tool. `id` begins with the moment at which it ended: see `storage.sql.calls`."""

    __tablename__ = "calls"
    __table_args__ = (Index(None, "mcp_id", "id"), Index(None, "user_id", "id"), MYSQL_OPTIONS)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    mcp_id: Mapped[UUID]
    slug: Mapped[str] = mapped_column(String(100))
    tool: Mapped[str] = mapped_column(String(128))
    replica_id: Mapped[UUID | None]
    user_id: Mapped[UUID | None]
    credential: Mapped[str] = mapped_column(String(64))
    via: Mapped[str] = mapped_column(String(32))
    outcome: Mapped[str] = mapped_column(String(32))
    duration_ms: Mapped[float] = mapped_column(Double)
    request_id: Mapped[str] = mapped_column(String(128))
    error_code: Mapped[str | None] = mapped_column(String(64))


class ToolFigureRow(Base):
    """What was counted of one tool of one MCP within a span of time.

    `span` is 60 or 900 seconds, or 0 for all time, which `begins` at 0. Rows of all calls together have
    an id of zeros and a tool without a name.
    """

    __tablename__ = "tool_figures"

    span: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    mcp_id: Mapped[UUID] = mapped_column(primary_key=True)
    tool: Mapped[str] = mapped_column(String(128), primary_key=True)
    begins: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    requests: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[int] = mapped_column(BigInteger)
    latency_ms: Mapped[float] = mapped_column(Double)
    histogram: Mapped[dict[str, int] | None] = mapped_column(JsonText)


class RunningSettingRow(Base):
    """What was set while the platform ran, by its name."""

    __tablename__ = "running_settings"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(JsonText)
    changed_at: Mapped[datetime]
    changed_by: Mapped[UUID]
