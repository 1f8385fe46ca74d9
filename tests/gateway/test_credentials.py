"""What is kept of credentials: dropped when it changes, never older than a change, cheap to use."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from gateway.credentials import Credentials, _Entry
from mcp_platform.contracts.access import Permission, Role, User
from mcp_platform.errors import Unauthorized, Unavailable
from mcp_platform.security.api_keys import api_key_hash, new_api_key
from mcp_platform.security.keys import MasterKey
from mcp_platform.security.tokens import Tokens
from storage.sql.access import ApiKeyRepository, RefreshTokenRepository, UserRepository
from storage.sql.engine import Database
from tests.storage.samples import api_key, stored_user
from tests.waiting import eventually

TOKENS = Tokens(MasterKey(bytes(32)), access_ttl=900, refresh_ttl=3600)


async def new_key(database: Database, owner: User, **bounds: object) -> tuple[UUID, dict[str, str]]:
    """Store a key; its id, and the headers that carry it."""
    key, entry = new_api_key(), api_key(**bounds)
    async with database.write() as session:
        await ApiKeyRepository(session).add(entry, owner.id, api_key_hash(key))
    return entry.id, {"x-api-key": key}


async def new_session(database: Database, owner: User) -> tuple[UUID, dict[str, str]]:
    """Begin a session; its id, and the headers that carry its token."""
    _, claims = TOKENS.issue_refresh(owner.id)
    async with database.write() as session:
        await RefreshTokenRepository(session).add(claims)
    token = TOKENS.issue_access(owner, claims.family_id)
    return claims.family_id, {"authorization": f"Bearer {token}"}


async def disable(database: Database, owner: User) -> None:
    """Disable an account, and tell nobody."""
    async with database.write() as session:
        await UserRepository(session).change(owner.model_copy(update={"is_active": False}))


async def holds(credentials: Credentials, headers: dict[str, str]) -> bool:
    """Tell whether a credential is taken."""
    try:
        await credentials.authenticate(headers)
    except Unauthorized:
        return False
    return True


def slowed(
    credentials: Credentials, look_up: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Event, asyncio.Event]:
    """Let look-ups wait once they have read: the event of that, and the one that they wait for."""
    find, has_read, go_on = getattr(credentials, look_up), asyncio.Event(), asyncio.Event()

    async def slow(subject: str) -> _Entry:
        entry: _Entry = await find(subject)
        has_read.set()
        await go_on.wait()
        return entry

    monkeypatch.setattr(credentials, look_up, slow)
    return has_read, go_on


async def test_a_principal_says_when_its_credential_ends(sqlite_database: Database, cache: Redis) -> None:
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    family_id, token = await new_session(sqlite_database, owner)
    ends = datetime(2999, 1, 1, tzinfo=UTC)
    key_id, key = await new_key(sqlite_database, owner, expires_at=ends)
    _, endless = await new_key(sqlite_database, owner)
    by_token = await credentials.authenticate(token)
    assert by_token.credential == f"session:{family_id}"
    assert by_token.expires_at is not None
    assert 890 < (by_token.expires_at - datetime.now(UTC)).total_seconds() <= 900
    by_key = await credentials.authenticate(key)
    assert (by_key.credential, by_key.expires_at) == (f"key:{key_id}", ends)
    assert (await credentials.authenticate(endless)).expires_at is None


async def test_a_session_is_looked_up_once_and_again_after_a_change(
    sqlite_database: Database, cache: Redis
) -> None:
    one, other = await stored_user(sqlite_database), await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    mine = (await new_session(sqlite_database, one))[1]
    theirs = (await new_session(sqlite_database, other))[1]
    assert await holds(credentials, mine)
    assert await holds(credentials, theirs)
    await disable(sqlite_database, one)
    await disable(sqlite_database, other)
    # Nobody said anything, so what was found a moment ago is believed.
    assert await holds(credentials, mine)
    await credentials.changed(one.id)
    assert not await holds(credentials, mine)
    assert await holds(credentials, theirs)
    await credentials.changed()
    assert not await holds(credentials, theirs)


async def test_a_refusal_does_not_outlive_a_change(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.credentials._REFUSAL_KEPT", 60.0)
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    headers = (await new_session(sqlite_database, owner))[1]
    await disable(sqlite_database, owner)
    assert not await holds(credentials, headers)
    async with sqlite_database.write() as session:
        await UserRepository(session).change(owner)
    assert not await holds(credentials, headers)
    await credentials.changed(owner.id)
    assert await holds(credentials, headers)


async def test_what_was_read_before_a_change_is_not_kept_after_it(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    headers = (await new_session(sqlite_database, owner))[1]
    find = credentials._find_session
    has_read, go_on = slowed(credentials, "_find_session", monkeypatch)
    asking = asyncio.create_task(holds(credentials, headers))
    await has_read.wait()
    await disable(sqlite_database, owner)
    await credentials.changed(owner.id)
    go_on.set()
    assert await asking
    monkeypatch.setattr(credentials, "_find_session", find)
    assert not await holds(credentials, headers)


async def test_a_change_in_another_process_is_heard(sqlite_database: Database, cache: Redis) -> None:
    owner = await stored_user(sqlite_database)
    here = Credentials(sqlite_database, cache, TOKENS)
    there = Credentials(sqlite_database, cache, TOKENS)
    headers = (await new_session(sqlite_database, owner))[1]
    async with there.running():
        seen = await there.next_change(since=0)
        assert await holds(there, headers)
        await disable(sqlite_database, owner)
        await here.changed(owner.id)
        async with asyncio.timeout(5):
            await there.next_change(since=seen)
        assert not await holds(there, headers)


async def test_no_change_falls_between_two_waits(sqlite_database: Database, cache: Redis) -> None:
    credentials = Credentials(sqlite_database, cache, TOKENS)
    waiting = [asyncio.create_task(credentials.next_change()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    await credentials.changed(uuid4())
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        await credentials.changed(uuid4())
        assert await credentials.next_change(since=1) == 2
    assert credentials.generation == 2


async def test_the_uses_of_keys_are_written_together_and_last_at_the_end(
    sqlite_database: Database, cache: Redis
) -> None:
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    key_id, headers = await new_key(sqlite_database, owner)

    async def last_used() -> datetime | None:
        async with sqlite_database.read() as session:
            found = await ApiKeyRepository(session).living(key_id, datetime.now(UTC))
        assert found is not None
        return found.last_used_at

    async with credentials.running():
        before = datetime.now(UTC)
        for _ in range(20):
            await credentials.authenticate(headers)
        assert await last_used() is None
    used = await last_used()
    assert used is not None
    assert used >= before


async def test_uses_that_could_not_be_written_are_written_the_next_time(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    key_id, headers = await new_key(sqlite_database, owner)
    await credentials.authenticate(headers)

    def away() -> None:
        raise Unavailable("The database cannot be reached", part="database")

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_database, "write", away)
        await credentials.flush()
    await credentials.flush()
    async with sqlite_database.read() as session:
        found = await ApiKeyRepository(session).living(key_id, datetime.now(UTC))
    assert found is not None
    assert found.last_used_at is not None


async def test_a_key_is_bound_by_its_scopes_and_by_its_owners_role_of_now(
    sqlite_database: Database, cache: Redis
) -> None:
    owner = await stored_user(sqlite_database, role=Role.VIEWER)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    mcp_id = uuid4()
    _, headers = await new_key(sqlite_database, owner, scopes=["tools:call", "mcps:write"], mcp_ids=[mcp_id])
    principal = await credentials.authenticate(headers)
    assert principal.permissions == {Permission.TOOLS_CALL}
    assert principal.may_use(mcp_id)
    assert not principal.may_use(uuid4())
    async with sqlite_database.write() as session:
        await UserRepository(session).change(owner.model_copy(update={"role": Role.DEVELOPER.value}))
    await credentials.changed(owner.id)
    principal = await credentials.authenticate(headers)
    assert principal.permissions == {Permission.TOOLS_CALL, Permission.MCPS_WRITE}


async def test_a_stopped_gateway_leaves_no_follower_behind(sqlite_database: Database, cache: Redis) -> None:
    before = asyncio.all_tasks()
    credentials = Credentials(sqlite_database, cache, TOKENS)
    async with credentials.running():
        await credentials.next_change(since=0)
        # Others of this session come and go meanwhile.
        begun = asyncio.all_tasks() - before
        assert any("Credentials._follow" in repr(task) for task in begun)

    async def gone() -> bool:
        return not any("Credentials." in repr(task) for task in asyncio.all_tasks() & begun)

    await eventually(gone)


async def test_who_was_known_is_trusted_while_the_database_is_away_but_not_for_ever(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.credentials._KEPT", 0.0)
    monkeypatch.setattr("gateway.credentials._REFUSAL_KEPT", 0.0)
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    _, known = await new_key(sqlite_database, owner)
    _, stranger = await new_key(sqlite_database, owner)
    assert await holds(credentials, known)

    def away() -> None:
        raise Unavailable("The database cannot be reached", part="database")

    monkeypatch.setattr(sqlite_database, "read", away)
    for _ in range(3):
        assert await holds(credentials, known)
    with pytest.raises(Unavailable):
        await credentials.authenticate(stranger)
    await credentials.changed(owner.id)
    with pytest.raises(Unavailable):
        await credentials.authenticate(known)


async def test_trust_in_who_was_known_ends(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.credentials._KEPT", 0.0)
    monkeypatch.setattr("gateway.credentials._TRUSTED", 0.0)
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    _, known = await new_key(sqlite_database, owner)
    assert await holds(credentials, known)

    def away() -> None:
        raise Unavailable("The database cannot be reached", part="database")

    monkeypatch.setattr(sqlite_database, "read", away)
    with pytest.raises(Unavailable):
        await credentials.authenticate(known)


def counted(credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take note of each look-up of a key."""
    find, found = credentials._find_key, []

    async def count(digest: str) -> _Entry:
        found.append(digest)
        return await find(digest)

    monkeypatch.setattr(credentials, "_find_key", count)
    return found


async def test_however_many_ask_at_once_a_credential_is_looked_up_once(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    _, headers = await new_key(sqlite_database, owner)
    lookups = counted(credentials, monkeypatch)
    asking = [asyncio.create_task(holds(credentials, headers)) for _ in range(100)]
    await asyncio.sleep(0)
    # One that gives up takes nothing from the others.
    asking[0].cancel()
    assert all(await asyncio.gather(*asking[1:]))
    assert len(lookups) == 1


async def test_who_asks_after_a_change_takes_no_part_in_a_look_up_from_before(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    _, headers = await new_key(sqlite_database, owner)
    find = credentials._find_key
    has_read, go_on = slowed(credentials, "_find_key", monkeypatch)
    before = asyncio.create_task(holds(credentials, headers))
    await has_read.wait()
    await disable(sqlite_database, owner)
    await credentials.changed(owner.id)
    monkeypatch.setattr(credentials, "_find_key", find)
    assert not await holds(credentials, headers)
    go_on.set()
    assert await before


async def test_what_is_used_is_renewed_while_calls_go_by_what_is_known(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.credentials._RENEWED", 0.0)
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    _, headers = await new_key(sqlite_database, owner)

    async def refused() -> bool:
        return not await holds(credentials, headers)

    async with credentials.running():
        await credentials.next_change(since=0)  # it hears
        assert await holds(credentials, headers)
        await disable(sqlite_database, owner)
        assert await holds(credentials, headers), "nobody said anything, and nobody waits"
        await eventually(refused)


async def test_a_renewal_that_fails_is_not_tried_for_each_call(
    sqlite_database: Database, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.credentials._RENEWED", 0.0)
    monkeypatch.setattr("gateway.credentials._REFUSAL_KEPT", 60.0)
    owner = await stored_user(sqlite_database)
    credentials = Credentials(sqlite_database, cache, TOKENS)
    _, headers = await new_key(sqlite_database, owner)
    async with credentials.running():
        await credentials.next_change(since=0)  # it hears
        assert await holds(credentials, headers)
        lookups = counted(credentials, monkeypatch)

        def away() -> None:
            raise Unavailable("The database cannot be reached", part="database")

        monkeypatch.setattr(sqlite_database, "read", away)
        for _ in range(20):
            assert await holds(credentials, headers)
            await asyncio.sleep(0)
    assert len(lookups) == 1
