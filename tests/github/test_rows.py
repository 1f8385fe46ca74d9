"""Connections as they are stored, on both engines."""

import os
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from mcp_platform.contracts.github import (
    Connection,
    ConnectionState,
    CredentialKind,
    Definition,
    SealedConnection,
    WebhookState,
    connection_purpose,
)
from mcp_platform.security.keys import MasterKey
from mcp_platform.security.sealing import Sealer
from storage.sql.connections import ConnectionRepository
from storage.sql.engine import Database
from storage.sql.mcps import McpRepository
from storage.sql.sealed import SEALED, SealedRepository
from tests.storage.samples import NOON, mcp


def connection(**changes: Any) -> Connection:
    values = {
        "id": uuid4(),
        "owner_id": uuid4(),
        "repository_url": "https://github.com/Acme/Tools",
        "api_url": "https://api.github.com",
        "full_name": "Acme/Tools",
        "branch": "main",
        "credential": CredentialKind.TOKEN,
        "webhook": WebhookState.REFUSED,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Connection.model_validate(values | changes)


async def add(database: Database, *connections: Connection, sealer: Sealer | None = None) -> None:
    async with database.write() as session:
        for each in connections:
            token = sealer.seal(b"ghp_token", connection_purpose(each.id, "token")) if sealer else None
            secret = sealer.seal(b"of the hook", connection_purpose(each.id, "webhook")) if sealer else None
            new = SealedConnection(connection=each, sealed_token=token, sealed_webhook_secret=secret)
            await ConnectionRepository(session).add(new)


async def get(database: Database, connection_id: UUID) -> Connection | None:
    async with database.read() as session:
        return await ConnectionRepository(session).get(connection_id)


def definition(connection_id: UUID, mcp_id: UUID, **changes: Any) -> Definition:
    values = {
        "connection_id": connection_id,
        "path": "mcp.json",
        "entry": "",
        "mcp_id": mcp_id,
        "blob": "0" * 40,
        "revision": 1,
        "config_key": "key",
    }
    return Definition.model_validate(values | changes)


async def test_a_connection_is_kept_as_it_was_given(database: Database) -> None:
    new = connection(installation_id=2**40, webhook_id=2**40, synced_at=NOON, reason="a" * 500, path="ä/ö")
    await add(database, new)
    assert await get(database, new.id) == new
    assert await get(database, uuid4()) is None


async def test_a_repository_is_found_however_it_is_spelt_and_none_that_is_being_made(
    database: Database,
) -> None:
    first, second = connection(), connection(created_at=NOON + timedelta(seconds=1), full_name="acme/tools")
    await add(
        database, second, first, connection(state=ConnectionState.CONNECTING), connection(full_name="a/b")
    )
    async with database.read() as session:
        rows = ConnectionRepository(session)
        assert [each.connection.id for each in await rows.of_repository("ACME/tools")] == [
            first.id,
            second.id,
        ]
        assert (await rows.list(owner_id=first.owner_id, page=1, page_size=10)).items == [first]
        everybodys = await rows.list(owner_id=None, page=1, page_size=2)
        assert (len(everybodys.items), everybodys.total) == (2, 3)


async def test_one_place_is_one_connection_of_an_account(database: Database) -> None:
    first = connection(state=ConnectionState.CONNECTING)
    second = connection(owner_id=first.owner_id, state=ConnectionState.CONNECTING)
    other = connection(state=ConnectionState.CONNECTING)
    await add(database, first, second, other)
    async with database.write() as session:
        rows = ConnectionRepository(session)
        assert await rows.settle(first, NOON) is None
        assert await rows.settle(first, NOON) is None, "twice is once"
        assert await rows.settle(other, NOON) is None, "another account's is another"
        same = second.model_copy(update={"full_name": "acme/TOOLS"})
        assert await rows.elsewhere(same) == first.id
        assert await rows.settle(same, NOON) == first.id
        for change in ({"branch": "Main"}, {"path": "a"}, {"api_url": "https://git.example.com/api/v3"}):
            assert await rows.elsewhere(second.model_copy(update=change)) is None
        assert await rows.settle(first.model_copy(update={"branch": "next"}), NOON) is None
        assert await rows.settle(second, NOON) is None, "the place is free again"


async def test_a_definition_stands_at_its_path_and_entry(database: Database) -> None:
    own, first, second = connection(), mcp(), mcp()
    await add(database, own)
    async with database.write() as session:
        for each in (first, second):
            await McpRepository(session).add(each, each.author_id)
        rows = ConnectionRepository(session)
        await rows.put_definition(definition(own.id, first.id))
        await rows.put_definition(definition(own.id, first.id))
        await rows.put_definition(definition(own.id, first.id, revision=2, gone=True))
        await rows.put_definition(definition(own.id, second.id, entry="ä" * 3000, path="x/" * 1000))
        found = await rows.definitions(own.id)
        assert [(each.mcp_id, each.revision, each.gone) for each in found] == [
            (first.id, 2, True),
            (second.id, 1, False),
        ]
        assert [each.id for each in await rows.of_mcp(second.id)] == [own.id]
        await McpRepository(session).delete(second.id)
        assert [each.mcp_id for each in await rows.definitions(own.id)] == [first.id]
        assert await rows.delete_definition(own.id, "mcp.json", "")
        assert not await rows.delete_definition(own.id, "mcp.json", "")


async def test_what_was_named_may_go_and_what_belongs_to_it_goes_with_it(database: Database) -> None:
    named = mcp()
    own = connection(tool_id=named.id)
    async with database.write() as session:
        await McpRepository(session).add(named, named.author_id)
    await add(database, own)
    async with database.write() as session:
        await ConnectionRepository(session).put_definition(definition(own.id, named.id))
        await McpRepository(session).delete(named.id)
    left = await get(database, own.id)
    assert left is not None
    assert left.tool_id is None
    async with database.write() as session:
        rows = ConnectionRepository(session)
        assert await rows.delete(own.id)
        assert not await rows.delete(own.id)
        assert await rows.definitions(own.id) == []


async def test_what_nobody_went_on_making_is_forgotten(database: Database) -> None:
    stale = connection(state=ConnectionState.CONNECTING)
    fresh = connection(state=ConnectionState.CONNECTING, updated_at=NOON + timedelta(days=2))
    old = connection()
    await add(database, stale, fresh, old)
    async with database.write() as session:
        assert await ConnectionRepository(session).forget_unfinished(NOON + timedelta(days=1)) == 1
    assert [await get(database, each.id) is not None for each in (stale, fresh, old)] == [False, True, True]


async def test_tokens_and_secrets_are_sealed_anew_under_another_master_key(database: Database) -> None:
    old, new = MasterKey(os.urandom(32)), MasterKey(os.urandom(32))
    own = connection()
    await add(database, own, sealer=Sealer(old))
    for column in SEALED:
        async with database.write() as session:
            batch = await SealedRepository(session).reseal(column, Sealer(new, old), None, 10)
        assert batch.failed == 0
    async with database.read() as session:
        found = await ConnectionRepository(session).sealed(own.id)
    assert found is not None
    assert found.sealed_token is not None
    assert found.sealed_webhook_secret is not None
    only = Sealer(new)
    assert only.unseal(found.sealed_token, connection_purpose(own.id, "token")) == b"ghp_token"
    assert only.unseal(found.sealed_webhook_secret, connection_purpose(own.id, "webhook")) == b"of the hook"
