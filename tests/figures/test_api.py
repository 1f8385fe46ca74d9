"""Figures through the API, of calls that went through the gateway to real replicas."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from tests.deployments.servers import TIME
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually

CALLS = 8


@pytest.fixture
async def admin(platform: RunningPlatform) -> AsyncIterator[Caller]:
    """Give the administrator, whose deployments are stopped after the test."""
    async with platform.deployer() as caller:
        yield caller


async def history(caller: Caller, deployment_id: str, **query: str) -> dict[str, Any]:
    """Read a deployment's history."""
    answer = await caller.get(f"/api/v1/deployments/{deployment_id}/metrics", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def memory(told: dict[str, Any]) -> int:
    """Give the most memory of all points."""
    return max(point["memory_bytes"] or 0 for point in told["points"])


def replicas(told: dict[str, Any]) -> float:
    """Give the most replicas of all points."""
    return max(float(point["replicas"]) for point in told["points"])


def counted(told: dict[str, Any]) -> int:
    """Count the requests of all points."""
    return sum(point["requests"] for point in told["points"])


async def test_calls_and_usage_of_each_replica_are_told_and_remembered(admin: Caller) -> None:
    started = await admin.deploy(TIME, replicas=2)
    number = started["deployment_id"]
    await admin.deployment_is(number, "running")
    path = f"/mcp/{started['slug']}/v1/tools/get_current_time"
    for _ in range(CALLS):
        assert (await admin.post(path, json={"timezone": "UTC"})).status_code == 200
    assert (await admin.post(path, json={"timezone": "Nowhere"})).status_code < 500

    def complete(seen: dict[str, Any]) -> bool:
        parts = [seen["metrics"], *(replica["metrics"] for replica in seen["replicas"])]
        measured = all(part["cpu_cores"] is not None and part["memory_bytes"] for part in parts)
        return measured and seen["metrics"]["requests_total"] == CALLS + 1

    seen = await eventually(lambda: admin.deployment(number), complete)
    whole, each = seen["metrics"], [replica["metrics"] for replica in seen["replicas"]]
    assert sum(part["requests_total"] for part in each) == CALLS + 1
    assert sum(part["errors_total"] for part in each) == whole["errors_total"] == 1
    assert whole["error_rate"] == round(1 / (CALLS + 1), 4)
    assert 0 < whole["p50_ms"] <= whole["p95_ms"] <= whole["p99_ms"]
    assert whole["memory_bytes"] == sum(part["memory_bytes"] for part in each) > 10_000_000
    assert whole["restarts"] == 0
    assert whole["uptime_seconds"] == max(part["uptime_seconds"] for part in each) > 0

    for window, points, step in (("1h", 60, 60), ("24h", 288, 300), ("7d", 672, 900)):
        # What is shown as the latest is written for charts a moment later.
        told = await eventually(
            partial(history, admin, number, window=window), lambda told: memory(told) > 10_000_000
        )
        assert (len(told["points"]), told["step_seconds"]) == (points, step)
        moments = [datetime.fromisoformat(point["at"]) for point in told["points"]]
        assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(seconds=step)}
        assert moments[-1] <= datetime.now(UTC) < moments[-1] + timedelta(seconds=2 * step)
        assert counted(told) == CALLS + 1
        assert told["points"][0] == {
            "at": told["points"][0]["at"],
            "requests": 0,
            "errors": 0,
            "avg_ms": None,
            "p50_ms": None,
            "p95_ms": None,
            "p99_ms": None,
            "cpu_cores": None,
            "memory_bytes": None,
            "replicas": 0.0,
            "restarts": 0,
        }
    of_each = [await history(admin, number, replica=replica["id"]) for replica in seen["replicas"]]
    assert [counted(told) for told in of_each] == [part["requests_total"] for part in each]
    # A minute that has just begun knows of none yet, and the one before was not whole.
    await eventually(partial(history, admin, number), lambda told: replicas(told) > 1)
    up = f'mcp_platform_replica_up{{place="1",slug="{started["slug"]}"}} 1.0'
    await eventually(lambda: admin.get("/metrics"), lambda shown: up in shown.text)


async def test_what_cannot_be_told_is_refused(platform: RunningPlatform, admin: Caller) -> None:
    started = await admin.deploy(TIME)
    number = started["deployment_id"]
    path = f"/api/v1/deployments/{number}/metrics"
    seen = await admin.deployment_is(number, "running")
    assert (await admin.get(path, params={"window": "2h"})).status_code == 422
    assert (await admin.get(path, params={"replica": str(uuid4())})).status_code == 404
    assert (await admin.get(f"/api/v1/deployments/{uuid4()}/metrics")).status_code == 404
    other = (await admin.deploy(TIME))["deployment_id"]
    foreign = seen["replicas"][0]["id"]
    assert (
        await admin.get(f"/api/v1/deployments/{other}/metrics", params={"replica": foreign})
    ).status_code == 404
    assert (await platform.caller().get(path)).status_code == 401


async def test_a_key_for_other_mcps_does_not_see_the_figures(
    platform: RunningPlatform, admin: Caller
) -> None:
    started, other = await admin.deploy(TIME), await admin.deploy(TIME)
    path = f"/api/v1/deployments/{started['deployment_id']}/metrics"
    for mcp_id, status in ((started["tool_id"], 200), (other["tool_id"], 404)):
        made = await admin.post("/api/v1/auth/api-keys", json={"name": "limited", "mcp_ids": [mcp_id]})
        answer = await platform.caller().get(path, headers={"X-API-Key": made.json()["key"]})
        assert answer.status_code == status
