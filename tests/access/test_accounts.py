"""Accounts, as their users see them."""

import asyncio

import pytest

from tests.access.people import account, new_key, person, with_key
from tests.platform import PASSWORD, Caller, RunningPlatform


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


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("short", "12 to 256 characters"),
        ("x1y2z3" * 50, "12 to 256 characters"),
        ("somebody.important", "username"),
        ("SomeBody@Example.COM", "e-mail"),
        ("Password1234", "guessed"),
        ("098765432109", "guessed"),
        ("ababababababab", "repeats"),
    ],
)
async def test_a_password_that_is_easy_to_guess_is_refused_with_a_reason(
    platform: RunningPlatform, password: str, said: str
) -> None:
    order = account(username="somebody.important", email="somebody@example.com", password=password)
    answer = await platform.caller().post("/api/v1/auth/register", json=order)
    assert answer.status_code == 422
    problem = answer.json()["detail"][0]
    assert problem["loc"] == ["body", "password"]
    assert said in problem["msg"]
    assert password not in answer.text


async def test_everybody_sees_their_own_account(platform: RunningPlatform) -> None:
    one = await person(platform, role="viewer")
    answer = await one.caller.get("/api/v1/auth/me")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["id"], found["username"], found["role"]) == (one.id, one.username, "viewer")
    assert found["mfa_enabled"] is False
    assert "tools:call" in found["permissions"]
    assert "mcps:write" not in found["permissions"]
    assert (await platform.caller().get("/api/v1/auth/me")).status_code == 401


async def test_a_new_name_is_what_one_signs_in_with(platform: RunningPlatform) -> None:
    one = await person(platform)
    name = str(account()["username"])
    answer = await one.caller.patch(
        "/api/v1/auth/me", json={"username": name, "email": f"{name}@Example.com"}
    )
    assert answer.status_code == 200
    assert (answer.json()["username"], answer.json()["email"]) == (name, f"{name}@example.com")
    assert (await one.caller.get("/api/v1/auth/me")).json()["username"] == name
    await platform.caller().sign_in(name)
    old = {"username": one.username, "password": PASSWORD}
    assert (await platform.caller().post("/api/v1/auth/login", json=old)).status_code == 401


async def test_a_name_or_address_of_somebody_else_is_refused(platform: RunningPlatform) -> None:
    one, other = await person(platform), await person(platform)
    for field, value in (("username", other.username.upper()), ("email", f"{other.username}@example.com")):
        answer = await one.caller.patch("/api/v1/auth/me", json={field: value})
        assert (answer.status_code, answer.json()["field"]) == (409, field)
    # Writing one's own name in another way takes nothing from anybody.
    answer = await one.caller.patch("/api/v1/auth/me", json={"username": one.username.upper()})
    assert answer.json()["username"] == one.username.upper()


async def test_a_new_password_ends_all_other_sessions_and_no_key(platform: RunningPlatform) -> None:
    one = await person(platform)
    elsewhere = await one.sign_in_elsewhere(platform)
    key = with_key(platform, (await new_key(one.caller))["key"])
    assert (await elsewhere.get("/api/v1/auth/me")).status_code == 200
    order = {"current_password": PASSWORD, "new_password": "another good password"}
    answer = await one.caller.post("/api/v1/auth/me/password", json=order)
    assert answer.status_code == 200, answer.text
    assert (await elsewhere.get("/api/v1/auth/me")).status_code == 401
    assert (await one.caller.get("/api/v1/auth/me")).status_code == 200
    assert (await key.get("/api/v1/auth/me")).status_code == 200
    assert (await refresh(one.caller, one.pair["refresh_token"]))[0] == 200
    old = {"username": one.username, "password": PASSWORD}
    assert (await platform.caller().post("/api/v1/auth/login", json=old)).status_code == 401
    await platform.caller().sign_in(one.username, "another good password")


async def test_the_password_stays_without_the_present_one_or_with_a_bad_new_one(
    platform: RunningPlatform,
) -> None:
    one = await person(platform)
    wrong = {"current_password": "not the password", "new_password": "another good password"}
    answer = await one.caller.post("/api/v1/auth/me/password", json=wrong)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PROOF_FAILED")
    weak = {"current_password": PASSWORD, "new_password": "aaaaaaaaaaaaaaa"}
    answer = await one.caller.post("/api/v1/auth/me/password", json=weak)
    assert answer.json()["detail"][0]["loc"] == ["body", "new_password"]
    await platform.caller().sign_in(one.username)


async def test_a_key_cannot_take_the_account_over(platform: RunningPlatform) -> None:
    one = await person(platform)
    key = with_key(platform, (await new_key(one.caller))["key"])
    order = {"current_password": PASSWORD, "new_password": "another good password"}
    answers = [
        await key.post("/api/v1/auth/me/password", json=order),
        await key.patch("/api/v1/auth/me", json={"email": "thief@example.com"}),
        await key.post("/api/v1/auth/me/mfa", json={"password": PASSWORD}),
        await key.get("/api/v1/auth/sessions"),
        await key.post("/api/v1/auth/logout"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5
    assert all("API key" in answer.json()["detail"] for answer in answers)
