"""Clients sign somebody in by OAuth, and get tokens for one endpoint."""

import asyncio
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest

from tests.access.people import Person
from tests.oauth.browser import Browser, Program, query_of
from tests.oauth.conftest import Advertised, Register, call, deployed
from tests.platform import PASSWORD, RunningPlatform


async def audited(platform: RunningPlatform, action: str) -> list[dict[str, object]]:
    admin = await platform.admin()
    answer = await admin.get("/api/v1/audit", params={"action": action})
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, object]] = answer.json()["entries"]
    return entries


async def test_a_client_gets_tokens_that_call_the_endpoint(
    platform: RunningPlatform, endpoint: Advertised, program: Program, browser: Browser, someone: Person
) -> None:
    told = await browser.let_in(program.address(), someone.username)
    assert told["state"] == program.state
    assert told["iss"] == platform.url
    answer = await program.exchange(told["code"])
    given = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 900, "mcp:tools")
    tools = await call(endpoint.address, given["access_token"], program.http)
    assert tools.status_code == 200, tools.text
    assert "say" in tools.text
    assert (await audited(platform, "oauth.grant"))[0]["actor_name"] == someone.username


async def test_a_refresh_token_is_good_once_and_a_second_use_ends_all(
    endpoint: Advertised, program: Program, browser: Browser, someone: Person, platform: RunningPlatform
) -> None:
    first = await program.tokens(browser, someone.username)
    second = (await program.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (await call(endpoint.address, second["access_token"], program.http)).status_code == 200
    replayed = await program.refresh(first["refresh_token"])
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")
    assert (await program.refresh(second["refresh_token"])).status_code == 400
    for token in (first["access_token"], second["access_token"]):
        assert (await call(endpoint.address, token, program.http)).status_code == 401
    assert (await audited(platform, "oauth.reuse"))[0]["actor_id"] == someone.id


async def test_of_two_that_refresh_at_once_one_at_most_goes_on(
    program: Program, browser: Browser, someone: Person
) -> None:
    first = await program.tokens(browser, someone.username)
    answers = await asyncio.gather(*(program.refresh(first["refresh_token"]) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 400]


async def test_a_code_that_is_used_twice_ends_what_it_gave(
    endpoint: Advertised, program: Program, browser: Browser, someone: Person
) -> None:
    told = await browser.let_in(program.address(), someone.username)
    given = (await program.exchange(told["code"])).json()
    again = await program.exchange(told["code"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (await call(endpoint.address, given["access_token"], program.http)).status_code == 401
    assert (await program.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_code_is_exchanged_only_by_who_asked_for_it(
    program: Program, browser: Browser, someone: Person
) -> None:
    wrong: list[tuple[dict[str, str | None], str]] = [
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:33418/other"}, "invalid_grant"),
        ({"resource": "https://elsewhere.example/mcp/x/v1"}, "invalid_target"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_id": "9d1e9f0c-0000-4000-8000-000000000000"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
    ]
    told = await browser.let_in(program.address(), someone.username)
    for changes, error in wrong:
        answer = await program.exchange(told["code"], changes)
        assert answer.status_code == (401 if error == "invalid_client" else 400)
        assert answer.json()["error"] == error
    # What failed so used nothing up.
    assert (await program.exchange(told["code"])).status_code == 200


async def test_another_client_cannot_use_a_code_or_a_refresh_token(
    register: Register, program: Program, browser: Browser, someone: Person
) -> None:
    other = await register()
    other.verifier = program.verifier
    told = await browser.let_in(program.address(), someone.username)
    assert (await other.exchange(told["code"])).json()["error"] == "invalid_grant"
    given = (await program.exchange(told["code"])).json()
    assert (await other.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await other.ask("revoke", {"token": given["refresh_token"]})).status_code == 200
    assert (await program.refresh(given["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"code_challenge": None}, "code_challenge must be"),
        ({"code_challenge_method": None}, "PKCE is required"),
        ({"code_challenge_method": "plain"}, "PKCE is required"),
        ({"resource": None}, "resource is missing"),
        ({"resource": "https://elsewhere.example/mcp/x/v1"}, "no endpoint that is signed in to"),
        ({"response_type": "token"}, "response_type must be code"),
        ({"scope": "everything"}, "the only scope here"),
    ],
)
async def test_a_wrong_request_sends_nobody_on_who_has_not_signed_in(
    program: Program, browser: Browser, changes: dict[str, str | None], told: str
) -> None:
    answer = await browser.get(program.address(**changes))
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert told in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://127.0.0.1:33418/other"},
        {"redirect_uri": "http://127.0.0.1.evil.example:33418/"},
        {"redirect_uri": "https://127.0.0.1:33418/"},
        {"redirect_uri": "http://localhost:33418/"},
        {"redirect_uri": None},
        {"client_id": "unknown"},
        {"client_id": None},
    ],
)
async def test_nobody_is_sent_to_an_address_that_the_client_did_not_register(
    program: Program, browser: Browser, changes: dict[str, str | None]
) -> None:
    answer = await browser.get(program.address(**changes))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_on_this_machine_the_port_is_free(program: Program, browser: Browser, someone: Person) -> None:
    program.redirect_uri = "http://127.0.0.1:50123/"
    page = await browser.get(program.address())
    consent = await browser.sign_in(page, someone.username)
    answer = await browser.decide(consent)
    assert urlsplit(answer.headers["location"]).netloc == "127.0.0.1:50123"
    code = query_of(answer.headers["location"])["code"]
    assert (await program.exchange(code)).status_code == 200


async def test_who_refuses_lets_nobody_in(
    platform: RunningPlatform, program: Program, browser: Browser, someone: Person
) -> None:
    consent = await browser.sign_in(await browser.get(program.address()), someone.username)
    told = query_of((await browser.decide(consent, "deny")).headers["location"])
    assert (told["error"], told["state"]) == ("access_denied", program.state)
    assert (await audited(platform, "oauth.refuse"))[0]["actor_id"] == someone.id
    grants = await someone.caller.get("/api/v1/auth/grants")
    assert grants.json()["grants"] == []


async def test_a_token_is_good_at_its_endpoint_alone(
    platform: RunningPlatform, endpoint: Advertised, program: Program, browser: Browser, someone: Person
) -> None:
    other = await deployed(platform, "other")
    given = await program.tokens(browser, someone.username)
    token = given["access_token"]
    assert (await call(other.address, token, program.http)).status_code == 401
    assert (await call(endpoint.address, token, program.http)).status_code == 200
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/api/v1/auth/me", "/api/v1/mcps", "/api/v1/auth/grants"):
        assert (await program.http.get(f"{platform.url}{path}", headers=headers)).status_code == 401
    rest = await program.http.post(f"{endpoint.address}/tools/say", headers=headers, json={})
    assert rest.status_code == 200, rest.text
    assert (await program.http.post(f"{other.address}/tools/say", headers=headers)).status_code == 401


async def test_a_disabled_account_is_let_in_nowhere(
    platform: RunningPlatform, endpoint: Advertised, program: Program, browser: Browser, someone: Person
) -> None:
    given = await program.tokens(browser, someone.username)
    admin = await platform.admin()
    answer = await admin.patch(f"/api/v1/users/{someone.id}", json={"is_active": False})
    assert answer.status_code == 200, answer.text
    assert (await call(endpoint.address, given["access_token"], program.http)).status_code == 401
    assert (await program.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_what_a_disabled_account_had_let_in_does_not_come_back_with_it(
    platform: RunningPlatform, endpoint: Advertised, program: Program, browser: Browser, someone: Person
) -> None:
    given = await program.tokens(browser, someone.username)
    admin = await platform.admin()
    for is_active in (False, True):
        answer = await admin.patch(f"/api/v1/users/{someone.id}", json={"is_active": is_active})
        assert answer.status_code == 200, answer.text
    assert (await call(endpoint.address, given["access_token"], program.http)).status_code == 401
    assert (await program.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_another_password_ends_what_was_let_in_by_the_old_one(
    endpoint: Advertised, program: Program, browser: Browser, someone: Person
) -> None:
    given = await program.tokens(browser, someone.username)
    waiting = await browser.sign_in(await browser.get(program.address()), someone.username)
    order = {"current_password": PASSWORD, "new_password": "Another-Secure-Pw-456"}
    answer = await someone.caller.post("/api/v1/auth/me/password", json=order)
    assert answer.status_code == 200, answer.text
    assert (await call(endpoint.address, given["access_token"], program.http)).status_code == 401
    assert (await program.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"
    assert query_of((await browser.decide(waiting)).headers["location"])["error"] == "access_denied"


async def test_its_owner_sees_a_grant_and_ends_it(
    endpoint: Advertised, program: Program, browser: Browser, someone: Person, platform: RunningPlatform
) -> None:
    given = await program.tokens(browser, someone.username)
    listed = (await someone.caller.get("/api/v1/auth/grants")).json()
    assert [(each["client_name"], each["resource"]) for each in listed["grants"]] == [
        ("Test program", endpoint.address)
    ]
    number = UUID(listed["grants"][0]["id"])
    stranger = await platform.member()
    assert (await stranger.delete(f"/api/v1/auth/grants/{number}")).status_code == 404
    assert (await someone.caller.delete(f"/api/v1/auth/grants/{number}")).status_code == 200
    assert (await call(endpoint.address, given["access_token"], program.http)).status_code == 401
    assert (await program.refresh(given["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await someone.caller.get("/api/v1/auth/grants")).json()["total"] == 0


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_a_client_gives_its_grant_back(
    endpoint: Advertised, program: Program, browser: Browser, someone: Person, kind: str
) -> None:
    given = await program.tokens(browser, someone.username)
    assert (await program.ask("revoke", {"token": given[kind]})).status_code == 200
    assert (await call(endpoint.address, given["access_token"], program.http)).status_code == 401
    assert (await program.refresh(given["refresh_token"])).status_code == 400
    assert (await program.ask("revoke", {"token": "unknown"})).status_code == 200


async def test_a_client_with_a_secret_has_to_show_it(
    register: Register, browser: Browser, someone: Person
) -> None:
    program = await register(token_endpoint_auth_method="client_secret_post")
    told = await browser.let_in(program.address(), someone.username)
    secret = program.secret
    assert secret is not None
    for wrong in (None, "wrong"):
        program.secret = wrong
        assert (await program.exchange(told["code"])).json()["error"] == "invalid_client"
    program.secret = secret
    given = (await program.exchange(told["code"])).json()
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    address = f"{program.platform.url}/oauth/token"
    stranger = httpx.BasicAuth(program.client_id, "wrong")
    assert (await program.http.post(address, data=form, auth=stranger)).status_code == 401
    auth = httpx.BasicAuth(program.client_id, secret)
    assert (await program.http.post(address, data=form, auth=auth)).status_code == 200
