"""The platform is authorized at remote servers, for each user or for all, and keeps its tokens fresh."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from gateway.authorization.discovery import discover
from gateway.authorization.outbound import Fetched, Outbound
from mcp_platform.contracts.oauth import (
    AuthorizationRefused,
    AuthorizationState,
    OwnClient,
    SealedAuthorization,
)
from mcp_platform.names import authorization_workflow_id
from tests.access.people import Person, person
from tests.oauth.browser import Browser, query_of
from tests.oauth.remote import Remote, running_remote
from tests.platform import Caller, RunningPlatform
from tests.waiting import PATIENCE, eventually, in_one_task


@dataclass
class Connected:
    """A deployed MCP whose server is somebody else's."""

    platform: RunningPlatform
    remote: Remote
    author: Caller
    mcp_id: str
    slug: str

    async def start(self, caller: Caller, **order: Any) -> dict[str, Any]:
        """Begin to authorize."""
        answer = await caller.post(f"/api/v1/mcps/{self.mcp_id}/authorizations", json=order)
        assert answer.status_code == 201, answer.text
        started: dict[str, Any] = answer.json()
        return started

    async def agree(self, browser: Browser, address: str, username: str, password: str = "") -> int:
        """Do all that a person does in a browser; the status of the last page."""
        page = await browser.get(address)
        assert page.status_code == 200, page.text
        there = await browser.sign_in(page, username, *([password] if password else []))
        if there.status_code != 303:
            return there.status_code
        back = await browser.get(there.headers["location"])
        return (await browser.get(back.headers["location"])).status_code

    async def authorize(self, browser: Browser, someone: Person, **order: Any) -> str:
        """Authorize, to the end."""
        started = await self.start(someone.caller, **order)
        assert await self.agree(browser, started["authorization_url"], someone.username) == 200
        number: str = started["id"]
        return number

    async def call(self, caller: Caller) -> tuple[int, Any]:
        """Call the tool that says whose token it was sent."""
        answer = await caller.post(f"/mcp/{self.slug}/v1/tools/whoami", json={})
        body = answer.json()
        return answer.status_code, body["text"] if answer.status_code == 200 else body

    async def answers(self, caller: Caller, account: str) -> None:
        """Wait until a call is made with this account's token."""
        await eventually(lambda: self.call(caller), lambda came: came == (200, account))

    async def states(self, caller: Caller) -> list[str]:
        """List the states of the authorizations that somebody sees."""
        answer = await caller.get(f"/api/v1/mcps/{self.mcp_id}/authorizations")
        return [each["state"] for each in answer.json()["authorizations"]]


Connect = Callable[..., Awaitable[Connected]]


@pytest.fixture
async def connect(platform: RunningPlatform, browser: Browser) -> AsyncIterator[Connect]:
    """Deploy remote servers."""
    stack, begun = AsyncExitStack(), list[tuple[Caller, str]]()

    async def connected(author: Person, oauth: dict[str, Any] | None = None, **settings: Any) -> Connected:
        served: AbstractAsyncContextManager[Remote] = in_one_task(running_remote(**settings))
        remote = await stack.enter_async_context(served)
        config: dict[str, Any] = {"name": "far", "url": remote.mcp}
        if oauth is not None:
            config["oauth"] = oauth
        started = await author.caller.deploy(config)
        begun.append((author.caller, started["deployment_id"]))
        await author.caller.deployment_is(started["deployment_id"], "running")
        return Connected(platform, remote, author.caller, started["tool_id"], started["slug"])

    async with stack:
        yield connected
        # Nobody asks for a server that is gone, at a port that another one may get.
        for caller, deployment_id in begun:
            await caller.delete(f"/api/v1/deployments/{deployment_id}")
            await caller.deployment_is(deployment_id, "stopped")


async def test_each_user_calls_with_their_own_authorization(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    mcp = await connect(someone)
    status, refused = await mcp.call(someone.caller)
    assert status == 403, refused
    assert refused["error_code"] == "AUTHORIZATION_NEEDED"
    assert f"/api/v1/mcps/{mcp.mcp_id}/authorizations" in refused["detail"]
    await mcp.authorize(browser, someone)
    await mcp.answers(someone.caller, "alice")
    other = await person(platform)
    assert (await mcp.call(other.caller))[0] == 403
    mcp.remote.account = "bob"
    async with Browser(timeout=PATIENCE, trust_env=False) as elsewhere:
        await mcp.authorize(elsewhere, other)
    await mcp.answers(other.caller, "bob")
    assert await mcp.call(someone.caller) == (200, "alice")
    assert await mcp.states(other.caller) == ["active"]
    # Nobody's credential for the platform ever went there.
    sent = {each.removeprefix("Bearer ") for each in mcp.remote.seen} - {""}
    assert sent <= set(mcp.remote.access)
    asked = next(each for each in mcp.remote.asked if "code_challenge" in each)
    assert (asked["resource"], asked["scope"]) == (mcp.remote.mcp, "calls")


async def test_one_authorization_for_all_serves_everybody_and_only_its_author_may_give_it(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    mcp = await connect(someone, legacy=True)
    other = await person(platform)
    refused = await other.caller.post(f"/api/v1/mcps/{mcp.mcp_id}/authorizations", json={"for_all": True})
    assert refused.status_code == 403
    number = await mcp.authorize(browser, someone, for_all=True)
    await mcp.answers(other.caller, "alice")
    assert (
        await other.caller.delete(f"/api/v1/mcps/{mcp.mcp_id}/authorizations/{number}")
    ).status_code == 403
    ended = await someone.caller.delete(f"/api/v1/mcps/{mcp.mcp_id}/authorizations/{number}")
    assert ended.status_code == 200, ended.text
    await eventually(lambda: mcp.call(other.caller), lambda came: came[0] == 403)

    async def given_back() -> list[str]:
        return mcp.remote.revoked

    assert await eventually(given_back)
    assert await mcp.states(someone.caller) == []


async def next_status(lines: AsyncIterator[str]) -> dict[str, Any]:
    """Read events until one tells of an authorization."""
    async with asyncio.timeout(PATIENCE):
        async for line in lines:
            if line == "event: authorization_status":
                found = [await anext(lines), await anext(lines)]
                told: dict[str, Any] = json.loads(found[-1].removeprefix("data: "))
                return told
    raise AssertionError("the stream ended")


async def test_a_token_is_refreshed_before_it_ends_and_its_end_is_told(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    mcp = await connect(someone, lifetime=2.0)
    await mcp.authorize(browser, someone)
    await mcp.answers(someone.caller, "alice")

    async def refreshed() -> int:
        return mcp.remote.refreshed

    await eventually(refreshed, lambda times: times >= 2)
    await mcp.answers(someone.caller, "alice")
    async with someone.caller.stream("GET", "/events") as events:
        lines = events.aiter_lines()
        assert (await anext(lines)).startswith(":")
        mcp.remote.end_refreshing()
        told = await next_status(lines)
    assert (told["status"], told["tool_id"], told["for_all"]) == ("expired", mcp.mcp_id, False)
    assert "invalid_grant" in told["detail"]
    assert await mcp.states(someone.caller) == ["expired"]
    await eventually(lambda: mcp.call(someone.caller), lambda came: came[0] == 403)
    mcp.remote.lifetime = 3600.0
    await mcp.authorize(browser, someone)
    await mcp.answers(someone.caller, "alice")
    assert await mcp.states(someone.caller) == ["active"]
    # Whoever authorizes anew gives the former tokens back.
    former = list(mcp.remote.refresh)
    mcp.remote.account = "bob"
    await mcp.authorize(browser, someone)
    await mcp.answers(someone.caller, "bob")

    async def given_back() -> list[str]:
        return mcp.remote.revoked

    assert await eventually(given_back) == former
    assert await mcp.states(someone.caller) == ["active"]


async def kept_of(platform: RunningPlatform, number: str) -> SealedAuthorization | None:
    """Read what is kept of an authorization."""
    async with platform.parts.stores.read() as rows:
        return await rows.upstream_authorizations.get(UUID(number))


async def test_what_a_refresh_brings_after_the_end_is_given_back_as_well(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    mcp, ended = await connect(someone, lifetime=2.0), list[int]()
    number = await mcp.authorize(browser, someone)

    async def end() -> None:
        answer = await someone.caller.delete(f"/api/v1/mcps/{mcp.mcp_id}/authorizations/{number}")
        ended.append(answer.status_code)

    mcp.remote.while_refreshing = end
    await platform.parts.temporal.get_workflow_handle(authorization_workflow_id(UUID(number))).result()
    assert ended == [200]
    assert set(mcp.remote.refresh) <= set(mcp.remote.revoked)
    assert await kept_of(platform, number) is None


async def test_an_authorization_is_given_back_although_its_workflow_does_not_hear_of_the_end(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    mcp = await connect(someone, lifetime=2.0)
    number = await mcp.authorize(browser, someone)
    async with platform.parts.stores.write() as rows:
        ended, now = AuthorizationState.ENDED, datetime.now(UTC)
        known = [AuthorizationState.ACTIVE]
        assert await rows.upstream_authorizations.change(UUID(number), known, now, state=ended)
    await platform.parts.temporal.get_workflow_handle(authorization_workflow_id(UUID(number))).result()
    assert set(mcp.remote.refresh) <= set(mcp.remote.revoked)
    assert await kept_of(platform, number) is None


async def test_no_history_knows_a_code_or_a_token(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    mcp = await connect(someone, lifetime=1.0)
    number = await mcp.authorize(browser, someone)

    async def refreshed() -> int:
        return mcp.remote.refreshed

    await eventually(refreshed)
    handle = platform.parts.temporal.get_workflow_handle(authorization_workflow_id(UUID(number)))
    history = (await handle.fetch_history()).to_json()
    known = [*mcp.remote.access, *mcp.remote.refresh, *(each.get("code", "") for each in mcp.remote.asked)]
    assert not [word for word in known if word and word in history]
    ended = await someone.caller.delete(f"/api/v1/mcps/{mcp.mcp_id}/authorizations/{number}")
    assert ended.status_code == 200, ended.text
    await handle.result()


async def test_who_began_it_has_to_sign_in_in_the_browser_that_goes_there(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    mcp = await connect(someone)
    victim = await person(platform)
    started = await mcp.start(someone.caller)
    assert await mcp.agree(browser, started["authorization_url"], victim.username) == 403
    again = await mcp.start(someone.caller)
    page = await browser.get(again["authorization_url"])
    there = await browser.sign_in(page, someone.username)
    back = await browser.get(there.headers["location"])
    async with Browser(timeout=PATIENCE, trust_env=False) as elsewhere:
        assert (await elsewhere.get(back.headers["location"])).status_code == 400
    assert "active" not in await mcp.states(someone.caller)


async def test_an_answer_from_another_authorization_server_is_refused(
    connect: Connect, browser: Browser, someone: Person
) -> None:
    mcp = await connect(someone)
    started = await mcp.start(someone.caller)
    there = await browser.sign_in(await browser.get(started["authorization_url"]), someone.username)
    back = await browser.get(there.headers["location"])
    address = back.headers["location"]
    told = query_of(address)
    forged = address.replace(f"iss={address.split('iss=')[1]}", "iss=https%3A%2F%2Fevil.example")
    assert told["iss"] == mcp.remote.url
    assert (await browser.get(forged)).status_code == 400
    assert await mcp.states(someone.caller) == ["failed"]
    # The state was good once.
    assert (await browser.get(address)).status_code == 400
    assert mcp.remote.access == {}


async def test_a_server_that_registers_nobody_needs_a_client_of_the_configuration(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    strict = await connect(someone, registers=False)
    answer = await someone.caller.post(f"/api/v1/mcps/{strict.mcp_id}/authorizations", json={})
    assert answer.status_code == 502
    assert "client_id" in answer.json()["detail"]
    put = await someone.caller.put("/api/v1/secrets/FAR_SECRET", json={"value": "s3cret-of-ours"})
    assert put.status_code == 201
    oauth = {"client_id": "by-hand", "client_secret": "${FAR_SECRET}"}
    mcp = await connect(someone, oauth=oauth, registers=False, secret="s3cret-of-ours")
    await mcp.authorize(browser, someone)
    await mcp.answers(someone.caller, "alice")
    assert mcp.remote.registered == []


async def test_a_secret_given_by_hand_is_for_the_authorization_server_where_it_was_used_first(
    platform: RunningPlatform, connect: Connect, browser: Browser, someone: Person
) -> None:
    put = await someone.caller.put("/api/v1/secrets/FIRST_SECRET", json={"value": "s3cret-of-ours"})
    assert put.status_code == 201
    oauth = {"client_id": "by-hand", "client_secret": "${FIRST_SECRET}"}
    mcp = await connect(someone, oauth=oauth, registers=False, secret="s3cret-of-ours")
    number = await mcp.authorize(browser, someone)
    path = f"/api/v1/mcps/{mcp.mcp_id}/authorizations"
    assert (await someone.caller.delete(f"{path}/{number}")).status_code == 200
    async with running_remote() as evil:
        mcp.remote.issuer = evil.url
        refused = await someone.caller.post(path, json={})
        assert (refused.status_code, evil.url in refused.text) == (502, True), refused.text
        assert mcp.remote.url in refused.json()["detail"]
        assert evil.asked == []
        # Whoever owns the configuration may say that it moved.
        moved = {"name": "far", "url": mcp.remote.mcp, "oauth": {**oauth, "issuer": evil.url}}
        changed = await someone.caller.put(
            f"/api/v1/mcps/{mcp.mcp_id}", json={"version": "1.0.1", "config": {"servers": [moved]}}
        )
        assert changed.status_code == 200, changed.text
        assert (await mcp.start(someone.caller))["issuer"] == evil.url
    mcp.remote.issuer = None
    assert (await someone.caller.post(path, json={})).status_code == 502


class Told(Outbound):
    """An authorization server that sends people on without TLS."""

    async def challenge(self, url: str, headers: Mapping[str, str]) -> Fetched:
        """Ask for authorization."""
        return Fetched(401, {}, {})

    async def get(self, url: str) -> Fetched:
        """Give all metadata at once."""
        site = "https://far.example"
        told = {
            "resource": f"{site}/mcp",
            "authorization_servers": [site],
            "issuer": site,
            "authorization_endpoint": "http://far.example/authorize",
            "token_endpoint": f"{site}/token",
            "code_challenge_methods_supported": ["S256"],
        }
        return Fetched(200, {}, told)


async def test_nobody_is_sent_to_an_authorization_server_without_tls() -> None:
    own = OwnClient(redirect_uri="https://platform.example/oauth/callback", client_id="by-hand")
    outbound = Told(private=False)
    try:
        with pytest.raises(AuthorizationRefused, match="authorization_endpoint"):
            await discover(outbound, "https://far.example/mcp", {}, own, None)
    finally:
        await outbound.close()


async def test_only_remote_servers_are_authorized_for(platform: RunningPlatform, someone: Person) -> None:
    mcp = await someone.caller.register_mcp({"servers": [{"name": "local", "command": "x"}]})
    answer = await someone.caller.post(f"/api/v1/mcps/{mcp['id']}/authorizations", json={})
    assert answer.status_code == 422
    assert "no url" in answer.text
