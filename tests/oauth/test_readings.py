"""What a gateway keeps in memory is never replaced by an older reading that comes to its end later."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from gateway.authorization.advertised import Advertised
from gateway.authorization.tokens import HeldTokens
from mcp_platform.contracts.oauth import (
    AuthorizationState,
    UpstreamAuthorization,
    UpstreamTokens,
    upstream_purpose,
)
from mcp_platform.contracts.policies import McpPolicy, StoredPolicy
from storage.sql.engine import Database, ReadSession
from storage.sql.oauth_upstream import UpstreamAuthorizationRepository
from storage.sql.policies import PolicyRepository
from tests.audit.samples import SEALER
from tests.storage.samples import stored_mcp, stored_user

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

Step = Callable[[], Awaitable[object]]


async def overtaken(
    database: Database, monkeypatch: pytest.MonkeyPatch, older: Step, change: Step, newer: Step
) -> None:
    """Have a reading that is done before a change end after one that began since, if that can be."""
    read, begun = database.read, 0
    has_read, goes_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slow() -> AsyncIterator[ReadSession]:
        nonlocal begun
        begun += 1
        first = begun == 1
        async with read() as session:
            yield session
        if first:
            has_read.set()
            await goes_on.wait()

    monkeypatch.setattr(database, "read", slow)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_awaited(older))
        await has_read.wait()
        await change()
        second = tasks.create_task(_awaited(newer))
        await asyncio.sleep(0)  # its first step: it reads, or waits for its turn
        if begun > 1:
            await asyncio.wait([second])
        goes_on.set()


async def _awaited(step: Step) -> None:
    await step()


async def authorized(database: Database) -> UpstreamAuthorization:
    """Store an authorization for all that holds a token."""
    mcp_id, number = (await stored_mcp(database)).id, uuid4()
    new = UpstreamAuthorization(
        id=number,
        mcp_id=mcp_id,
        server="far",
        user_id=None,
        state=AuthorizationState.PENDING,
        created_by=(await stored_user(database)).id,
        created_at=NOW,
        updated_at=NOW,
    )
    text = UpstreamTokens(access_token="t").model_dump_json().encode()
    async with database.write() as session:
        rows = UpstreamAuthorizationRepository(session)
        await rows.add(new, None)
        sealed = SEALER.seal(text, upstream_purpose(number, "tokens"))
        active, pending = AuthorizationState.ACTIVE, AuthorizationState.PENDING
        assert await rows.change(number, [pending], NOW, state=active, sealed_tokens=sealed)
    return new


async def test_no_late_reading_brings_back_a_token_that_has_ended(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, held = await authorized(sqlite_database), HeldTokens(sqlite_database, SEALER)
    await held.refresh()
    assert held.of(own.mcp_id, "far", None) == "Bearer t"

    async def end() -> None:
        async with sqlite_database.write() as session:
            rows = UpstreamAuthorizationRepository(session)
            ended = AuthorizationState.ENDED
            assert await rows.change(own.id, [AuthorizationState.ACTIVE], NOW, state=ended)

    await overtaken(sqlite_database, monkeypatch, held.refresh, end, lambda: held.refresh(own.mcp_id))
    assert held.of(own.mcp_id, "far", None) is None


async def advertise(database: Database, mcp_id: UUID, on: bool) -> None:
    """Set whether an MCP's clients are told to sign in by OAuth."""
    async with database.write() as session:
        policies = PolicyRepository(session)
        present = await policies.locked(mcp_id)
        await policies.put(
            StoredPolicy(
                mcp_id=mcp_id,
                revision=present.revision + 1,
                policy=McpPolicy(advertise_oauth=on),
                updated_at=NOW,
                updated_by=uuid4(),
            )
        )


async def test_no_late_reading_advertises_what_is_not_advertised_any_more(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    mcp, told = await stored_mcp(sqlite_database), Advertised(sqlite_database, smart=False)
    await advertise(sqlite_database, mcp.id, True)
    assert await told.refresh() == {mcp.slug}

    async def end() -> None:
        await advertise(sqlite_database, mcp.id, False)

    await overtaken(sqlite_database, monkeypatch, told.refresh, end, told.refresh)
    assert mcp.slug not in told
