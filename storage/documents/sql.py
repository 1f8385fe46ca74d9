"""Documents as rows, where there is no document store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, select

from storage.sql.engine import Database
from storage.sql.repository import inserted
from storage.sql.tables import DocumentRow


class SqlDocuments:
    """Documents in a table of the relational store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, collection: str, key: str, body: dict[str, Any]) -> None:
        """Keep a document; where the key exists the first body stays, and that is success."""
        row = insert(DocumentRow).values(
            collection=collection, key=key, body=body, created_at=datetime.now(UTC)
        )
        async with self._database.write() as session:
            await inserted(session, row)

    async def get(self, collection: str, key: str) -> dict[str, Any] | None:
        """Find a document."""
        return (await self.get_many(collection, [key])).get(key)

    async def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Find documents; keys without one are left out."""
        query = select(DocumentRow.key, DocumentRow.body).where(
            DocumentRow.collection == collection, DocumentRow.key.in_(keys)
        )
        async with self._database.read() as session:
            return {key: body for key, body in await session.execute(query)}

    async def delete(self, collection: str, key: str) -> None:
        """Remove a document; finding none is success."""
        row = delete(DocumentRow).where(DocumentRow.collection == collection, DocumentRow.key == key)
        async with self._database.write() as session:
            await session.execute(row)

    async def keys_older_than(self, collection: str, moment: datetime, limit: int, after: str) -> list[str]:
        """List keys of documents that were put before this moment, in order, from behind `after` on."""
        old = (DocumentRow.collection == collection, DocumentRow.created_at < moment)
        query = select(DocumentRow.key).where(*old, DocumentRow.key > after).order_by(DocumentRow.key)
        query = query.limit(limit)
        async with self._database.read() as session:
            return list(await session.scalars(query))

    async def ping(self) -> None:
        """Return when the database answers."""
        await self._database.ping()

    async def close(self) -> None:
        """Leave the database open: it belongs to whoever opened it."""
