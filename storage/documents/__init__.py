"""Immutable documents, which rows point to: the configuration of a version, an idea, a task's result.

A document is written before the row that points to it, has a key of its own and never changes, so no
transaction over both stores is needed. What no row points to is swept later.
"""

from datetime import datetime
from typing import Any, Protocol

from mcp_platform.settings import Settings
from storage.documents.mongo import MongoDocuments
from storage.documents.sql import SqlDocuments
from storage.sql.engine import Database


class Documents(Protocol):
    """The document store. Every method raises `Unavailable` when the store is away."""

    async def put(self, collection: str, key: str, body: dict[str, Any]) -> None:
        """Keep a document; where the key exists the first body stays, and that is success."""
        ...

    async def get(self, collection: str, key: str) -> dict[str, Any] | None:
        """Find a document."""
        ...

    async def get_many(self, collection: str, keys: list[str]) -> dict[str, dict[str, Any]]:
        """Find documents; keys without one are left out."""
        ...

    async def delete(self, collection: str, key: str) -> None:
        """Remove a document; finding none is success."""
        ...

    async def keys_older_than(self, collection: str, moment: datetime, limit: int, after: str) -> list[str]:
        """List keys of documents that were put before this moment, in order, from behind `after` on."""
        ...

    async def ping(self) -> None:
        """Return when the store answers."""
        ...

    async def close(self) -> None:
        """Close what this object opened."""
        ...


def open_documents(settings: Settings, database: Database) -> Documents:
    """Open MongoDB where its address is set, and else the table beside the relational data."""
    if settings.documents.url is None:
        return SqlDocuments(database)
    return MongoDocuments(settings.documents.url.get_secret_value(), settings.documents.database)
