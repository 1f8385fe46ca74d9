"""Accounts, sessions and API keys, as their users see them."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.platform import PASSWORD, Caller, RunningPlatform


def account(**changes: object) -> dict[str, object]:
    """Give a body for `/auth/register`."""
    name = f"user-{uuid4().hex[:8]}"
    return {
        "username": name,
        "email": f"{name}@example.com",
        "password": PASSWORD,
        "role": "developer",
        **changes,
    }


async def test_registering_answers_with_the_account_and_never_the_password(platform: RunningPlatform) -> None:
    order = account()
    answer = await platform.caller().post("/api/v1/auth/register", json=order)
    assert answer.status_code == 201
    found = answer.json()
    assert set(found) == {"id", "username", "email", "role", "is_active", "created_at"}
    assert found["username"] == order["username"]
    assert found["role"] == "developer"
    assert found["is_active"] is True
    assert found["created_at"].endswith("Z")
    assert PASSWORD not in answer.text


async def test_nobody_registers_as_an_administrator(platform: RunningPlatform) -> None:
    answer = await platform.caller().post("/api/v1/auth/register", json=account(role="admin"))
    assert answer.status_code == 403
    assert answer.json()["required_permission"] == "users:appoint"


async def test_a_name_that_is_taken_is_refused_whatever_its_case(platform: RunningPlatform) -> None:
    first = account()
    assert (await platform.caller().post("/api/v1/auth/register", json=first)).status_code == 201
    again = account(username=str(first["username"]).upper())
    answer = await platform.caller().post("/api/v1/auth/register", json=again)
    assert answer.status_code == 409
    assert answer.json()["error_code"] == "CONFLICT"
    assert answer.json()["field"] == "username"


async def test_signing_in_gives_a_pair_for_fifteen_minutes(platform: RunningPlatform) -> None:
    member = await platform.member()
    order = account()
    await member.post("/api/v1/auth/register", json=order)
    pair = await member.sign_in(str(order["username"]))
    assert set(pair) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert pair["token_type"] == "bearer"
    assert pair["expires_in"] == 900


async def test_a_wrong_password_and_an_unknown_name_are_answered_alike(platform: RunningPlatform) -> None:
    caller = platform.caller()
    answers = [
        await caller.post("/api/v1/auth/login", json={"username": name, "password": "not the password"})
        for name in ("admin", "nobody-of-that-name")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    first, second = (answer.json() for answer in answers)
    assert first.pop("request_id") != second.pop("request_id")
    assert first == second


async def refresh(caller: Caller, token: str) -> tuple[int, dict[str, str]]:
    """Trade a refresh token."""
    answer = await caller.post("/api/v1/auth/refresh", json={"refresh_token": token})
    return answer.status_code, answer.json()


async def test_a_refresh_rotates_the_token_and_the_new_access_token_works(platform: RunningPlatform) -> None:
    caller = platform.caller()
    order = account()
    await caller.post("/api/v1/auth/register", json=order)
    pair = await caller.sign_in(str(order["username"]))
    status, renewed = await refresh(caller, pair["refresh_token"])
    assert status == 200
    assert renewed["refresh_token"] != pair["refresh_token"]
    caller.headers["Authorization"] = f"Bearer {renewed['access_token']}"
    assert (await caller.get("/api/v1/mcps")).status_code == 200


async def test_a_refresh_token_used_twice_revokes_its_family(platform: RunningPlatform) -> None:
    caller = platform.caller()
    order = account()
    await caller.post("/api/v1/auth/register", json=order)
    pair = await caller.sign_in(str(order["username"]))
    _, renewed = await refresh(caller, pair["refresh_token"])
    assert (await refresh(caller, pair["refresh_token"]))[0] == 401
    assert (await refresh(caller, renewed["refresh_token"]))[0] == 401


async def test_of_many_refreshes_at_once_exactly_one_wins(platform: RunningPlatform) -> None:
    caller = platform.caller()
    order = account()
    await caller.post("/api/v1/auth/register", json=order)
    pair = await caller.sign_in(str(order["username"]))
    outcomes = await asyncio.gather(*(refresh(caller, pair["refresh_token"]) for _ in range(10)))
    assert sorted(status for status, _ in outcomes) == [200] + [401] * 9


async def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(platform: RunningPlatform) -> None:
    caller = platform.caller()
    order = account()
    await caller.post("/api/v1/auth/register", json=order)
    pair = await caller.sign_in(str(order["username"]))
    assert (await refresh(caller, pair["access_token"]))[0] == 401
    caller.headers["Authorization"] = f"Bearer {pair['refresh_token']}"
    assert (await caller.get("/api/v1/mcps")).status_code == 401


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
