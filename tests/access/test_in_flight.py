"""Requests that were let in before their credential ended, and act after it.

What is kept of a credential stands for that: here rows change without anybody being told.
"""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import httpx
import pytest

from api.v1.access.callers import still
from mcp_platform.contracts.access import Permission, Principal, Role, RoleDetails
from storage.sql.engine import Database
from storage.stores import Rows
from tests.access.people import Person, account, appoint, new_key, person, with_key
from tests.platform import PASSWORD, Caller, RunningPlatform
from tests.storage.samples import NOON, claims, stored_user

Change = Callable[[Caller, str], Awaitable[httpx.Response]]


async def make_key(caller: Caller, _user_id: str) -> httpx.Response:
    """Make a key that would outlive the credential."""
    return await caller.post("/api/v1/auth/api-keys", json={"name": "child"})


async def enable(caller: Caller, user_id: str) -> httpx.Response:
    """Change an account."""
    return await caller.patch(f"/api/v1/users/{user_id}", json={"is_active": True})


async def make_role(caller: Caller, _user_id: str) -> httpx.Response:
    """Make a role."""
    return await caller.post("/api/v1/roles", json={"name": f"r{uuid4().hex[:8]}", "permissions": []})


async def turn_factor_off(caller: Caller, user_id: str) -> httpx.Response:
    """Turn somebody's second factor off; they have none."""
    return await caller.delete(f"/api/v1/users/{user_id}/mfa")


async def delete(caller: Caller, user_id: str) -> httpx.Response:
    """Delete an account."""
    return await caller.delete(f"/api/v1/users/{user_id}")


async def administrator(platform: RunningPlatform) -> tuple[Person, str]:
    """Make an administrator whom this process knows, and somebody to administer."""
    one, other = await person(platform), await person(platform)
    await appoint(platform, one, "admin")
    assert (await one.caller.get("/api/v1/users")).status_code == 200
    return one, other.id


CHANGES = pytest.mark.parametrize("change", [make_key, enable, make_role, turn_factor_off, delete])


@CHANGES
async def test_a_key_that_was_revoked_meanwhile_changes_nothing(
    platform: RunningPlatform, change: Change
) -> None:
    one, other = await administrator(platform)
    key = await new_key(one.caller)
    caller = with_key(platform, key["key"])
    assert (await caller.get("/api/v1/users")).status_code == 200
    async with platform.parts.stores.write() as rows:
        assert await rows.api_keys.revoke(UUID(key["id"]), UUID(one.id))
    assert (await caller.get("/api/v1/roles")).status_code == 200, "it is still let in"
    assert (await change(caller, other)).status_code == 401
    await appoint(platform, one, "developer")


@CHANGES
async def test_a_session_that_ended_meanwhile_changes_nothing(
    platform: RunningPlatform, change: Change
) -> None:
    one, other = await administrator(platform)
    async with platform.parts.stores.write() as rows:
        await rows.refresh_tokens.end_all(UUID(one.id))
    assert (await one.caller.get("/api/v1/roles")).status_code == 200, "it is still let in"
    assert (await change(one.caller, other)).status_code == 401
    await appoint(platform, one, "developer")


@CHANGES
async def test_whoever_was_demoted_meanwhile_changes_nothing(
    platform: RunningPlatform, change: Change
) -> None:
    one, other = await administrator(platform)
    async with platform.parts.stores.write() as rows:
        user = await rows.users.get(UUID(one.id))
        assert user is not None
        await rows.users.change(user.model_copy(update={"role": "viewer"}))
    assert (await one.caller.get("/api/v1/roles")).status_code == 200, "it is still let in"
    own = change is make_key
    assert (await change(one.caller, other)).status_code == (201 if own else 403)


async def test_whoever_was_deleted_meanwhile_is_nobody(platform: RunningPlatform) -> None:
    one = await person(platform)
    assert (await one.caller.get("/api/v1/auth/me")).status_code == 200
    async with platform.parts.stores.write() as rows:
        await rows.users.delete(UUID(one.id))
    assert (await one.caller.get("/api/v1/mcps")).status_code == 200, "it is still let in"
    order = {"current_password": PASSWORD, "new_password": "another good password"}
    answers = [
        await one.caller.get("/api/v1/auth/me"),
        await one.caller.patch("/api/v1/auth/me", json={"username": str(account()["username"])}),
        await one.caller.post("/api/v1/auth/me/password", json=order),
        await make_key(one.caller, one.id),
        await one.caller.post("/api/v1/auth/logout"),
        await one.caller.post("/api/v1/auth/me/mfa/confirm", json={"code": "123456"}),
    ]
    assert [answer.status_code for answer in answers] == [401] * 6


async def test_administrators_who_change_each_other_wait_in_order(database: Database) -> None:
    people: list[Principal] = []
    async with database.write() as session:
        for name in ("red", "green"):
            permissions = [Permission.USERS_WRITE, Permission.USERS_APPOINT]
            role = RoleDetails(
                name=name, description="", permissions=permissions, created_at=NOON, updated_at=NOON
            )
            await Rows(session).roles.add(role)
    for role_name in ("red", "green", Role.ADMIN, Role.ADMIN):
        user = await stored_user(database, role=role_name)
        token = claims(user.id)
        async with database.write() as session:
            await Rows(session).refresh_tokens.add(token)
        people.append(
            Principal(
                user_id=user.id,
                username=user.username,
                permissions=frozenset(Permission),
                credential=f"session:{token.family_id}",
            )
        )

    async def change(caller: Principal, target: Principal, role: str) -> Principal:
        async with database.write() as session:
            rows = Rows(session)
            others = {target.user_id, *await rows.users.administrators()}
            return await still(rows, caller, Permission.USERS_WRITE, accounts=others, roles=(role,))

    async def appoint_role(caller: Principal, role: str) -> Principal:
        async with database.write() as session:
            return await still(Rows(session), caller, Permission.USERS_APPOINT, roles=(role,))

    pairs = [(one, other) for one in people for other in people if one is not other]
    found = await asyncio.gather(
        *(change(one, other, role) for one, other in pairs for role in ("red", "green")),
        *(appoint_role(one, role) for one in people for role in ("red", "green")),
    )
    assert {len(caller.permissions) for caller in found} == {2, len(Permission)}
