"""Nobody reaches a tool without a credential that holds."""

import asyncio
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import aiohttp
import pytest
from starlette.datastructures import Headers

from mcp_platform.contracts.access import Permission, Role
from mcp_platform.contracts.deployments import Driver
from mcp_platform.errors import Unauthorized
from mcp_platform.names import Channel
from mcp_platform.security import permissions
from tests.gateway.conftest import Platform
from tests.gateway.upstreams import stub
from tests.runner.conftest import until

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


async def status(platform: Platform, slug: str, path: str = "/tools/act", **headers: str) -> int:
    """Post to an endpoint; the HTTP status."""
    async with aiohttp.ClientSession(headers=ACCEPT) as http:
        url = f"{platform.address(slug)}{path}"
        async with http.post(url, json=INITIALIZE if not path else {}, headers=headers) as response:
            return response.status


@pytest.mark.parametrize("path", ["", "/tools/act"])
async def test_tokens_and_keys_open_every_endpoint(platform: Platform, path: str) -> None:
    token = await platform.add_session(platform.user)
    async with stub() as server:
        await platform.deploy("open", server.url, driver=Driver.REMOTE)
        for headers in (
            {"Authorization": f"Bearer {token}"},
            {"Authorization": f"bearer {platform.key}"},
            {"X-API-Key": platform.key},
        ):
            assert await status(platform, "open", path, **headers) == 200


@pytest.mark.parametrize("path", ["", "/tools/act"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic YTpi"},
        {"X-API-Key": "mcp_live_unknown"},
        {"X-API-Key": "some-token"},
    ],
)
async def test_without_a_good_credential_nothing_is_told(
    platform: Platform, path: str, headers: dict[str, str]
) -> None:
    await platform.deploy("closed")
    for slug in ("closed", "unknown"):
        url = f"{platform.address(slug)}{path}"
        async with aiohttp.ClientSession() as http, http.post(url, json={}, headers=headers) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert (await response.json())["error_code"] == "UNAUTHORIZED"


async def test_a_caller_without_the_permission_is_told_which_it_lacks(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(permissions.ROLE_PERMISSIONS, Role.VIEWER, frozenset({Permission.MCPS_READ}))
    token = await platform.add_session(await platform.add_user(Role.VIEWER))
    answered, body, _ = await platform.rest(
        "any", "act", {}, **{"Authorization": f"Bearer {token}", "X-API-Key": ""}
    )
    assert (answered, body["error_code"], body["required_permission"]) == (403, "FORBIDDEN", "tools:call")


async def test_a_revoked_key_ends_at_once(platform: Platform) -> None:
    number, key = await platform.add_key(platform.user)
    headers = {"X-API-Key": key}
    assert await status(platform, "none", **headers) == 404
    async with platform.stores.write() as rows:
        assert await rows.api_keys.revoke(number, platform.user.id)
    assert await status(platform, "none", **headers) == 404
    await platform.stores.publish(Channel.CREDENTIALS, {"user_id": str(platform.user.id)})

    async def refused() -> bool:
        return await status(platform, "none", **headers) == 401

    await until(refused)


class Tomorrow(datetime):
    """A clock that is a day ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Give the time of tomorrow."""
        return super().now(tz) + timedelta(days=1)


async def test_a_key_ends_with_its_time_although_it_is_remembered(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    headers = Headers({"X-API-Key": (await platform.add_key(platform.user, ends))[1]})
    credentials = platform.gateway.credentials
    assert (await credentials.authenticate(headers)).user_id == platform.user.id
    monkeypatch.setattr("gateway.credentials.datetime", Tomorrow)
    with pytest.raises(Unauthorized):
        await credentials.authenticate(headers)


async def test_a_key_of_a_disabled_account_is_refused(platform: Platform) -> None:
    user = await platform.add_user()
    _, key = await platform.add_key(user)
    await platform.disable(user)
    assert await status(platform, "none", **{"X-API-Key": key}) == 401


@pytest.mark.parametrize("path", ["", "/tools/act"])
async def test_a_key_that_is_bound_to_an_mcp_opens_no_other(platform: Platform, path: str) -> None:
    async with stub() as server:
        mine = await platform.deploy("mine", server.url, driver=Driver.REMOTE)
        await platform.deploy("other", server.url, driver=Driver.REMOTE)
        _, key = await platform.add_key(platform.user, mcp_ids=[mine.mcp_id])
        headers = {"X-API-Key": key}
        assert await status(platform, "mine", path, **headers) == 200
        assert await status(platform, "other", path, **headers) == 403
        assert await status(platform, "unknown", path, **headers) == 404


async def test_a_session_belongs_to_the_user_and_the_slug_that_it_began_with(platform: Platform) -> None:
    _, other = await platform.add_key(await platform.add_user())
    async with stub() as server:
        await platform.deploy("mine", server.url, driver=Driver.REMOTE)
        await platform.deploy("next", server.url, driver=Driver.REMOTE)
        async with aiohttp.ClientSession(headers=ACCEPT) as http:
            headers = {"X-API-Key": platform.key}
            async with http.post(platform.address("mine"), json=INITIALIZE, headers=headers) as response:
                session = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}

        async def use(slug: str, key: str) -> int:
            sent = {**ACCEPT, **session, "X-API-Key": key}
            url = platform.address(slug)
            async with aiohttp.ClientSession(headers=sent) as http, http.post(url, json=ping) as response:
                return response.status

        assert await use("mine", platform.key) == 200
        assert await use("mine", other) == 404
        assert await use("next", platform.key) == 404


async def test_pages_of_other_sites_are_refused(platform: Platform) -> None:
    headers = {"X-API-Key": platform.key}
    assert await status(platform, "none", Origin="http://localhost:3000", **headers) == 404
    assert await status(platform, "none", Origin="https://evil.example", **headers) == 403
    forged = {"Origin": "http://evil.example:8000", "Host": "evil.example:8000"}
    assert await status(platform, "none", **forged, **headers) == 403
    assert await status(platform, "none", Origin="null", **headers) == 403


async def test_a_remote_server_gets_its_own_headers_and_never_the_callers(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TEST_TOKEN", "t0ken")
    monkeypatch.setenv("NOT_EXPOSED", "private")
    async with stub() as server:
        configured = {"Authorization": "Token ${GATEWAY_TEST_TOKEN}", "X-Tenant": "a"}
        await platform.deploy("far", server.url, driver=Driver.REMOTE, headers=configured)
        assert (await platform.rest("far", "act", {}))[0] == 200
        seen = server.headers("tools/call")
        assert (seen["authorization"], seen["x-tenant"]) == ("Token t0ken", "a")
        assert "x-api-key" not in seen
        await platform.deploy("leak", server.url, driver=Driver.REMOTE, headers={"X": "${NOT_EXPOSED}"})
        answered, body, _ = await platform.rest("leak", "act", {})
    assert answered == 502
    assert "NOT_EXPOSED" in body["detail"]
    assert "private" not in str(body)


async def test_a_flood_of_wrong_keys_does_not_grow_the_memory(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.credentials._MOST_KEPT", 5)
    credentials = platform.gateway.credentials

    async def refused(number: int) -> None:
        with pytest.raises(Unauthorized):
            await credentials.authenticate({"x-api-key": f"mcp_live_{number}"})

    await asyncio.gather(*(refused(number) for number in range(40)))
    assert len(credentials._kept) == 5


@pytest.mark.parametrize("ending", ["revoked", "expired"])
async def test_an_open_stream_ends_with_its_credential(platform: Platform, ending: str) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=6) if ending == "expired" else None
    key_id, key = await platform.add_key(platform.user, expires_at)
    async with stub() as server, aiohttp.ClientSession(headers=ACCEPT) as http:
        await platform.deploy("open", server.url, driver=Driver.REMOTE)
        headers = {"X-API-Key": key}
        async with http.post(platform.address("open"), json=INITIALIZE, headers=headers) as response:
            headers["Mcp-Session-Id"] = response.headers["Mcp-Session-Id"]
        async with asyncio.timeout(30), http.get(platform.address("open"), headers=headers) as stream:
            assert stream.status == 200
            if ending == "revoked":
                async with platform.stores.write() as rows:
                    await rows.api_keys.revoke(key_id, platform.user.id)
                await platform.gateway.credentials.changed(platform.user.id)
            await stream.content.read()
