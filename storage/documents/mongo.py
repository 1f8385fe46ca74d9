"""Documents in MongoDB. Only this module knows motor, so that its successor can take its place."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    WaitQueueTimeoutError,
    WTimeoutError,
)

from mcp_platform.errors import Unavailable

log = structlog.get_logger(__name__)

_SELECTION_TIMEOUT: Final = 3_000
"""Milliseconds to look for a server that can answer."""
_OPERATION_TIMEOUT: Final = 10_000
"""Milliseconds for one operation on the network."""


class MongoDocuments:
    """Documents in MongoDB, each written to a majority's journal before it counts.

    The body is kept as JSON text: it is opaque to the database, JSON Schemas are full of keys such as
    `$ref` that MongoDB gives a meaning of its own, and JSON knows greater integers than BSON.
    """

    def __init__(self, url: str, database: str) -> None:
        self._client: Any = AsyncIOMotorClient(
            url,
            w="majority",
            journal=True,
            wTimeoutMS=_OPERATION_TIMEOUT,
            serverSelectionTimeoutMS=_SELECTION_TIMEOUT,
            connectTimeoutMS=_SELECTION_TIMEOUT,
            socketTimeoutMS=_OPERATION_TIMEOUT,
            waitQueueTimeoutMS=_OPERATION_TIMEOUT,
        )
        self._database = self._client[database]

    async def put(self, collection: str, key: str, body: dict[str, Any]) -> None:
        """Keep a document; where the key exists the first body stays, and that is success."""
        document = {
            "_id": key,
            "body": json.dumps(body, separators=(",", ":")),
            "created_at": datetime.now(UTC),
        }
        with _reachable():
            try:
                await self._collection(collection).insert_one(document)
            except DuplicateKeyError:
                return

    async def get(self, collection: str, key: str) -> dict[str, Any] | None:
        """Find a document."""
        return (await self.get_many(collection, [key])).get(key)

    async def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Find documents; keys without one are left out."""
        with _reachable():
            cursor = self._collection(collection).find({"_id": {"$in": list(keys)}})
            return {found["_id"]: json.loads(found["body"]) async for found in cursor}

    async def delete(self, collection: str, key: str) -> None:
        """Remove a document; finding none is success."""
        with _reachable():
            await self._collection(collection).delete_one({"_id": key})

    async def keys_older_than(self, collection: str, moment: datetime, limit: int, after: str) -> list[str]:
        """List keys of documents that were put before this moment, in order, from behind `after` on."""
        old = {"_id": {"$gt": after}, "created_at": {"$lt": moment}}
        with _reachable():
            cursor = self._collection(collection).find(old, {"_id": 1}).sort("_id", 1).limit(limit)
            return [found["_id"] async for found in cursor]

    async def ping(self) -> None:
        """Return when the server answers."""
        with _reachable():
            await self._client.admin.command("ping")

    async def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _collection(self, name: str) -> Any:  # motor ships no types
        return self._database[name]


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout, WaitQueueTimeoutError, WTimeoutError) as error:
        log.warning("documents_away", error=str(error))
        raise Unavailable("The document store cannot be reached", part="documents") from error
