"""The pages on which a person signs in and agrees: theirs alone, and safe against other sites."""

import httpx
import pytest

from storage.sql.access import Limit
from tests.access.people import Person
from tests.access.test_second_factor import secured
from tests.oauth.browser import Browser, Program, hidden, query_of
from tests.oauth.conftest import Register
from tests.platform import PASSWORD, RunningPlatform
from tests.waiting import PATIENCE


def check_headers(page: httpx.Response) -> None:
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text


async def test_the_pages_bring_nothing_foreign_and_let_themselves_be_framed_nowhere(
    program: Program, browser: Browser, someone: Person
) -> None:
    page = await browser.get(program.address())
    check_headers(page)
    assert "form-action 'self' http://127.0.0.1:33418" in page.headers["content-security-policy"]
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    consent = await browser.sign_in(page, someone.username)
    check_headers(consent)
    assert someone.username in consent.text
    assert program.resource in consent.text


async def test_a_clients_name_is_text_and_nothing_else(
    register: Register, browser: Browser, someone: Person
) -> None:
    program = await register(client_name='<img src=x onerror=alert(1)> "Evil" \u202e')
    consent = await browser.sign_in(await browser.get(program.address()), someone.username)
    assert "<img" not in consent.text
    assert "&lt;img src=x onerror=alert(1)&gt;" in consent.text
    assert "\u202e" not in consent.text


async def test_a_form_counts_only_from_the_page_and_the_browser_that_it_was_made_for(
    platform: RunningPlatform, program: Program, browser: Browser, someone: Person
) -> None:
    page = await browser.get(program.address())
    form = hidden(page.text)
    wrong = {**form, "csrf": "x" * 43, "username": someone.username, "password": "x"}
    assert (await browser.post(f"{platform.url}/oauth/sign-in", data=wrong)).status_code == 400
    async with Browser(timeout=PATIENCE, trust_env=False) as elsewhere:
        assert (await elsewhere.sign_in(page, someone.username)).status_code == 400
    consent = await browser.sign_in(page, someone.username)
    async with Browser(timeout=PATIENCE, trust_env=False) as elsewhere:
        assert (await elsewhere.decide(consent)).status_code == 400
    # What was known before the sign-in is good for nothing after it.
    early = httpx.Response(200, text=page.text, request=consent.request)
    assert (await browser.decide(early)).status_code == 400
    assert (await browser.decide(consent)).status_code == 303
    assert (await browser.decide(consent)).status_code == 400
    assert (await browser.post(f"{platform.url}/oauth/consent", json={"a": 1})).status_code == 400


async def test_nobody_agrees_without_having_signed_in(
    platform: RunningPlatform, program: Program, browser: Browser, someone: Person
) -> None:
    page = await browser.get(program.address())
    assert (await browser.decide(page)).status_code == 400


async def test_wrong_passwords_make_the_next_attempt_wait(
    platform: RunningPlatform,
    program: Program,
    browser: Browser,
    someone: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The first delay is a second: a slow machine may take as long for the next attempt.
    delay = Limit.delay
    monkeypatch.setattr(Limit, "delay", lambda limit, failures: 60 * delay(limit, failures))
    page = await browser.get(program.address())
    for _ in range(platform.settings.security.lockout_threshold):
        page = await browser.sign_in(page, someone.username, "wrong")
        assert (page.status_code, "Wrong username or password" in page.text) == (401, True)
    page = await browser.sign_in(page, someone.username)
    assert (page.status_code, "Too many attempts" in page.text) == (401, True)
    admin = await platform.admin()
    tried = await admin.get("/api/v1/audit", params={"action": "oauth.sign_in"})
    assert tried.json()["entries"][0]["actor_name"] == someone.username


async def test_a_second_factor_is_asked_for_on_the_page(
    platform: RunningPlatform, program: Program, browser: Browser
) -> None:
    one = await secured(platform)
    page = await browser.sign_in(await browser.get(program.address()), one.person.username)
    assert (page.status_code, 'name="code"' in page.text) == (401, True)
    form = {**hidden(page.text), "username": one.person.username, "password": PASSWORD}
    address = f"{platform.url}/oauth/sign-in"
    wrong = await browser.post(address, data={**form, "code": one.wrong_code()})
    assert wrong.status_code == 401
    consent = await browser.post(address, data={**form, "code": one.recovery_codes[0]})
    assert consent.status_code == 200
    told = query_of((await browser.decide(consent)).headers["location"])
    assert (await program.exchange(told["code"])).status_code == 200


@pytest.mark.parametrize("uri", ["http://[::1]:9000/back", "cursor://anysphere.cursor-mcp/oauth/callback"])
async def test_a_browser_may_be_sent_back_wherever_the_client_lives(
    register: Register, browser: Browser, someone: Person, uri: str
) -> None:
    program = await register(redirect_uris=[uri])
    page = await browser.get(program.address())
    scheme = uri.partition(":")[0]
    assert f"form-action 'self' {scheme}:;" in page.headers["content-security-policy"]
    answer = await browser.decide(await browser.sign_in(page, someone.username))
    assert answer.headers["location"].startswith(f"{uri}?code=")
