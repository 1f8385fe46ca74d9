"""Sessions: how they begin, who may end them, and that an end holds at once and everywhere."""

from uuid import uuid4

from gateway.credentials import Credentials
from mcp_platform.errors import Unauthorized
from tests.access.people import new_key, person, with_key
from tests.platform import PASSWORD, Caller, RunningPlatform
from tests.waiting import eventually


async def is_in(caller: Caller) -> bool:
    """Tell whether a client's credential holds."""
    status = (await caller.get("/api/v1/auth/me")).status_code
    assert status in (200, 401)
    return status == 200


async def refreshes(platform: RunningPlatform, token: str) -> bool:
    """Tell whether a refresh token is still good for anything."""
    answer = await platform.caller().post("/api/v1/auth/refresh", json={"refresh_token": token})
    return answer.status_code == 200


async def test_the_password_form_signs_in_as_the_documentation_page_sends_it(
    platform: RunningPlatform,
) -> None:
    one = await person(platform)
    form = {
        "grant_type": "password",
        "username": one.username,
        "password": PASSWORD,
        "scope": "",
        "client_id": "",
    }
    answer = await platform.caller().post("/api/v1/auth/token", data=form)
    assert answer.status_code == 200, answer.text
    pair = answer.json()
    assert set(pair) == {"access_token", "refresh_token", "token_type", "expires_in"}
    caller = platform.caller()
    caller.headers["Authorization"] = f"Bearer {pair['access_token']}"
    assert await is_in(caller)
    refused = await platform.caller().post("/api/v1/auth/token", data={**form, "password": "wrong"})
    assert (refused.status_code, refused.json()["error_code"]) == (401, "UNAUTHORIZED")
    other = await platform.caller().post("/api/v1/auth/token", data={**form, "grant_type": "implicit"})
    assert other.status_code == 422


async def test_signing_out_ends_this_session_and_no_other(platform: RunningPlatform) -> None:
    one = await person(platform)
    elsewhere = await one.sign_in_elsewhere(platform)
    assert (await one.caller.post("/api/v1/auth/logout")).status_code == 200
    assert not await is_in(one.caller)
    assert not await refreshes(platform, one.pair["refresh_token"])
    assert await is_in(elsewhere)


async def test_ones_sessions_are_listed_with_where_they_came_from(platform: RunningPlatform) -> None:
    one = await person(platform)
    elsewhere = platform.caller()
    elsewhere.headers["User-Agent"] = "A browser"
    pair = await elsewhere.sign_in(one.username)
    sessions = (await one.caller.get("/api/v1/auth/sessions")).json()
    assert len(sessions) == 2
    assert {session["current"] for session in sessions} == {True, False}
    (other,) = (session for session in sessions if not session["current"])
    assert (other["user_agent"], other["address"]) == ("A browser", "127.0.0.1")
    assert other["created_at"] <= other["refreshed_at"] < other["expires_at"]
    assert await refreshes(platform, pair["refresh_token"])
    (later,) = (s for s in (await one.caller.get("/api/v1/auth/sessions")).json() if s["id"] == other["id"])
    assert later["refreshed_at"] > other["refreshed_at"]
    assert (later["created_at"], later["user_agent"]) == (other["created_at"], "A browser")


async def test_one_ends_ones_own_sessions_and_nobody_elses(platform: RunningPlatform) -> None:
    one, other = await person(platform), await person(platform)
    elsewhere = await one.sign_in_elsewhere(platform)
    sessions = (await one.caller.get("/api/v1/auth/sessions")).json()
    (ended,) = (session["id"] for session in sessions if not session["current"])
    assert (await other.caller.delete(f"/api/v1/auth/sessions/{ended}")).status_code == 404
    assert await is_in(elsewhere)
    assert (await one.caller.delete(f"/api/v1/auth/sessions/{ended}")).status_code == 200
    assert not await is_in(elsewhere)
    assert await is_in(one.caller)
    assert (await one.caller.delete(f"/api/v1/auth/sessions/{ended}")).status_code == 404
    assert len((await one.caller.get("/api/v1/auth/sessions")).json()) == 1


async def test_a_refresh_token_used_twice_ends_the_access_token_too(platform: RunningPlatform) -> None:
    one = await person(platform)
    assert await refreshes(platform, one.pair["refresh_token"])
    assert await is_in(one.caller)
    assert not await refreshes(platform, one.pair["refresh_token"])
    assert not await is_in(one.caller)


async def test_a_token_of_a_session_that_never_was_is_refused(platform: RunningPlatform) -> None:
    one = await person(platform)
    async with platform.parts.stores.read() as rows:
        account = await rows.users.find_by_username(one.username)
    assert account is not None
    stranger = platform.caller()
    forged = platform.parts.tokens.issue_access(account.user, uuid4())
    stranger.headers["Authorization"] = f"Bearer {forged}"
    assert not await is_in(stranger)


async def test_what_ends_here_ends_in_every_other_process(platform: RunningPlatform) -> None:
    one = await person(platform)
    key = (await new_key(one.caller))["key"]
    parts = platform.parts
    elsewhere = Credentials(parts.stores.database, parts.stores.cache, parts.tokens)
    token = {"authorization": f"Bearer {one.caller.token}"}

    async def holds(headers: dict[str, str]) -> bool:
        try:
            await elsewhere.authenticate(headers)
        except Unauthorized:
            return False
        return True

    async with elsewhere.running():
        # The first message says that the subscription stands.
        await elsewhere.next_change(since=0)
        assert await holds(token)
        assert await holds({"x-api-key": key})
        admin = await platform.admin()
        await admin.patch(f"/api/v1/users/{one.id}", json={"is_active": False})
        await eventually(lambda: holds(token), lambda still: not still, within=5)
        assert not await holds({"x-api-key": key})
    assert not await is_in(one.caller)
    assert not await is_in(with_key(platform, key))
