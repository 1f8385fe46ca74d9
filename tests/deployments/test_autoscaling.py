"""Deployments that follow their load, on a whole platform."""

import asyncio
import sys
from typing import Any

import pytest

import activities.autoscaling
import tests.runner.servers
from tests.deployments.servers import TIME
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually

SLOW = {"name": "slow", "command": sys.executable, "args": [tests.runner.servers.__file__, "legacy"]}


async def deploy(caller: Caller, server: dict[str, Any], **config: Any) -> tuple[str, str]:
    """Deploy a server with this wish; the deployment's id, and its slug."""
    mcp = await caller.register_mcp({"servers": [server]})
    answer = await caller.post("/api/v1/deployments", json={"tool_id": mcp["id"], "config": config})
    assert answer.status_code == 202, answer.text
    deployment_id: str = answer.json()["deployment_id"]
    await caller.deployment_is(deployment_id, "running")
    return deployment_id, mcp["slug"]


async def test_an_idle_deployment_ends_its_replicas_and_a_call_brings_them_back(
    platform: RunningPlatform,
) -> None:
    admin = await platform.admin()
    scaling = {"max": 1, "idle_after": 1, "cool_down": 1}
    deployment_id, slug = await deploy(admin, TIME, autoscaling=scaling)
    path = f"/mcp/{slug}/v1/tools/get_current_time"
    for _ in range(2):
        idle = await admin.deployment_is(deployment_id, "idle")
        await eventually(
            lambda: admin.deployment(deployment_id),
            lambda seen: all(each["state"] == "stopped" for each in seen["replicas"]),
        )
        calls = [admin.post(path, json={"timezone": "UTC"}) for _ in range(5)]
        assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200] * 5
    assert idle["health_status"] != "unhealthy"
    await admin.delete(f"/api/v1/deployments/{deployment_id}")


async def test_a_busy_deployment_gets_replicas_and_loses_them_when_it_is_quiet(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.autoscaling, "UP_WINDOW", 1.0)
    monkeypatch.setattr(activities.autoscaling, "DOWN_WINDOW", 3.0)
    admin = await platform.admin()
    scaling = {"max": 3, "calls_in_flight": 2, "cool_down": 1}
    deployment_id, slug = await deploy(admin, SLOW, autoscaling=scaling)

    async def healthy() -> int:
        seen = await admin.deployment(deployment_id)
        return [each["state"] for each in seen["replicas"]].count("healthy")

    busy = asyncio.Event()

    async def keep_calling() -> int:
        failed = 0
        while not busy.is_set():
            answer = await admin.post(f"/mcp/{slug}/v1/tools/slow", json={"seconds": 0.3})
            failed += answer.status_code != 200
        return failed

    callers = [asyncio.create_task(keep_calling()) for _ in range(12)]
    assert await eventually(healthy, lambda count: count == 3) == 3
    busy.set()
    assert await asyncio.gather(*callers) == [0] * 12
    assert await eventually(healthy, lambda count: count == 1) == 1
    await admin.delete(f"/api/v1/deployments/{deployment_id}")


async def test_calls_in_flight_finish_before_their_replica_ends(
    platform: RunningPlatform,
) -> None:
    admin, gateway = await platform.admin(), platform.parts.gateway
    assert gateway is not None
    deployment_id, slug = await deploy(admin, SLOW)
    call = asyncio.create_task(admin.post(f"/mcp/{slug}/v1/tools/slow", json={"seconds": 1.5}))

    async def under_way() -> bool:
        return gateway.snapshot().active_requests > 0

    await eventually(under_way)
    await admin.delete(f"/api/v1/deployments/{deployment_id}")
    assert (await call).status_code == 200
    await admin.deployment_is(deployment_id, "stopped")
