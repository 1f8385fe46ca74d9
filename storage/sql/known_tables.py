"""The table of servers that a registry of MCP servers has."""

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from storage.sql.base import Base
from storage.sql.types import JsonText


class KnownServerRow(Base):
    """A server as the registry describes it; `changed_at` is when it was written here."""

    __tablename__ = "known_servers"

    name: Mapped[str] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(100), unique=True)
    server: Mapped[dict[str, Any]] = mapped_column(JsonText)
    changed_at: Mapped[datetime]
