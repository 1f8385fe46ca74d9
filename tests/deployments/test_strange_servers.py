"""Remote servers that hang, and wishes that are half made: nothing of it may spread or be lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from tests.deployments.servers import TIME
from tests.platform import RunningPlatform
from tests.worker.states import reconcile, record_wish


@asynccontextmanager
async def serving(answer: Any) -> AsyncIterator[str]:
    """Serve one coroutine function at `/mcp`; its address."""
    app = web.Application()
    app.router.add_post("/mcp", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()


async def hangs(request: web.Request) -> web.StreamResponse:
    """Answer the older handshake, and nothing after it."""
    message = json.loads(await request.read())
    if message["method"] == "server/discover":
        return web.Response(status=404)
    if message["method"] != "initialize":
        await asyncio.sleep(60)
    result = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "slow", "version": "1"},
    }
    return web.json_response({"jsonrpc": "2.0", "id": message.get("id"), "result": result})


async def says_nonsense(request: web.Request) -> web.StreamResponse:
    """Answer everything with a version list that is none."""
    message = json.loads(await request.read())
    result = {"supportedVersions": 5, "tools": 5, "protocolVersion": 5}
    return web.json_response({"jsonrpc": "2.0", "id": message.get("id"), "result": result})


@pytest.mark.parametrize("answer", [hangs, says_nonsense])
async def test_a_remote_server_that_misbehaves_harms_only_its_own_deployment(
    platform: RunningPlatform, answer: Any
) -> None:
    member = await platform.member()
    async with serving(answer) as url:
        started = await member.deploy({"name": "far", "url": url})
        failed = await member.deployment_is(started["deployment_id"], "failed")
        assert failed["reason"]
        await member.delete(f"/api/v1/deployments/{started['deployment_id']}")
    health = await member.get("/health")
    assert health.json()["parts"]["worker"]["status"] == "healthy"
    task_id = await member.start_analysis()
    assert (await member.task_is(task_id, "completed", "failed"))["status"] == "completed"


async def test_what_a_name_in_an_address_stands_for_is_not_shown(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "a-secret-value")
    member, viewer = await platform.member(), await platform.member("viewer")
    asked: list[str] = []

    async def lists(request: web.Request) -> web.StreamResponse:
        asked.append(request.query_string)
        message = json.loads(await request.read())
        if message["method"] == "server/discover":
            result: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        else:
            result = {"tools": [], "content": [{"type": "text", "text": "done"}]}
        return web.json_response({"jsonrpc": "2.0", "id": message.get("id"), "result": result})

    async with serving(lists) as url:
        started = await member.deploy({"name": "far", "url": url + "?key=${LANG}"})
        running = await member.deployment_is(started["deployment_id"], "running")
        assert running["replicas"][0]["url"] == url + "?key=${LANG}"
        seen = await viewer.get(f"/api/v1/deployments/{started['deployment_id']}")
        assert "a-secret-value" not in seen.text
        call = await member.post(f"/mcp/{started['slug']}/v1/tools/any", json={})
        assert call.status_code in {200, 404}
        assert set(asked) == {"key=a-secret-value"}
        await member.delete(f"/api/v1/deployments/{started['deployment_id']}")


async def test_a_deployment_that_was_stopped_before_its_workflow_began_never_runs(
    platform: RunningPlatform,
) -> None:
    admin = await platform.admin()
    wish = await record_wish(platform, admin, TIME, timedelta(minutes=5))
    stopped = await admin.delete(f"/api/v1/deployments/{wish}")
    assert stopped.status_code == 200
    assert stopped.json()["stopped_at"]
    assert wish not in {
        str(order.deployment_id) for order in (await reconcile(platform)).deployments_to_start
    }
    assert (await admin.deployment(wish))["status"] == "stopped"


async def test_only_its_owner_or_an_administrator_changes_a_deployment(platform: RunningPlatform) -> None:
    owner, stranger, admin = await platform.member(), await platform.member(), await platform.admin()
    started = await owner.deploy({"name": "far", "url": "http://127.0.0.1:9/mcp"})
    path = f"/api/v1/deployments/{started['deployment_id']}"
    refused = await stranger.delete(path)
    assert (refused.status_code, refused.json()["required_permission"]) == (403, "deployments:all")
    processes = await admin.deploy(TIME)
    scaled = await stranger.patch(f"/api/v1/deployments/{processes['deployment_id']}", json={"replicas": 3})
    assert (scaled.status_code, scaled.json()["required_permission"]) == (403, "deployments:process")
    assert (await owner.delete(path)).status_code in {200, 202}
    assert (await admin.delete(f"/api/v1/deployments/{processes['deployment_id']}")).status_code == 200
