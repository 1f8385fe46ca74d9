"""The contract of the document store."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mcp_platform.errors import Unavailable
from mcp_platform.names import Collection
from mcp_platform.settings import DocumentSettings, Settings
from storage.documents import Documents, open_documents
from storage.documents.mongo import MongoDocuments
from storage.documents.sql import SqlDocuments
from storage.sql.engine import Database
from tests.platform import free_port
from tests.services.mongodb import mongo_server
from tests.storage.crowd import crowd

AWKWARD: dict[str, Any] = {
    "z": 1,
    "a": {"$ref": "#/$defs/x", "$schema": "https://json-schema.org/draft/2020-12/schema", "a.b": None},
    "": [True, 1.5, -0.0, 2**70, "时间 ⏰", "\ud800", "\x00"],
}


async def test_a_document_comes_back_exactly_and_in_its_order(documents: Documents) -> None:
    await documents.put(Collection.CONFIGS, "key", AWKWARD)
    found = await documents.get(Collection.CONFIGS, "key")
    assert found == AWKWARD
    assert list(found) == list(AWKWARD)


async def test_what_was_never_put_is_not_found(documents: Documents) -> None:
    await documents.put(Collection.CONFIGS, "key", {})
    assert await documents.get(Collection.CONFIGS, "KEY") is None
    assert await documents.get(Collection.IDEAS, "key") is None
    assert await documents.get_many(Collection.CONFIGS, []) == {}


async def test_several_are_found_at_once_and_the_missing_left_out(documents: Documents) -> None:
    for number in range(3):
        await documents.put(Collection.CONFIGS, f"key-{number}", {"number": number})
    found = await documents.get_many(Collection.CONFIGS, ["key-2", "none", "key-0"])
    assert found == {"key-0": {"number": 0}, "key-2": {"number": 2}}


async def test_putting_a_key_again_keeps_the_first_body(documents: Documents) -> None:
    await documents.put(Collection.CONFIGS, "key", {"first": True})
    await documents.put(Collection.CONFIGS, "key", {"first": False})
    assert await documents.get(Collection.CONFIGS, "key") == {"first": True}


async def test_of_many_who_put_one_key_all_succeed_and_one_body_stays(documents: Documents) -> None:
    async def put_and_get(number: int) -> dict[str, Any] | None:
        await documents.put(Collection.CONFIGS, "key", {"number": number})
        return await documents.get(Collection.CONFIGS, "key")

    outcomes = await crowd(24, put_and_get)
    assert isinstance(outcomes[0], dict)
    assert outcomes == [outcomes[0]] * 24


async def test_deleting_is_success_whether_or_not_there_was_one(documents: Documents) -> None:
    await documents.put(Collection.CONFIGS, "key", {})
    await documents.delete(Collection.CONFIGS, "key")
    await documents.delete(Collection.CONFIGS, "key")
    assert await documents.get(Collection.CONFIGS, "key") is None


async def test_old_keys_are_listed_page_by_page(documents: Documents) -> None:
    for key in ("c", "a", "b"):
        await documents.put(Collection.IDEAS, key, {})
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert await documents.keys_older_than(Collection.IDEAS, later, 10, "") == ["a", "b", "c"]
    assert await documents.keys_older_than(Collection.IDEAS, later, 2, "") == ["a", "b"]
    assert await documents.keys_older_than(Collection.IDEAS, later, 2, "b") == ["c"]
    assert await documents.keys_older_than(Collection.IDEAS, later - timedelta(hours=1), 10, "") == []
    assert await documents.keys_older_than(Collection.CONFIGS, later, 10, "") == []


async def test_the_store_answers(documents: Documents) -> None:
    await documents.ping()


async def test_the_settings_decide_which_store_it_is(sqlite_database: Database) -> None:
    beside = open_documents(Settings(), sqlite_database)
    apart = open_documents(
        Settings(documents=DocumentSettings(url="mongodb://127.0.0.1:1")),
        sqlite_database,
    )
    assert isinstance(beside, SqlDocuments)
    assert isinstance(apart, MongoDocuments)
    await apart.close()


async def test_a_database_that_is_away_is_named(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/platform.db")
    documents = SqlDocuments(database)
    with pytest.raises(Unavailable):
        await documents.put(Collection.CONFIGS, "key", {})
    with pytest.raises(Unavailable):
        await documents.ping()
    await database.close()


async def test_a_mongodb_that_goes_away_is_named_and_found_again_when_it_is_back() -> None:
    port = free_port()
    documents = MongoDocuments(f"mongodb://127.0.0.1:{port}", "test")
    with mongo_server(port):
        await documents.put(Collection.CONFIGS, "key", {})
    outcomes = await asyncio.gather(
        documents.put(Collection.CONFIGS, "key", {}),
        documents.get(Collection.CONFIGS, "key"),
        documents.delete(Collection.CONFIGS, "key"),
        documents.keys_older_than(Collection.CONFIGS, datetime.now(UTC), 1, ""),
        documents.ping(),
        return_exceptions=True,
    )
    for outcome in outcomes:
        assert isinstance(outcome, Unavailable)
        assert outcome.fields["part"] == "documents"
    with mongo_server(port):
        await documents.put(Collection.CONFIGS, str(uuid4()), {})
    await documents.close()
