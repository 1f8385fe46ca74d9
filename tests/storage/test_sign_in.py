"""The contract of roles, sessions, second factors and failures of signing in."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from mcp_platform.contracts.access import Permission, Role, RoleDetails, User
from mcp_platform.errors import Conflict
from mcp_platform.security.permissions import ROLE_PERMISSIONS
from storage.sql.access import (
    ApiKeyRepository,
    Factor,
    FactorRepository,
    FailureRepository,
    Limit,
    RefreshTokenRepository,
    RoleRepository,
    UserRepository,
)
from storage.sql.engine import Database
from tests.storage.crowd import crowd
from tests.storage.samples import NOON, api_key, claims, stored_user, user

ACCOUNT = Limit("account:ada", 5)
ADDRESS = Limit("address:198.51.100.7", 50)
LIMITS = (ACCOUNT, ADDRESS)


async def fail(database: Database, now: datetime, *limits: Limit) -> bool:
    """Try and fail; false when the attempt has to wait."""
    limits = limits or LIMITS
    async with database.write() as session:
        failures = FailureRepository(session)
        await failures.lock(limits, now)
        if await failures.waiting(limits, now) is not None:
            return False
        await failures.count(limits, now)
    return True


async def waiting(database: Database, now: datetime, *limits: Limit) -> timedelta | None:
    """Tell how long the next attempt has to wait."""
    async with database.read() as session:
        return await FailureRepository(session).waiting(limits or LIMITS, now)


async def test_failures_are_free_up_to_the_threshold_and_then_cost_twice_as_much_each(
    database: Database,
) -> None:
    now = NOON
    waits = []
    for _ in range(17):
        assert await fail(database, now)
        left = await waiting(database, now)
        waits.append(int(left.total_seconds()) if left else 0)
        if left:
            assert not await fail(database, now + left - timedelta(milliseconds=1))
            now += left
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


async def test_of_a_crowd_exactly_as_many_are_heard_as_are_free(database: Database) -> None:
    outcomes = await crowd(24, lambda number: fail(database, NOON))
    assert (outcomes.count(True), outcomes.count(False)) == (5, 19)


async def test_a_crowd_that_shares_an_address_meets_its_limit(database: Database) -> None:
    address = Limit("address:198.51.100.8", 7)
    outcomes = await crowd(20, lambda number: fail(database, NOON, Limit(f"account:n{number}", 5), address))
    assert (outcomes.count(True), outcomes.count(False)) == (7, 13)


async def test_failures_are_forgotten_by_a_success_or_after_a_day(database: Database) -> None:
    for _ in range(5):
        await fail(database, NOON)
    async with database.write() as session:
        await FailureRepository(session).forget(ACCOUNT.subject)
    assert await waiting(database, NOON) is None
    for _ in range(4):
        assert await fail(database, NOON)
    later = NOON + timedelta(days=1)
    assert await fail(database, later)
    assert await waiting(database, later) is None
    async with database.write() as session:
        failures = FailureRepository(session)
        assert await failures.forget_old(later) == 0
        assert await failures.forget_old(later + timedelta(days=1)) == 2


async def test_of_many_administrators_who_leave_at_once_one_stays(database: Database) -> None:
    made = [await stored_user(database, role=Role.ADMIN) for _ in range(8)]
    await stored_user(database, role=Role.ADMIN, is_active=False)

    async def leave(one: User) -> bool:
        async with database.write() as session:
            users = UserRepository(session)
            seen = await users.administrators()
            for user_id in sorted(seen):
                await users.lock(user_id)
            left = seen & await users.administrators()
            await users.lock(one.id)
            if left == {one.id}:
                return False
            await users.change(one.model_copy(update={"is_active": False}))
            return True

    outcomes = await crowd(8, lambda number: leave(made[number]))
    assert (outcomes.count(True), outcomes.count(False)) == (7, 1)
    async with database.write() as session:
        assert await UserRepository(session).administrators() == {made[outcomes.index(False)].id}


async def test_a_changed_account_keeps_what_others_have_apart(database: Database) -> None:
    one, other = await stored_user(database), await stored_user(database)
    changed = one.model_copy(update={"username": "Renamed", "email": "renamed@example.com", "role": "viewer"})
    async with database.write() as session:
        await UserRepository(session).change(changed)
    async with database.write() as session:
        users = UserRepository(session)
        found = await users.find_by_username("rENAMED")
        assert found is not None
        assert found.user == changed
        for field in ("username", "email"):
            taken = changed.model_copy(update={field: getattr(other, field).upper()})
            with pytest.raises(Conflict) as caught:
                await users.change(taken)
            assert caught.value.fields["field"] == field


def role(name: str, *permissions: Permission) -> RoleDetails:
    """Describe a role."""
    return RoleDetails(
        name=name, description="", permissions=list(permissions), created_at=NOON, updated_at=NOON
    )


async def test_what_a_session_and_a_key_may_do_is_in_the_role_of_their_owner(database: Database) -> None:
    async with database.write() as session:
        await RoleRepository(session).add(role("caller", Permission.TOOLS_CALL))
    custom = await stored_user(database, role="caller")
    lost = await stored_user(database, role="gone")
    built_in = await stored_user(database, role=Role.VIEWER)
    expected = {
        custom.id: {Permission.TOOLS_CALL},
        lost.id: set(),
        built_in.id: ROLE_PERMISSIONS[Role.VIEWER],
    }
    for owner_id, permissions in expected.items():
        begun = claims(owner_id)
        async with database.write() as session:
            await RefreshTokenRepository(session).add(begun)
            await ApiKeyRepository(session).add(api_key(), owner_id, f"hash-{owner_id}")
        async with database.read() as session:
            by_session = await RefreshTokenRepository(session).owner(begun.family_id)
            by_key = await ApiKeyRepository(session).find_by_hash(f"hash-{owner_id}")
        assert by_session is not None
        assert by_key is not None
        assert by_session.permissions == by_key.permissions == permissions
        assert by_session.user.id == owner_id


async def test_a_session_speaks_for_nobody_once_it_is_ended_or_its_owner_disabled(
    database: Database,
) -> None:
    owner, disabled = await stored_user(database), await stored_user(database, is_active=False)
    first, second, third = claims(owner.id), claims(owner.id), claims(disabled.id)
    async with database.write() as session:
        sessions = RefreshTokenRepository(session)
        for begun in (first, second, third):
            await sessions.add(begun)
        assert not await sessions.end(first.family_id, disabled.id)
        assert await sessions.end(first.family_id, owner.id)
        assert not await sessions.end(first.family_id, owner.id)

    async def owned(family_id: UUID) -> bool:
        async with database.read() as session:
            return await RefreshTokenRepository(session).owner(family_id) is not None

    assert [await owned(begun.family_id) for begun in (first, second, third)] == [False, True, False]
    assert not await owned(uuid4())
    async with database.write() as session:
        await RefreshTokenRepository(session).end_all(owner.id, but=second.family_id)
    assert await owned(second.family_id)
    async with database.write() as session:
        await RefreshTokenRepository(session).end_all(owner.id)
    assert not await owned(second.family_id)


async def test_a_role_is_added_once_and_counted_by_its_holders(database: Database) -> None:
    async with database.write() as session:
        await RoleRepository(session).add(role("caller", Permission.TOOLS_CALL))
        with pytest.raises(Conflict):
            await RoleRepository(session).add(role("caller"))
    await stored_user(database, role="caller")
    async with database.write() as session:
        roles = RoleRepository(session)
        assert await roles.holders("caller") == 1
        assert await roles.holders("other") == 0
        assert await roles.lock("caller") == role("caller", Permission.TOOLS_CALL)
        assert await roles.permissions("other") is None
        assert await roles.permissions("admin") == frozenset(Permission)
        await roles.change(role("caller", Permission.MCPS_READ))
        assert await roles.permissions("caller") == frozenset({Permission.MCPS_READ})
        assert await roles.delete("caller")
        assert not await roles.delete("caller")


async def test_a_code_is_used_once_by_whoever_is_first(database: Database) -> None:
    owner = await stored_user(database)
    async with database.write() as session:
        factors = FactorRepository(session)
        await factors.put(owner.id, "sealed")
        await factors.replace_codes(owner.id, ["hash-1", "hash-2"])

    async def use(number: int) -> bool:
        async with database.write() as session:
            return await FactorRepository(session).use_step(owner.id, 100)

    async def spend(number: int) -> bool:
        async with database.write() as session:
            return await FactorRepository(session).spend_code(owner.id, "hash-1")

    for call in (use, spend):
        outcomes = await crowd(12, call)
        assert (outcomes.count(True), outcomes.count(False)) == (1, 11)
    async with database.write() as session:
        factors = FactorRepository(session)
        assert await factors.get(owner.id) == Factor("sealed", confirmed=False, last_step=100)
        assert not await factors.use_step(owner.id, 99)
        assert await factors.use_step(owner.id, 101)
        assert not await factors.spend_code(uuid4(), "hash-2")
        assert await factors.confirmed([owner.id]) == set()
        await factors.confirm(owner.id)
        assert await factors.confirmed([owner.id, uuid4()]) == {owner.id}
        assert await factors.remove(owner.id)
        assert not await factors.remove(owner.id)
        assert not await factors.spend_code(owner.id, "hash-2")


async def test_the_newest_use_of_a_key_is_kept_whoever_writes_last(database: Database) -> None:
    owner = await stored_user(database)
    keys = [api_key(), api_key()]
    async with database.write() as session:
        for number, key in enumerate(keys):
            await ApiKeyRepository(session).add(key, owner.id, f"hash-{number}")

    async def note(number: int) -> None:
        async with database.write() as session:
            moment = NOON + timedelta(seconds=number % 7)
            await ApiKeyRepository(session).note_uses({keys[0].id: moment, keys[1].id: NOON})

    assert await crowd(12, note) == [None] * 12
    async with database.write() as session:
        await ApiKeyRepository(session).note_uses({keys[0].id: NOON, uuid4(): NOON})
        listed = {key.id: key.last_used_at for key in await ApiKeyRepository(session).list(owner.id)}
    assert listed == {keys[0].id: NOON + timedelta(seconds=6), keys[1].id: NOON}


async def test_a_deleted_account_takes_its_sessions_keys_and_factor_along(database: Database) -> None:
    owner = await stored_user(database)
    begun = claims(owner.id)
    async with database.write() as session:
        await RefreshTokenRepository(session).add(begun)
        await ApiKeyRepository(session).add(api_key(), owner.id, "hash")
        await FactorRepository(session).put(owner.id, "sealed")
        await FactorRepository(session).replace_codes(owner.id, ["code"])
    async with database.write() as session:
        await UserRepository(session).delete(owner.id)
    async with database.read() as session:
        assert await UserRepository(session).get(owner.id) is None
        assert await RefreshTokenRepository(session).owner(begun.family_id) is None
        assert await ApiKeyRepository(session).find_by_hash("hash") is None
        assert await FactorRepository(session).get(owner.id) is None
    async with database.write() as session:
        await UserRepository(session).add(user(username=owner.username, email=owner.email), "hash")
