"""API keys: what they may do, for which MCPs, for how long, and when they were used."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from storage.sql.tables import ApiKeyRow
from tests.access.people import appoint, new_key, person, with_key
from tests.platform import RunningPlatform

CONFIG = {"servers": [{"name": "far", "url": "http://127.0.0.1:9/mcp"}]}


async def test_an_api_key_is_shown_once_works_in_both_headers_and_ends_when_revoked(
    platform: RunningPlatform,
) -> None:
    member = await platform.member()
    order = {"name": "Production API Key", "expires_at": "2999-12-31T23:59:59Z"}
    answer = await member.post("/api/v1/auth/api-keys", json=order)
    assert answer.status_code == 201
    created = answer.json()
    assert set(created) == {"id", "name", "key", "created_at", "expires_at"}
    assert created["key"].startswith("mcp_live_")
    listed = await member.get("/api/v1/auth/api-keys")
    assert created["key"] not in listed.text
    assert [key["id"] for key in listed.json()] == [created["id"]]

    caller = platform.caller()
    for headers in ({"X-API-Key": created["key"]}, {"Authorization": f"Bearer {created['key']}"}):
        assert (await caller.get("/api/v1/mcps", headers=headers)).status_code == 200
    assert (await member.delete(f"/api/v1/auth/api-keys/{created['id']}")).status_code == 200
    refused = await caller.get("/api/v1/mcps", headers={"X-API-Key": created["key"]})
    assert refused.status_code == 401


async def test_an_api_key_cannot_be_made_for_the_past(platform: RunningPlatform) -> None:
    member = await platform.member()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    answer = await member.post("/api/v1/auth/api-keys", json={"name": "old", "expires_at": yesterday})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "expires_at"]


async def test_nobody_revokes_somebody_elses_key(platform: RunningPlatform) -> None:
    owner, other = await platform.member(), await platform.member()
    created = (await owner.post("/api/v1/auth/api-keys", json={"name": "mine"})).json()
    assert (await other.delete(f"/api/v1/auth/api-keys/{created['id']}")).status_code == 404
    answer = await platform.caller().get("/api/v1/mcps", headers={"X-API-Key": created["key"]})
    assert answer.status_code == 200


async def permissions_of(platform: RunningPlatform, key: str) -> set[str]:
    """Ask the platform what a key may do."""
    principal = await platform.parts.credentials.authenticate({"x-api-key": key})
    return {permission.value for permission in principal.permissions}


async def test_scopes_bound_what_a_key_may_do(platform: RunningPlatform) -> None:
    one = await person(platform)
    reading = with_key(platform, (await new_key(one.caller, scopes=["READ"]))["key"])
    writing = with_key(platform, (await new_key(one.caller, scopes=["WRITE"]))["key"])
    single = with_key(platform, (await new_key(one.caller, scopes=["mcps:read"]))["key"])
    order = {"name": "Test", "slug": f"test-{uuid4().hex[:8]}", "version": "1.0.0", "config": CONFIG}
    for key in (reading, single):
        assert (await key.get("/api/v1/mcps")).status_code == 200
        refused = await key.post("/api/v1/mcps", json=order)
        assert (refused.status_code, refused.json()["required_permission"]) == (403, "mcps:write")
    assert (await single.get(f"/api/v1/tasks/{uuid4()}")).status_code == 403
    assert (await reading.get(f"/api/v1/tasks/{uuid4()}")).status_code == 404
    assert (await writing.post("/api/v1/mcps", json=order)).status_code == 201
    # None of them may make keys.
    assert (await writing.post("/api/v1/auth/api-keys", json={"name": "more"})).status_code == 403


async def test_a_scope_gives_nothing_that_the_owner_has_not(platform: RunningPlatform) -> None:
    one = await person(platform)
    key = (await new_key(one.caller, scopes=["ADMIN", "users:write"]))["key"]
    assert "users:write" not in await permissions_of(platform, key)
    assert "mcps:write" in await permissions_of(platform, key)
    await appoint(platform, one, "viewer")
    assert "mcps:write" not in await permissions_of(platform, key)
    await appoint(platform, one, "admin")
    assert "users:write" in await permissions_of(platform, key)


async def test_an_administrators_writing_key_administers_nothing(platform: RunningPlatform) -> None:
    admin = await platform.admin()
    allowed = await permissions_of(platform, (await new_key(admin, scopes=["WRITE"]))["key"])
    assert {"mcps:write", "mcps:delete", "tools:call", "deployments:write", "analysis:run"} <= allowed
    changing = {name for name in allowed if not name.endswith(":read")}
    assert not {name for name in changing if name.startswith(("users:", "audit:", "account:"))}
    assert not {name for name in changing if name.endswith((":all", ":appoint", ":share"))}


async def test_an_unknown_scope_is_refused_with_a_list_of_those_that_there_are(
    platform: RunningPlatform,
) -> None:
    one = await person(platform)
    answer = await one.caller.post("/api/v1/auth/api-keys", json={"name": "x", "scopes": ["READ", "SUPER"]})
    assert answer.status_code == 422
    problem = answer.json()["detail"][0]
    assert problem["loc"] == ["body", "scopes"]
    assert "SUPER" in problem["msg"]
    assert all(known in problem["msg"] for known in ("READ", "WRITE", "ADMIN", "mcps:read"))


async def test_a_key_may_be_bound_to_mcps_that_there_are(platform: RunningPlatform) -> None:
    one = await person(platform)
    mcp = await one.caller.register_mcp(CONFIG)
    created = await new_key(one.caller, mcp_ids=[mcp["id"]], scopes=["READ"])
    assert (created["mcp_ids"], created["scopes"]) == ([mcp["id"]], ["READ"])
    principal = await platform.parts.credentials.authenticate({"x-api-key": created["key"]})
    assert {str(found) for found in principal.mcp_ids or ()} == {mcp["id"]}
    assert not principal.may_use(uuid4())
    unknown = str(uuid4())
    order = {"name": "x", "mcp_ids": [mcp["id"], unknown]}
    answer = await one.caller.post("/api/v1/auth/api-keys", json=order)
    assert (answer.status_code, answer.json()["resource_id"]) == (404, unknown)


@pytest.mark.parametrize(
    ("wish", "kept"),
    [
        ({}, True),
        ({"scopes": ["mcps:read"]}, True),
        ({"scopes": ["account:manage", "WRITE"]}, False),
        ({"scopes": ["ADMIN"]}, False),
        ({"expires_at": "2999-01-01T00:00:00Z"}, False),
    ],
)
async def test_a_key_makes_no_key_that_is_good_for_more(
    platform: RunningPlatform, wish: dict[str, Any], kept: bool
) -> None:
    one = await person(platform)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    bounds = {"scopes": ["account:manage", "READ"], "expires_at": tomorrow}
    maker = with_key(platform, (await new_key(one.caller, **bounds))["key"])
    answer = await maker.post("/api/v1/auth/api-keys", json={"name": "child", **wish})
    assert answer.status_code == (201 if kept else 403), answer.text
    if kept:
        child = answer.json()
        assert child["scopes"] == wish.get("scopes", bounds["scopes"])
        assert datetime.fromisoformat(child["expires_at"]) == datetime.fromisoformat(tomorrow)


async def test_a_key_of_one_mcp_does_nothing_that_concerns_others_or_the_account(
    platform: RunningPlatform,
) -> None:
    admin = await platform.admin()
    mine = await admin.register_mcp(CONFIG)
    bound = with_key(platform, (await new_key(admin, mcp_ids=[mine["id"]]))["key"])
    assert (await bound.get(f"/api/v1/mcps/{mine['id']}")).status_code == 200
    for method, path, body in (
        ("GET", "/users", None),
        ("GET", "/audit", None),
        ("GET", "/secrets", None),
        ("PUT", "/secrets/TOKEN", {"value": "x", "shared": True}),
        ("POST", "/roles", {"name": "r", "description": "", "permissions": []}),
        ("POST", "/auth/api-keys", {"name": "child"}),
        ("POST", "/knowledge/search", {"query": "x"}),
        ("POST", "/analyze/feasibility", {"config": {"name": "x"}}),
    ):
        answer = await bound.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == 403, (path, answer.text)


async def test_an_account_has_a_hundred_keys_that_hold_and_no_more(platform: RunningPlatform) -> None:
    one = await person(platform)
    kept = [await new_key(one.caller) for _ in range(98)]
    orders = [one.caller.post("/api/v1/auth/api-keys", json={"name": "test"}) for _ in range(4)]
    answers = await asyncio.gather(*orders)
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert (refused["error_code"], "100" in refused["detail"]) == ("CONFLICT", True)
    assert (await one.caller.delete(f"/api/v1/auth/api-keys/{kept[0]['id']}")).status_code == 200
    await new_key(one.caller)
    async with platform.parts.stores.database.write() as session:
        ended = update(ApiKeyRow).where(ApiKeyRow.id == UUID(kept[1]["id"]))
        await session.execute(ended.values(expires_at=datetime.now(UTC)))
    await new_key(one.caller)


async def test_the_list_says_what_a_key_is_good_for_and_when_it_was_used(platform: RunningPlatform) -> None:
    one = await person(platform)
    plain = await new_key(one.caller)
    bound = await new_key(one.caller, scopes=["READ"])
    before = datetime.now(UTC)
    await with_key(platform, bound["key"]).get("/api/v1/mcps")
    await platform.parts.credentials.flush()
    listed = {key["id"]: key for key in (await one.caller.get("/api/v1/auth/api-keys")).json()}
    assert listed[plain["id"]]["scopes"] is None
    assert listed[plain["id"]]["last_used_at"] is None
    assert listed[bound["id"]]["scopes"] == ["READ"]
    assert bound["key"].startswith(listed[bound["id"]]["prefix"])
    assert datetime.fromisoformat(listed[bound["id"]]["last_used_at"]) >= before
