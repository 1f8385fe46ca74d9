"""An MCP that tells its clients to sign in by OAuth, and those who do."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.access.people import Person, person
from tests.deployments.servers import tiny
from tests.oauth.browser import REDIRECT, Browser, Program
from tests.platform import Caller, RunningPlatform
from tests.waiting import PATIENCE, eventually


@dataclass
class Advertised:
    """A deployed MCP."""

    platform: RunningPlatform
    admin: Caller
    mcp_id: str
    slug: str

    @property
    def address(self) -> str:
        """Its endpoint."""
        return f"{self.platform.url}/mcp/{self.slug}/v1"

    @property
    def metadata(self) -> str:
        """Where its metadata is."""
        return f"{self.platform.url}/.well-known/oauth-protected-resource/mcp/{self.slug}/v1"

    async def advertise(self, on: bool) -> None:
        """Set whether clients are told, and wait until the gateway knows."""
        answer = await self.admin.put(f"/api/v1/mcps/{self.mcp_id}/policy", json={"advertise_oauth": on})
        assert answer.status_code == 200, answer.text

        async def told() -> int:
            return (await self.admin.get(self.metadata)).status_code

        await eventually(told, lambda status: status == (200 if on else 404))


async def deployed(platform: RunningPlatform, word: str) -> Advertised:
    """Deploy a small server."""
    admin = await platform.admin()
    started = await admin.deploy(tiny(word))
    await admin.deployment_is(started["deployment_id"], "running")
    return Advertised(platform, admin, started["tool_id"], started["slug"])


@pytest.fixture(scope="session")
async def endpoint(platform: RunningPlatform) -> Advertised:
    """Give an MCP whose clients are told to sign in."""
    found = await deployed(platform, "oauth")
    await found.advertise(True)
    return found


@pytest.fixture
async def someone(platform: RunningPlatform) -> Person:
    """Give somebody with an account."""
    return await person(platform)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Give a browser without cookies."""
    async with Browser(timeout=PATIENCE, trust_env=False) as opened:
        yield opened


Register = Callable[..., Awaitable[Program]]


@pytest.fixture
async def register(platform: RunningPlatform, endpoint: Advertised) -> AsyncIterator[Register]:
    """Register programs."""
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http:

        async def registered(resource: str = endpoint.address, **changes: Any) -> Program:
            order = {
                "client_name": "Test program",
                "redirect_uris": [REDIRECT],
                "token_endpoint_auth_method": "none",
                **changes,
            }
            answer = await http.post(f"{platform.url}/oauth/register", json=order)
            assert answer.status_code == 201, answer.text
            told = answer.json()
            return Program(
                platform,
                http,
                told["client_id"],
                resource,
                told.get("client_secret"),
                order["redirect_uris"][0],
            )

        yield registered


@pytest.fixture
async def program(register: Register) -> Program:
    """Give a registered program without a secret."""
    return await register()


async def call(address: str, token: str, http: httpx.AsyncClient) -> httpx.Response:
    """List an endpoint's tools, as a client of the modern protocol."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return await http.post(
        address,
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}},
        headers={
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/list",
        },
    )
