"""The gateway by itself, as production runs it: it describes its endpoints, and keeps tokens to itself."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import aiohttp
import httpx
import pytest

from mcp_platform.contracts.oauth import NewGrant
from mcp_platform.contracts.policies import McpPolicy, StoredPolicy
from mcp_platform.names import Channel
from mcp_platform.security.tokens import GrantClaims
from tests.gateway.conftest import Platform
from tests.gateway.upstreams import stub
from tests.oauth.conftest import call
from tests.waiting import PATIENCE, eventually


def resource(platform: Platform, slug: str) -> str:
    """Give the address of an endpoint, as users are told of it."""
    return f"{platform.settings.gateway_url}/mcp/{slug}/v1"


async def grant(platform: Platform, slug: str, **changes: object) -> GrantClaims:
    """Record that the user let a client in at an endpoint."""
    now = datetime.now(UTC)
    new = NewGrant(
        id=uuid4(),
        user_id=platform.user.id,
        client_id="client",
        client_name="Client",
        resource=resource(platform, slug),
        scope="mcp:tools",
        redirect_uri="http://127.0.0.1/",
        code_hash=uuid4().hex,
        challenge="x" * 43,
        created_at=now,
        expires_at=now + timedelta(minutes=5),
    )
    async with platform.stores.write() as rows:
        await rows.grants.add(new)
    claims = GrantClaims(
        new.user_id, new.id, new.client_id, new.resource, new.scope, now + timedelta(minutes=5)
    )
    return replace(claims, **changes)  # type: ignore[arg-type]


async def advertise(platform: Platform, mcp_id: UUID) -> None:
    """Have an MCP's clients told to sign in."""
    stored = StoredPolicy(
        mcp_id=mcp_id,
        revision=1,
        policy=McpPolicy(advertise_oauth=True),
        updated_at=datetime.now(UTC),
        updated_by=platform.user.id,
    )
    async with platform.stores.write() as rows:
        await rows.policies.put(stored)
    await platform.stores.publish(Channel.POLICIES, {"mcp_id": str(mcp_id)})


async def test_it_describes_endpoints_that_advertise_and_no_others(platform: Platform) -> None:
    async with stub() as upstream, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        told = await platform.deploy("told", upstream.url)
        await platform.deploy("quiet", upstream.url)
        await advertise(platform, told.mcp_id)
        place = f"{platform.url}/.well-known/oauth-protected-resource/mcp"

        async def described() -> int:
            return (await http.get(f"{place}/told/v1")).status_code

        await eventually(described, lambda status: status == 200)
        found = (await http.get(f"{place}/told/v1")).json()
        assert found["resource"] == resource(platform, "told")
        assert found["authorization_servers"] == [platform.settings.issuer]
        assert (await http.get(f"{place}/quiet/v1")).status_code == 404
        refused = await http.post(platform.address("told"), json={})
        metadata = f"{platform.settings.gateway_url}/.well-known/oauth-protected-resource/mcp/told/v1"
        assert f'resource_metadata="{metadata}"' in refused.headers["www-authenticate"]
        quiet = await http.post(platform.address("quiet"), json={})
        assert quiet.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("legacy", [False, True])
async def test_a_clients_token_reaches_no_server(platform: Platform, legacy: bool) -> None:
    async with stub(legacy) as upstream, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        await platform.deploy("far", upstream.url)
        token = platform.tokens.issue_grant(await grant(platform, "far"), platform.settings.issuer)
        assert (await call(platform.address("far"), token, http)).status_code == 200
        status, _, _ = await platform.rest(
            "far", "act", {}, Authorization=f"Bearer {token}", **{"X-API-Key": ""}
        )
        assert status == 200
        assert upstream.requests
        for _, message, headers in upstream.requests:
            assert token not in str(message)
            assert token not in str(headers)
            assert "authorization" not in headers


async def test_a_token_holds_only_while_its_grant_time_audience_and_key_do(platform: Platform) -> None:
    async with stub() as upstream, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        await platform.deploy("here", upstream.url)
        claims = await grant(platform, "here")

        async def status(changed: GrantClaims) -> int:
            token = platform.tokens.issue_grant(changed, platform.settings.issuer)
            return (await call(platform.address("here"), token, http)).status_code

        now = datetime.now(UTC)
        assert await status(claims) == 200
        assert await status(replace(claims, expires_at=now - timedelta(seconds=5))) == 401
        assert await status(replace(claims, grant_id=uuid4())) == 401
        assert await status(replace(claims, user_id=uuid4())) == 401
        assert await status(replace(claims, scope="other")) == 401
        for audience in ("there", "here/v1/tools", "here?x"):
            assert await status(replace(claims, resource=resource(platform, audience))) == 401
        elsewhere = replace(claims, resource="https://elsewhere.example/mcp/here/v1")
        assert await status(elsewhere) == 401
        unsigned = "eyJhbGciOiJub25lIn0.e30."
        assert (await call(platform.address("here"), unsigned, http)).status_code == 401


async def test_a_stream_ends_when_its_grant_is_ended(platform: Platform) -> None:
    async with stub(legacy=True) as upstream, aiohttp.ClientSession() as http:
        await platform.deploy("long", upstream.url)
        claims = await grant(platform, "long")
        token = platform.tokens.issue_grant(claims, platform.settings.issuer)
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        hello = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        }
        address = platform.address("long")
        async with http.post(address, json=hello, headers=headers) as begun:
            assert begun.status == 200, await begun.text()
            headers["Mcp-Session-Id"] = begun.headers["Mcp-Session-Id"]
        headers["MCP-Protocol-Version"] = "2025-11-25"
        async with asyncio.timeout(PATIENCE), http.get(address, headers=headers) as stream:
            assert stream.status == 200
            # After a change of somebody else's it is looked at again, and holds at its endpoint.
            await platform.gateway.credentials.changed(uuid4())
            async with platform.stores.write() as rows:
                assert await rows.grants.end(claims.grant_id, platform.user.id, datetime.now(UTC))
            await platform.gateway.credentials.changed(platform.user.id)
            await stream.read()
