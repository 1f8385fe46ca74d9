"""Roles: the built-in ones, and those that administrators make of permissions."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.access.people import appoint, person
from tests.access.test_users import change, lesser_administrator
from tests.platform import PASSWORD, Caller, RunningPlatform


def role(**changes: Any) -> dict[str, Any]:
    """Give a body for `POST /roles`."""
    permissions = ["account:manage", "mcps:read", "tasks:read"]
    return {"name": f"role-{uuid4().hex[:8]}", "description": "Looks", "permissions": permissions, **changes}


async def made(caller: Caller, **changes: Any) -> str:
    """Make a role; its name."""
    answer = await caller.post("/api/v1/roles", json=role(**changes))
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["name"]
    return name


async def test_all_roles_are_listed_with_what_they_allow(platform: RunningPlatform) -> None:
    admin = await platform.admin()
    name = await made(admin)
    listed = (await admin.get("/api/v1/roles")).json()
    assert [found["name"] for found in listed[:3]] == ["admin", "developer", "viewer"]
    roles = {found["name"]: found for found in listed}
    assert [found["built_in"] for found in (roles["viewer"], roles[name])] == [True, False]
    assert "users:appoint" in roles["admin"]["permissions"]
    assert "users:appoint" not in roles["developer"]["permissions"]
    assert roles[name]["permissions"] == ["account:manage", "mcps:read", "tasks:read"]
    assert roles[name]["description"] == "Looks"


async def test_a_role_allows_what_it_says_and_nothing_else(platform: RunningPlatform) -> None:
    one, admin = await person(platform), await platform.admin()
    await appoint(platform, one, await made(admin))
    assert (await one.caller.get("/api/v1/mcps")).status_code == 200
    assert (await one.caller.get("/api/v1/deployments")).status_code == 403
    found = (await one.caller.get("/api/v1/auth/me")).json()
    assert found["permissions"] == ["account:manage", "mcps:read", "tasks:read"]


async def test_whatever_a_role_allows_one_may_leave_and_change_ones_password(
    platform: RunningPlatform,
) -> None:
    one, admin = await person(platform), await platform.admin()
    await appoint(platform, one, await made(admin, permissions=["mcps:read"]))
    elsewhere = await one.sign_in_elsewhere(platform)
    sessions = (await one.caller.get("/api/v1/auth/sessions")).json()
    (other,) = (session["id"] for session in sessions if not session["current"])
    assert (await one.caller.delete(f"/api/v1/auth/sessions/{other}")).status_code == 200
    assert (await elsewhere.get("/api/v1/mcps")).status_code == 401
    order = {"current_password": PASSWORD, "new_password": "another good password"}
    assert (await one.caller.post("/api/v1/auth/me/password", json=order)).status_code == 200
    assert (await one.caller.post("/api/v1/auth/api-keys", json={"name": "x"})).status_code == 403
    assert (await one.caller.post("/api/v1/auth/logout")).status_code == 200
    assert (await one.caller.get("/api/v1/mcps")).status_code == 401


async def test_a_changed_role_acts_at_once_on_everybody_who_has_it(platform: RunningPlatform) -> None:
    people, admin = [await person(platform), await person(platform)], await platform.admin()
    name = await made(admin)
    for one in people:
        await appoint(platform, one, name)
        assert (await one.caller.get("/api/v1/mcps")).status_code == 200
    order = {"permissions": ["deployments:read"]}
    answer = await admin.put(f"/api/v1/roles/{name}", json=order)
    assert (answer.status_code, answer.json()["permissions"]) == (200, ["deployments:read"])
    for one in people:
        assert (await one.caller.get("/api/v1/mcps")).status_code == 403
        assert (await one.caller.get("/api/v1/deployments")).status_code == 200


async def test_a_role_that_somebody_has_is_not_deleted(platform: RunningPlatform) -> None:
    one, admin = await person(platform), await platform.admin()
    name = await made(admin)
    await appoint(platform, one, name)
    answer = await admin.delete(f"/api/v1/roles/{name}")
    assert (answer.status_code, answer.json()["accounts"]) == (409, 1)
    await appoint(platform, one, "viewer")
    assert (await admin.delete(f"/api/v1/roles/{name}")).status_code == 200
    assert (await admin.delete(f"/api/v1/roles/{name}")).status_code == 404
    assert await change(admin, one.id, role=name) == 422


async def test_nobody_is_left_with_a_role_that_is_deleted_at_the_same_time(platform: RunningPlatform) -> None:
    one, admin = await person(platform), await platform.admin()
    for _ in range(5):
        name = await made(admin)
        given, deleted = await asyncio.gather(
            change(admin, one.id, role=name), admin.delete(f"/api/v1/roles/{name}")
        )
        assert (given, deleted.status_code) in {(200, 409), (422, 200)}
        await appoint(platform, one, "viewer")


@pytest.mark.parametrize("name", ["admin", "developer", "viewer"])
async def test_the_built_in_roles_stay_as_they_are(platform: RunningPlatform, name: str) -> None:
    admin = await platform.admin()
    assert (await admin.post("/api/v1/roles", json=role(name=name))).status_code == 409
    assert (await admin.put(f"/api/v1/roles/{name}", json={"permissions": []})).status_code == 409
    assert (await admin.delete(f"/api/v1/roles/{name}")).status_code == 409


async def test_a_name_is_given_once_and_permissions_are_known_ones(platform: RunningPlatform) -> None:
    admin = await platform.admin()
    name = await made(admin)
    assert (await admin.post("/api/v1/roles", json=role(name=name))).status_code == 409
    assert (await admin.post("/api/v1/roles", json=role(permissions=["mcps:fly"]))).status_code == 422
    assert (await admin.post("/api/v1/roles", json=role(name="Has Spaces"))).status_code == 422
    assert (await admin.put(f"/api/v1/roles/{name}x", json={"permissions": []})).status_code == 404


async def test_nobody_makes_a_role_of_what_they_do_not_have(platform: RunningPlatform) -> None:
    lesser = await lesser_administrator(platform, "users:read", "users:write", "users:appoint", "mcps:read")
    admin = await platform.admin()
    strong = await made(admin, permissions=["secrets:read"])
    refused = await lesser.caller.post("/api/v1/roles", json=role(permissions=["mcps:read", "mcps:write"]))
    assert (refused.status_code, refused.json()["required_permission"]) == (403, "mcps:write")
    weak = await made(lesser.caller, permissions=["mcps:read"])
    answer = await lesser.caller.put(f"/api/v1/roles/{weak}", json={"permissions": ["secrets:read"]})
    assert answer.status_code == 403
    # Nor do they take it from others.
    assert (await lesser.caller.put(f"/api/v1/roles/{strong}", json={"permissions": []})).status_code == 403
    assert (await lesser.caller.delete(f"/api/v1/roles/{strong}")).status_code == 403


async def test_only_who_may_appoint_makes_roles(platform: RunningPlatform) -> None:
    one = await person(platform)
    assert (await one.caller.get("/api/v1/roles")).status_code == 403
    assert (await one.caller.post("/api/v1/roles", json=role())).status_code == 403
