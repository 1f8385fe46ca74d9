"""The administration of accounts: what it changes acts at once, and nobody locks everybody out."""

import asyncio
from uuid import uuid4

from tests.access.people import Person, account, appoint, new_key, person, with_key
from tests.platform import PASSWORD, Caller, RunningPlatform

CONFIG = {"servers": [{"name": "far", "url": "http://127.0.0.1:9/mcp"}]}


async def lesser_administrator(platform: RunningPlatform, *permissions: str) -> Person:
    """Make somebody who has these permissions alone."""
    one = await person(platform)
    name = f"role-{uuid4().hex[:8]}"
    admin = await platform.admin()
    order = {"name": name, "permissions": ["account:manage", *permissions]}
    assert (await admin.post("/api/v1/roles", json=order)).status_code == 201
    await appoint(platform, one, name)
    return one


async def change(caller: Caller, user_id: str, **order: object) -> int:
    """Change an account; the status."""
    return (await caller.patch(f"/api/v1/users/{user_id}", json=order)).status_code


async def test_accounts_are_listed_in_pages_and_found_by_name_role_and_state(
    platform: RunningPlatform,
) -> None:
    admin, mark = await platform.admin(), uuid4().hex[:8]
    names = [f"List{mark}-{letter}" for letter in "abc"]
    for name in names:
        await person(platform, username=name, email=f"{name}@example.com", role="viewer")
    path = "/api/v1/users"
    found = (await admin.get(path, params={"search": mark.upper(), "page_size": 2})).json()
    assert [item["username"] for item in found["items"]] == names[:2]
    assert (found["total"], found["page"], found["pages"]) == (3, 1, 2)
    rest = (await admin.get(path, params={"search": mark, "page_size": 2, "page": 2})).json()
    assert [item["username"] for item in rest["items"]] == names[2:]
    first = found["items"][0]
    assert set(first) == {"id", "username", "email", "role", "is_active", "created_at", "mfa_enabled"}
    assert await change(admin, first["id"], is_active=False) == 200
    for filters, count in (
        ({"is_active": True}, 2),
        ({"is_active": False}, 1),
        ({"role": "viewer"}, 3),
        ({"role": "admin"}, 0),
    ):
        answer = await admin.get(path, params={"search": mark, **filters})
        assert answer.json()["total"] == count
    # A wildcard is a letter like others.
    assert (await admin.get(path, params={"search": "%_%"})).json()["total"] == 0


async def test_only_administrators_see_and_change_accounts(platform: RunningPlatform) -> None:
    one, other = await person(platform), await person(platform)
    assert (await one.caller.get("/api/v1/users")).status_code == 403
    assert (await one.caller.get(f"/api/v1/users/{other.id}")).status_code == 403
    assert await change(one.caller, other.id, is_active=False) == 403
    assert (await one.caller.delete(f"/api/v1/users/{other.id}")).status_code == 403
    admin = await platform.admin()
    assert (await admin.get(f"/api/v1/users/{other.id}")).json()["username"] == other.username
    assert (await admin.get(f"/api/v1/users/{uuid4()}")).status_code == 404
    assert await change(admin, str(uuid4()), is_active=False) == 404


async def test_a_disabled_account_is_out_at_once(platform: RunningPlatform) -> None:
    one = await person(platform)
    key = with_key(platform, (await new_key(one.caller))["key"])
    assert (await one.caller.get("/api/v1/mcps")).status_code == 200
    assert (await key.get("/api/v1/mcps")).status_code == 200
    admin = await platform.admin()
    assert await change(admin, one.id, is_active=False) == 200
    assert (await one.caller.get("/api/v1/mcps")).status_code == 401
    assert (await key.get("/api/v1/mcps")).status_code == 401
    token = {"refresh_token": one.pair["refresh_token"]}
    assert (await platform.caller().post("/api/v1/auth/refresh", json=token)).status_code == 401
    login = {"username": one.username, "password": PASSWORD}
    assert (await platform.caller().post("/api/v1/auth/login", json=login)).status_code == 401
    # Enabled again, its keys hold, and its sessions are gone for good.
    assert await change(admin, one.id, is_active=True) == 200
    assert (await key.get("/api/v1/mcps")).status_code == 200
    assert (await one.caller.get("/api/v1/mcps")).status_code == 401
    await platform.caller().sign_in(one.username)


async def test_another_role_acts_at_once_on_tokens_that_are_out(platform: RunningPlatform) -> None:
    one = await person(platform)
    await one.caller.register_mcp(CONFIG)
    await appoint(platform, one, "viewer")
    order = {"name": "Test", "slug": f"test-{uuid4().hex[:8]}", "version": "1.0.0", "config": CONFIG}
    assert (await one.caller.post("/api/v1/mcps", json=order)).status_code == 403
    await appoint(platform, one, "admin")
    assert (await one.caller.get("/api/v1/users")).status_code == 200
    await appoint(platform, one, "developer")
    assert (await one.caller.get("/api/v1/users")).status_code == 403


async def test_a_role_that_does_not_exist_is_refused_with_those_that_do(platform: RunningPlatform) -> None:
    one, admin = await person(platform), await platform.admin()
    answer = await admin.patch(f"/api/v1/users/{one.id}", json={"role": "emperor"})
    assert answer.status_code == 422
    assert all(role in answer.json()["detail"][0]["msg"] for role in ("admin", "developer", "viewer"))


async def test_an_address_that_is_taken_is_refused(platform: RunningPlatform) -> None:
    one, other, admin = await person(platform), await person(platform), await platform.admin()
    assert await change(admin, one.id, email=f"{other.username}@example.com".upper()) == 409
    assert await change(admin, one.id, email=f"new-{one.username}@example.com") == 200


async def test_nobody_gives_away_or_takes_what_they_do_not_have(platform: RunningPlatform) -> None:
    lesser = await lesser_administrator(platform, "users:read", "users:write", "mcps:read")
    simple, developer = await person(platform), await person(platform)
    narrow = f"role-{uuid4().hex[:8]}"
    admin = await platform.admin()
    order = {"name": narrow, "permissions": ["mcps:read"]}
    assert (await admin.post("/api/v1/roles", json=order)).status_code == 201
    await appoint(platform, simple, narrow)
    boss = (await admin.get("/api/v1/auth/me")).json()["id"]

    # Whoever may do more than the lesser administrator is out of their reach.
    assert await change(lesser.caller, boss, is_active=False) == 403
    assert await change(lesser.caller, developer.id, is_active=False) == 403
    assert (await lesser.caller.delete(f"/api/v1/users/{developer.id}")).status_code == 403
    assert (await lesser.caller.delete(f"/api/v1/users/{developer.id}/mfa")).status_code == 403
    # And so are roles that allow more.
    for role in ("admin", "developer"):
        answer = await lesser.caller.patch(f"/api/v1/users/{simple.id}", json={"role": role})
        assert answer.status_code == 403
        assert answer.json()["required_permission"] not in {"users:read", "users:write", "mcps:read"}
    assert await change(lesser.caller, lesser.id, role="admin") == 403
    assert await change(lesser.caller, simple.id, is_active=False) == 200


async def test_an_account_that_owns_something_is_not_deleted(platform: RunningPlatform) -> None:
    one, admin = await person(platform), await platform.admin()
    mcp = await one.caller.register_mcp(CONFIG)
    answer = await admin.delete(f"/api/v1/users/{one.id}")
    assert answer.status_code == 409
    assert (answer.json()["mcps"], answer.json()["deployments"]) == (1, 0)
    assert "disable" in answer.json()["detail"]
    assert (await one.caller.delete(f"/api/v1/mcps/{mcp['id']}")).status_code == 200
    key = with_key(platform, (await new_key(one.caller))["key"])
    assert (await admin.delete(f"/api/v1/users/{one.id}")).status_code == 200
    assert (await one.caller.get("/api/v1/mcps")).status_code == 401
    assert (await key.get("/api/v1/mcps")).status_code == 401
    assert (await admin.get(f"/api/v1/users/{one.id}")).status_code == 404
    # Its name is free again.
    again = account(username=one.username)
    assert (await platform.caller().post("/api/v1/auth/register", json=again)).status_code == 201


async def test_the_last_administrator_stays(strict: RunningPlatform) -> None:
    admin = await strict.admin()
    me = (await admin.get("/api/v1/auth/me")).json()["id"]
    for order in ({"is_active": False}, {"role": "developer"}):
        answer = await admin.patch(f"/api/v1/users/{me}", json=order)
        assert answer.status_code == 409
        assert "last" in answer.json()["detail"]
    assert (await admin.delete(f"/api/v1/users/{me}")).status_code == 409
    assert await change(admin, me, email="boss@example.com") == 200

    # With a second one either may go, and of both at once only one.
    other = await person(strict)
    await appoint(strict, other, "admin")
    statuses = await asyncio.gather(
        change(admin, other.id, role="developer"), change(other.caller, me, role="developer")
    )
    assert sorted(statuses)[0] == 200
    assert sorted(statuses)[1] in {403, 409}
    left = other.caller if statuses[1] == 200 else admin
    found = (await left.get("/api/v1/users", params={"role": "admin", "is_active": True})).json()
    assert found["total"] == 1
    if left is not admin:
        assert await change(left, me, role="admin") == 200
