"""Remote servers behind TLS: deployed where their certificate holds, else the reason says what is wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.everything import build, http_app
from tests.gateway.conftest import serving
from tests.platform import RunningPlatform
from tests.upstreams.certificates import Authority, Issued
from tests.upstreams.trust import authority
from tests.waiting import PATIENCE, eventually, in_one_task

__all__ = ["authority"]

# The SDK's server says so of a part that the fixture server offers.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")
HERE = "127.0.0.1"


@asynccontextmanager
async def served(issued: Issued | None) -> AsyncIterator[str]:
    """Run a small server; host, port and path."""
    options = issued.for_uvicorn if issued is not None else {}
    async with in_one_task(serving(http_app(build("modern")), **options)) as url:
        yield f"{url.partition('://')[2]}/mcp"


async def test_a_server_behind_tls_becomes_healthy_and_is_called(
    platform: RunningPlatform, authority: Authority
) -> None:
    member = await platform.member()
    async with served(authority.issue(HERE)) as place:
        started = await member.deploy({"name": "far", "url": f"https://{place}"})
        running = await member.deployment_is(started["deployment_id"], "running")
        assert running["health_status"] == "healthy"
        called = await member.post(f"/mcp/{started['slug']}/v1/tools/test_simple_text", json={})
        assert called.status_code == 200, called.text
        await member.delete(f"/api/v1/deployments/{started['deployment_id']}")


@pytest.mark.parametrize("kind", ["mcp", "rest"])
async def test_the_reason_says_what_is_wrong_with_a_certificate_without_waiting(
    platform: RunningPlatform, authority: Authority, kind: str
) -> None:
    async with served(authority.issue(HERE, days=(-3, -1))) as place:
        host = place.removesuffix("/mcp")
        told = f"The certificate of {host} has expired: the server needs a new one"
        await _fails_at_once(platform, f"https://{place}", kind, told)


async def test_the_reason_says_that_a_server_does_not_speak_tls(
    platform: RunningPlatform, authority: Authority
) -> None:
    async with served(None) as place:
        await _fails_at_once(platform, f"https://{place}", "mcp", "its URL must begin with http://")


async def _fails_at_once(platform: RunningPlatform, url: str, kind: str, told: str) -> None:
    member = await platform.member()
    server: dict[str, Any] = {"name": "far", "url": url}
    config: dict[str, Any] = {"servers": [server]}
    if kind == "rest":
        server["type"] = "rest"
        config["tools"] = [{"name": "list", "request": {"path": "/pets"}}]
    mcp = await member.register_mcp(config)
    patience = 4 * PATIENCE  # for servers that may be starting; this one must not be waited for
    order = {"tool_id": mcp["id"], "config": {"health": {"patience": patience}}}
    answer = await member.post("/api/v1/deployments", json=order)
    assert answer.status_code == 202, answer.text
    number = answer.json()["deployment_id"]
    failed = await member.deployment_is(number, "failed")
    assert told in failed["reason"]
    assert "did not answer within" not in failed["reason"]
    await member.delete(f"/api/v1/deployments/{number}")


async def test_a_server_with_tls_at_a_plain_url_gets_a_reason_that_names_https(
    platform: RunningPlatform, authority: Authority
) -> None:
    """It closes the connection without a word: so it may also be restarting, and is waited for."""
    member = await platform.member()
    async with served(authority.issue(HERE)) as place:
        mcp = await member.register_mcp({"servers": [{"name": "far", "url": f"http://{place}"}]})
        order = {"tool_id": mcp["id"], "config": {"health": {"patience": 1}}}
        number = (await member.post("/api/v1/deployments", json=order)).json()["deployment_id"]
        hint = "if it speaks TLS, its URL must begin with https://"
        # Of a patience of one second, a crowded machine may leave no check its time.
        await eventually(
            lambda: member.deployment(number),
            lambda seen: seen["status"] == "failed" and hint in seen["reason"],
        )
        await member.delete(f"/api/v1/deployments/{number}")
