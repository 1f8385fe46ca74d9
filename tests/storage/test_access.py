"""The contract of accounts, refresh tokens and API keys."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from mcp_platform.contracts.access import Role
from mcp_platform.errors import Conflict
from mcp_platform.security.permissions import ROLE_PERMISSIONS
from mcp_platform.security.tokens import RefreshClaims
from storage.sql.access import (
    Account,
    ApiKeyRepository,
    KeyOwner,
    RefreshTokenRepository,
    Spending,
    UserRepository,
)
from storage.sql.engine import Database
from tests.storage.crowd import crowd
from tests.storage.samples import NOON, api_key, claims, stored_user, user


async def add_user(database: Database, **changes: object) -> None:
    async with database.write() as session:
        await UserRepository(session).add(user(**changes), "hash")


async def add_token(database: Database, token: RefreshClaims) -> None:
    async with database.write() as session:
        await RefreshTokenRepository(session).add(token)


async def spend(database: Database, token_id: UUID) -> Spending:
    async with database.write() as session:
        return await RefreshTokenRepository(session).spend(token_id)


async def test_an_account_is_found_by_id_and_by_name_in_whatever_case(database: Database) -> None:
    made = await stored_user(database, username="Ada.L", email="ada@example.com")
    async with database.read() as session:
        users = UserRepository(session)
        assert await users.get(made.id) == made
        assert await users.find_by_username("aDA.l") == Account(made, "hash")
        assert await users.get(uuid4()) is None
        assert await users.find_by_username("ada") is None
        assert await users.count() == 1


@pytest.mark.parametrize(
    ("taken", "field"), [({"username": "ADA"}, "username"), ({"email": "ADA@example.com"}, "email")]
)
async def test_a_taken_name_or_address_is_refused_in_whatever_case(
    database: Database, taken: dict[str, str], field: str
) -> None:
    await add_user(database, username="ada", email="ada@example.com")
    with pytest.raises(Conflict) as caught:
        await add_user(database, **taken)
    assert caught.value.fields["field"] == field


async def test_of_many_who_want_one_name_exactly_one_gets_it(database: Database) -> None:
    outcomes = await crowd(24, lambda number: add_user(database, username="ada"))
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 23


async def test_a_refresh_token_is_spent_once_and_its_successor_after_it(database: Database) -> None:
    first = claims((await stored_user(database)).id)
    second = claims(first.user_id, family_id=first.family_id)
    await add_token(database, first)
    async with database.write() as session:
        tokens = RefreshTokenRepository(session)
        assert await tokens.spend(first.token_id) is Spending.SPENT
        await tokens.add(second)
    assert await spend(database, second.token_id) is Spending.SPENT


async def test_a_refresh_token_used_twice_revokes_its_family(database: Database) -> None:
    first = claims((await stored_user(database)).id)
    second = claims(first.user_id, family_id=first.family_id)
    stranger = claims(first.user_id)
    for token in (first, second, stranger):
        await add_token(database, token)
    assert await spend(database, first.token_id) is Spending.SPENT
    assert await spend(database, first.token_id) is Spending.REUSED
    assert await spend(database, second.token_id) is Spending.UNKNOWN
    assert await spend(database, stranger.token_id) is Spending.SPENT


async def test_a_token_added_to_a_revoked_family_cannot_be_spent(database: Database) -> None:
    first = claims((await stored_user(database)).id)
    await add_token(database, first)
    async with database.write() as session:
        await RefreshTokenRepository(session).revoke_family(first.family_id)
    late = claims(first.user_id, family_id=first.family_id)
    await add_token(database, late)
    assert await spend(database, late.token_id) is Spending.UNKNOWN
    assert await spend(database, uuid4()) is Spending.UNKNOWN


async def test_of_many_who_spend_one_token_exactly_one_succeeds(database: Database) -> None:
    token = claims((await stored_user(database)).id)
    await add_token(database, token)
    outcomes = await crowd(24, lambda number: spend(database, token.token_id))
    assert outcomes.count(Spending.SPENT) == 1
    assert outcomes.count(Spending.REUSED) == 1
    assert outcomes.count(Spending.UNKNOWN) == 22


async def test_what_is_over_its_time_is_forgotten_and_nothing_else(database: Database) -> None:
    owner = (await stored_user(database)).id
    ended = claims(owner, expires_at=NOON - timedelta(seconds=1))
    going_on = claims(owner, expires_at=NOON - timedelta(seconds=1))
    successor = claims(owner, family_id=going_on.family_id, expires_at=NOON + timedelta(days=1))
    for token in (ended, going_on, successor):
        await add_token(database, token)
    async with database.write() as session:
        assert await RefreshTokenRepository(session).delete_expired(NOON) == 2
    assert await spend(database, ended.token_id) is Spending.UNKNOWN
    assert await spend(database, successor.token_id) is Spending.SPENT


async def test_an_api_key_is_found_by_its_hash_until_it_is_revoked(database: Database) -> None:
    owner = await stored_user(database)
    older, newer = api_key(expires_at=NOON), api_key(created_at=NOON + timedelta(seconds=1))
    async with database.write() as session:
        keys = ApiKeyRepository(session)
        await keys.add(older, owner.id, "hash-1")
        await keys.add(newer, owner.id, "hash-2")
    async with database.write() as session:
        keys = ApiKeyRepository(session)
        assert await keys.list(owner.id) == [newer, older]
        assert await keys.list(uuid4()) == []
        developer = ROLE_PERMISSIONS[Role.DEVELOPER]
        assert await keys.find_by_hash("hash-1") == KeyOwner(older, owner, developer)
        assert not await keys.revoke(older.id, uuid4())
        assert await keys.revoke(older.id, owner.id)
        assert not await keys.revoke(older.id, owner.id)
        assert await keys.find_by_hash("hash-1") is None
        assert await keys.list(owner.id) == [newer]


async def test_the_key_of_an_inactive_account_speaks_for_nobody(database: Database) -> None:
    owner = await stored_user(database, is_active=False)
    async with database.write() as session:
        keys = ApiKeyRepository(session)
        await keys.add(api_key(), owner.id, "hash")
        assert await keys.find_by_hash("hash") is None
