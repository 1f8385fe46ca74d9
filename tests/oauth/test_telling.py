"""What clients are told of OAuth, where an endpoint advertises it, and where it does not."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import case, update

from mcp_platform.settings import OAuthSettings
from storage.sql.tables import OAuthClientRow
from tests.access.people import Person
from tests.oauth.browser import Browser, Program
from tests.oauth.conftest import Advertised, Register, call, deployed
from tests.platform import RunningPlatform
from tests.waiting import eventually


async def test_an_endpoint_that_advertises_says_where_to_sign_in(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser
) -> None:
    refused = await browser.post(endpoint.address, json={})
    assert refused.status_code == 401
    challenge = refused.headers["www-authenticate"]
    assert challenge == f'Bearer resource_metadata="{endpoint.metadata}", scope="mcp:tools"'
    wrong = await call(endpoint.address, "no-token", browser)
    assert wrong.headers["www-authenticate"].startswith('Bearer error="invalid_token", resource_metadata=')
    told = (await browser.get(endpoint.metadata)).json()
    assert told["resource"] == endpoint.address
    assert told["authorization_servers"] == [platform.url]
    assert told["scopes_supported"] == ["mcp:tools"]
    server = (await browser.get(f"{platform.url}/.well-known/oauth-authorization-server")).json()
    assert server["issuer"] == platform.url
    assert server["code_challenge_methods_supported"] == ["S256"]
    assert server["client_id_metadata_document_supported"] is True
    assert server["authorization_response_iss_parameter_supported"] is True
    assert (await browser.get(f"{platform.url}/.well-known/openid-configuration")).status_code == 404


async def test_who_may_not_call_tools_is_told_of_the_scope(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser
) -> None:
    member = await platform.member()
    key = await member.post("/api/v1/auth/api-keys", json={"name": "reads", "scopes": ["mcps:read"]})
    refused = await call(endpoint.address, key.json()["key"], browser)
    assert refused.status_code == 403
    challenge = refused.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="insufficient_scope", resource_metadata=')
    assert 'scope="mcp:tools"' in challenge


async def test_an_endpoint_that_does_not_advertise_says_nothing_of_it(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser, program: Program
) -> None:
    quiet = await deployed(platform, "quiet")
    refused = await browser.post(quiet.address, json={})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert (await browser.get(quiet.metadata)).status_code == 404
    assert (await browser.get(f"{endpoint.metadata}/more")).status_code == 404
    assert (await browser.get(program.address(resource=quiet.address))).status_code == 400
    await quiet.advertise(True)
    assert (await browser.get(quiet.metadata)).status_code == 200
    await quiet.advertise(False)
    refused = await browser.post(quiet.address, json={})
    assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_group_and_the_smart_endpoint_are_signed_in_to_likewise(
    platform: RunningPlatform,
    endpoint: Advertised,
    register: Register,
    browser: Browser,
    someone: Person,
) -> None:
    name = f"group-{uuid4().hex[:8]}"
    order = {"name": name, "settings": {"advertise_oauth": True}}
    made = await endpoint.admin.post("/api/v1/groups", json=order)
    assert made.status_code == 201, made.text
    path = f"/api/v1/groups/{made.json()['id']}"
    await endpoint.admin.post(f"{path}/members", json={"user_id": someone.id})
    await endpoint.admin.post(f"{path}/mcps", json={"mcp_id": endpoint.mcp_id})
    address = f"{platform.url}/mcp/group/{name}"
    metadata = f"{platform.url}/.well-known/oauth-protected-resource/mcp/group/{name}"

    async def told() -> int:
        return (await browser.get(metadata)).status_code

    await eventually(told, lambda status: status == 200)
    refused = await browser.post(address, json={})
    assert f'resource_metadata="{metadata}"' in refused.headers["www-authenticate"]
    program = await register(address)
    given = await program.tokens(browser, someone.username)
    listed = await call(address, given["access_token"], program.http)
    assert (listed.status_code, "say" in listed.text) == (200, True), listed.text
    for other in (endpoint.address, f"{platform.url}/mcp/smart"):
        assert (await call(other, given["access_token"], program.http)).status_code == 401
    smart = f"{platform.url}/.well-known/oauth-protected-resource/mcp/smart"
    assert (await browser.get(smart)).status_code == 404
    assert platform.parts.gateway is not None
    platform.parts.gateway._advertised._always = frozenset({"smart"})
    await platform.parts.gateway._advertised.refresh()
    try:
        assert (await browser.get(smart)).json()["resource"] == f"{platform.url}/mcp/smart"
    finally:
        platform.parts.gateway._advertised._always = frozenset()
        await platform.parts.gateway._advertised.refresh()
        await endpoint.admin.delete(path)


async def test_without_any_such_endpoint_there_is_no_authorization_server(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser
) -> None:
    await endpoint.advertise(False)
    try:
        for path in ("/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"):
            assert (await browser.get(f"{platform.url}{path}")).status_code == 404
        order = {"redirect_uris": ["https://client.example/back"]}
        assert (await browser.post(f"{platform.url}/oauth/register", json=order)).status_code == 404
    finally:
        await endpoint.advertise(True)


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://client.example/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://client.example/#part"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://client.example;script-src/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://u:p@client.example/"]}, "invalid_redirect_uri"),
        (
            {"redirect_uris": ["https://c.example/"], "token_endpoint_auth_method": "private_key_jwt"},
            "invalid_client_metadata",
        ),
        ({"redirect_uris": ["https://c.example/"], "grant_types": ["implicit"]}, "invalid_client_metadata"),
        ([], "invalid_client_metadata"),
    ],
)
async def test_a_registration_that_is_not_safe_is_refused(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser, order: object, error: str
) -> None:
    answer = await browser.post(f"{platform.url}/oauth/register", json=order)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_programs_with_schemes_of_their_own_and_other_loopback_forms_may_register(
    platform: RunningPlatform, endpoint: Advertised, browser: Browser
) -> None:
    uris = [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "http://[::1]:9000/back",
        "http://localhost:8787/callback",
        "https://vscode.dev/redirect",
    ]
    answer = await browser.post(f"{platform.url}/oauth/register", json={"redirect_uris": uris})
    assert answer.status_code == 201, answer.text
    assert answer.json()["redirect_uris"] == uris
    assert answer.json()["client_secret"]


async def registering(
    platform: RunningPlatform, browser: Browser, monkeypatch: pytest.MonkeyPatch, most: int
) -> int:
    """Register one more client, with this many allowed; the status."""
    own = OAuthSettings(most_clients=most)
    monkeypatch.setattr(
        "mcp_platform.settings.Settings.oauth", property(lambda _settings: own), raising=False
    )
    order = {"redirect_uris": ["https://client.example/back"]}
    return (await browser.post(f"{platform.url}/oauth/register", json=order)).status_code


async def registered_ago(platform: RunningPlatform, program: Program, minutes: float) -> None:
    """Have a client registered so long ago; what was used was used a little later."""
    row, then = OAuthClientRow, datetime.now(UTC) - timedelta(minutes=minutes)
    async with platform.parts.stores.database.write() as session:
        same = update(row).where(row.id == program.client_id)
        used = case((row.last_used_at == row.created_at, then), else_=then + timedelta(seconds=1))
        await session.execute(same.values(created_at=then, last_used_at=used))


async def is_known(program: Program, browser: Browser) -> bool:
    return (await browser.get(program.address())).status_code == 200


async def test_when_no_more_may_be_registered_the_oldest_unused_client_gives_way(
    platform: RunningPlatform,
    register: Register,
    browser: Browser,
    someone: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used, also, idle, fresh = [await register() for _ in range(4)]
    for program in (used, also):
        await program.tokens(browser, someone.username)
        await registered_ago(platform, program, 56)
    await registered_ago(platform, idle, 55)
    async with platform.parts.stores.read() as rows:
        known = await rows.oauth_clients.count()
    assert await registering(platform, browser, monkeypatch, known) == 201
    assert [await is_known(each, browser) for each in (used, idle, fresh)] == [True, False, True]
    # Those that are used are not put out, whoever else comes.
    assert await registering(platform, browser, monkeypatch, 1) == 503
    assert [await is_known(each, browser) for each in (used, also, fresh)] == [True] * 3


async def test_a_client_that_nobody_signed_in_by_is_forgotten_after_an_hour(
    platform: RunningPlatform,
    register: Register,
    browser: Browser,
    someone: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used, idle = await register(), await register()
    await used.tokens(browser, someone.username)
    grants = (await someone.caller.get("/api/v1/auth/grants")).json()["grants"]
    for grant in grants:
        await someone.caller.delete(f"/api/v1/auth/grants/{grant['id']}")
    for program in (used, idle):
        await registered_ago(platform, program, 61)
    assert await registering(platform, browser, monkeypatch, 1000) == 201
    assert [await is_known(each, browser) for each in (used, idle)] == [True, False]
