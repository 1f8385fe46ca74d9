"""A public MCP is for everybody, and nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from mcp import Client
from yarl import URL

from gateway.app import create_app
from mcp_platform.contracts.access import Role
from mcp_platform.contracts.deployments import Driver
from mcp_platform.settings import LimitSettings
from tests.gateway.conftest import Background, Platform, running_platform, settings_for
from tests.policy.desk import ACCEPT, desk, govern, post

METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD"]
ELSEWHERE = [
    "/mcp",
    "/mcp/",
    "/mcp/private/v1",
    "/mcp/private/v1/",
    "/mcp/private/v1/tools/read",
    "/mcp/private/v1/tools/..%2F..%2Fpublic%2Fv1",
    "/mcp/public",
    "/mcp/public/",
    "/mcp/public/v2",
    "/mcp/public/v1/tools",
    "/mcp/public/v1/prompts/x",
    "/mcp/Public/v1",
    "/mcp/unknown/v1",
    "/mcp/group/public",
    "/mcp/group/public/v1",
    "/mcp/group/v1",
    "/mcp/smart",
    "/mcp/smart/v1",
    "/mcp/smart/public",
    "/mcp/bridge",
    "/mcp/bridge/v1",
    "/mcp/bridge/config",
    "/mcp/bridge/tools",
]


async def status(url: str, method: str = "POST", **headers: str) -> int:
    """Send a request without a body; the HTTP status."""
    async with (
        aiohttp.ClientSession(headers=ACCEPT) as http,
        http.request(method, URL(url, encoded=True), headers=headers) as response,
    ):
        return response.status


@asynccontextmanager
async def limited(folder: Path, anonymous: int) -> AsyncIterator[Platform]:
    """Run a gateway that lets so many requests without a credential through in a minute."""
    limits = LimitSettings(anonymous=anonymous, user=1000)
    settings = settings_for(folder).model_copy(update={"limits": limits})
    background = Background(lambda stack: stack.enter_async_context(running_platform(settings)))
    yield await background.ready()
    await background.close()


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_official_clients_need_no_credential(gateway: Platform, mode: str) -> None:
    async with desk() as server:
        deployment = await gateway.deploy("public", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment, access="public")
        async with Client(gateway.address("public"), mode=mode, cache=None) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["read", "write", "drop"]
            assert not (await client.call_tool("read", {})).is_error


async def test_plain_rest_needs_no_credential(gateway: Platform) -> None:
    async with desk() as server:
        deployment = await gateway.deploy("public", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment, access="public")
        assert await status(f"{gateway.address('public')}/tools/read") == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": ""},
        {"X-API-Key": "mcp_live_unknown"},
        {"X-API-Key": ""},
    ],
)
async def test_a_credential_that_does_not_hold_is_refused_all_the_same(
    gateway: Platform, headers: dict[str, str]
) -> None:
    deployment = await gateway.deploy("public")
    await govern(gateway, deployment, access="public")
    for path in ("", "/tools/read"):
        assert await status(gateway.address("public") + path, **headers) == 401


async def test_nothing_else_is_reached_without_a_credential(tmp_path: Path) -> None:
    async with limited(tmp_path, 10_000) as platform, desk() as server:
        deployment = await platform.deploy("public", server.url, driver=Driver.REMOTE)
        await govern(platform, deployment, access="public")
        await platform.deploy("private", server.url, driver=Driver.REMOTE)
        seen = {
            (method, path): await status(platform.url + path, method)
            for path in ELSEWHERE
            for method in METHODS
        }
    assert {place: code for place, code in seen.items() if code not in (401, 404)} == {}
    # What is not there may say so only where no MCP could be.
    assert {place for place, code in seen.items() if code == 404 and "private" in place[1]} == set()
    assert server.calls == 0


def test_the_gateway_has_no_doors_but_those_that_are_known(gateway: Platform) -> None:
    paths = {getattr(route, "path", "") for route in create_app(gateway.settings).routes}
    assert {path for path in paths if not path.startswith("/.well-known/")} == {
        "/actuator/health",
        "/health",
        "/metrics",
    }


async def test_callers_without_a_credential_share_the_limit_of_their_address(tmp_path: Path) -> None:
    async with limited(tmp_path, 3) as platform, desk() as server:
        deployment = await platform.deploy("public", server.url, driver=Driver.REMOTE)
        await govern(platform, deployment, access="public")
        codes = [await status(f"{platform.address('public')}/tools/read") for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        assert (await platform.rest("public", "read", {}))[0] == 200


async def test_rules_may_be_for_callers_without_a_credential(gateway: Platform) -> None:
    async with desk() as server:
        deployment = await gateway.deploy("public", server.url, driver=Driver.REMOTE)
        rules = [{"anonymous": True, "allow": ["read"]}]
        await govern(gateway, deployment, access="public", rules=rules)
        _, answer = await post(gateway.address("public"), "tools/list")
        assert [tool["name"] for tool in answer["result"]["tools"]] == ["read"]
        assert await status(f"{gateway.address('public')}/tools/write") == 404
        assert (await gateway.rest("public", "write", {}))[0] == 200


async def test_an_mcp_that_is_private_again_is_closed_and_its_streams_end(gateway: Platform) -> None:
    async with desk(legacy=True) as server, aiohttp.ClientSession(headers=ACCEPT) as http:
        deployment = await gateway.deploy("public", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment, access="public")
        url = gateway.address("public")
        opening = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        }
        async with http.post(url, json=opening) as response:
            session = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
        async with http.get(url, headers=session) as stream:
            assert stream.status == 200
            await govern(gateway, deployment, access="private")
            async with asyncio.timeout(10):
                await stream.read()
        assert await status(url, "GET", **session) == 401
        assert await status(url) == 401
        await gateway.place(deployment)


async def test_a_session_of_an_account_is_not_for_callers_without_a_credential(gateway: Platform) -> None:
    async with desk(legacy=True) as server, aiohttp.ClientSession(headers=ACCEPT) as http:
        deployment = await gateway.deploy("public", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment, access="public")
        await gateway.add_user(Role.VIEWER)
        opening = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        }
        url = gateway.address("public")
        async with http.post(url, json=opening, headers={"X-API-Key": gateway.key}) as response:
            session = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        async with http.post(url, json=listing, headers=session) as response:
            assert response.status == 404
        async with http.post(url, json=listing, headers={**session, "X-API-Key": gateway.key}) as response:
            assert response.status == 200
        await gateway.place(deployment)
