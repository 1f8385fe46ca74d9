"""Deployments of real servers, good and bad, through the API."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from mcp_platform.names import REPLICA_MARKER
from tests.deployments.servers import (
    FLOODS_STDERR,
    IGNORES_SIGTERM,
    LEAVES_AT_ONCE,
    MISSING,
    NEVER_SPEAKS,
    TIME,
    python,
)
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually


@pytest.fixture
async def admin(platform: RunningPlatform) -> AsyncIterator[Caller]:
    """Give the administrator, whose deployments are stopped after the test."""
    caller = await platform.admin()
    yield caller
    for deployment in (await caller.get("/api/v1/deployments")).json()["deployments"]:
        if deployment["status"] != "stopped":
            await caller.delete(f"/api/v1/deployments/{deployment['deployment_id']}")


def processes_of(deployment: dict[str, Any]) -> list[psutil.Process]:
    """Every living process of a deployment's replicas."""
    wanted = {replica["id"] for replica in deployment["replicas"]}
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(REPLICA_MARKER, "")
            if mark.partition("/")[2] in wanted and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


async def none_lives(deployment: dict[str, Any]) -> None:
    """Wait until no process of a deployment lives: what was killed takes its moment to go."""
    await eventually(lambda: asyncio.to_thread(processes_of, deployment), lambda left: not left)


def ended(pid: int) -> bool:
    """Tell whether a process is gone, but for the entry that its parent has yet to read."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_deployment_runs_answers_and_stops_with_the_contracts_fields(admin: Caller) -> None:
    started = await admin.deploy(TIME, replicas=2)
    slug = started.pop("slug")
    assert set(started) == {"deployment_id", "tool_id", "endpoint_url", "status", "deployed_at"}
    assert started["status"] == "starting"
    assert started["endpoint_url"].endswith(f"/mcp/{slug}/v1")

    running = await admin.deployment_is(started["deployment_id"], "running")
    assert running["health_status"] == "healthy"
    assert running["last_health_check"] is not None
    assert [replica["state"] for replica in running["replicas"]] == ["healthy", "healthy"]
    assert len({replica["pid"] for replica in running["replicas"]}) == 2

    answer = await admin.post(f"/mcp/{slug}/v1/tools/get_current_time", json={"timezone": "UTC"})
    assert answer.status_code == 200
    assert answer.json()["timezone"] == "UTC"
    counted = await eventually(
        lambda: admin.deployment(started["deployment_id"]), lambda seen: seen["metrics"]["requests_total"]
    )
    assert {"requests_total", "avg_response_time_ms", "error_rate"} <= set(counted["metrics"])
    assert counted["metrics"]["requests_total"] == 1
    assert counted["metrics"]["avg_response_time_ms"] > 0
    assert counted["metrics"]["error_rate"] == 0

    stopped = await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")
    assert stopped.status_code == 200
    assert set(stopped.json()) == {"message", "deployment_id", "stopped_at"}
    assert stopped.json()["message"] == "Deployment stopped successfully"
    await none_lives(running)
    assert (await admin.post(f"/mcp/{slug}/v1/tools/get_current_time", json={})).status_code in {404, 503}
    again = await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")
    assert again.json()["stopped_at"] == stopped.json()["stopped_at"]


async def fails(admin: Caller, started: dict[str, Any], reason: str) -> dict[str, Any]:
    """Wait until a deployment has failed for this reason; a start on a crowded machine may find another."""
    return await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: seen["status"] == "failed" and reason in (seen["reason"] or ""),
    )


@pytest.mark.parametrize(
    ("server", "reason", "stderr"),
    [
        (MISSING, "cannot run no-such-command-anywhere", "no-such-command-anywhere"),
        (LEAVES_AT_ONCE, "7", "no configuration found"),
        (python("print('hello, I am no MCP server', flush=True); import time; time.sleep(600)"), "MCP", None),
        ({"name": "s", "command": "mcp-server-time", "env": {"KEY": "${NOT_SET_ANYWHERE}"}}, "NOT_SET", None),
        ({"name": "s", "command": "mcp-server-time", "cwd": "/no/such/folder"}, "/no/such/folder", None),
    ],
    ids=["missing", "leaves-at-once", "not-mcp", "unknown-variable", "no-such-folder"],
)
async def test_a_server_that_cannot_run_fails_with_the_reason(
    admin: Caller, server: dict[str, Any], reason: str, stderr: str | None
) -> None:
    started = await admin.deploy(server)
    failed = await fails(admin, started, reason)
    assert failed["health_status"] == "unhealthy"
    assert "trying again after" in failed["reason"]
    (replica,) = failed["replicas"]
    assert reason in replica["reason"]
    if stderr:
        assert any(stderr in line for line in replica["stderr_tail"])
    call = await admin.post(f"/mcp/{started['slug']}/v1/tools/any", json={})
    assert call.status_code == 503
    assert int(call.headers["Retry-After"]) >= 1


async def test_a_server_that_never_speaks_fails_when_its_patience_ends(admin: Caller) -> None:
    started = await admin.deploy(NEVER_SPEAKS)
    await fails(admin, started, "did not answer as an MCP server within")


async def test_a_server_that_floods_standard_error_harms_nobody(admin: Caller) -> None:
    good = await admin.deploy(TIME)
    bad = await admin.deploy(FLOODS_STDERR)
    await admin.deployment_is(good["deployment_id"], "running")
    for _ in range(20):
        path = f"/mcp/{good['slug']}/v1/tools/get_current_time"
        assert (await admin.post(path, json={"timezone": "UTC"}, timeout=15)).status_code == 200
    failed = await admin.deployment_is(bad["deployment_id"], "failed")
    (replica,) = failed["replicas"]
    assert 0 < len(replica["stderr_tail"]) <= 50
    assert max(len(line) for line in replica["stderr_tail"]) <= 2000


async def test_a_killed_replica_comes_back_while_the_other_answers(admin: Caller) -> None:
    started = await admin.deploy(TIME, replicas=2)
    running = await admin.deployment_is(started["deployment_id"], "running")
    victim = running["replicas"][0]
    os.kill(victim["pid"], signal.SIGKILL)
    # A call that a dying process has taken already fails, and rightly so.
    await eventually(lambda: asyncio.to_thread(ended, victim["pid"]))
    path = f"/mcp/{started['slug']}/v1/tools/get_current_time"
    for _ in range(20):
        assert (await admin.post(path, json={"timezone": "UTC"})).status_code == 200
    healed = await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: seen["status"] == "running" and seen["replicas"][0]["pid"] != victim["pid"],
    )
    assert healed["replicas"][0]["restarts"] == 1
    assert healed["replicas"][1]["pid"] == running["replicas"][1]["pid"]
    assert victim["pid"] not in {process.pid for process in processes_of(healed)}


async def test_a_replica_that_hangs_is_replaced(admin: Caller) -> None:
    started = await admin.deploy(TIME)
    running = await admin.deployment_is(started["deployment_id"], "running")
    victim = running["replicas"][0]["pid"]
    os.kill(victim, signal.SIGSTOP)
    healed = await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: seen["status"] == "running" and seen["replicas"][0]["pid"] != victim,
    )
    assert ended(victim)
    assert healed["replicas"][0]["restarts"] == 1


async def test_a_server_that_ignores_sigterm_and_has_children_leaves_nothing_behind(admin: Caller) -> None:
    started = await admin.deploy(IGNORES_SIGTERM)
    running = await admin.deployment_is(started["deployment_id"], "running")
    assert len(processes_of(running)) >= 3
    assert (await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")).status_code == 200
    await none_lives(running)


async def test_scaling_adds_and_removes_replicas(admin: Caller) -> None:
    started = await admin.deploy(TIME)
    path = f"/api/v1/deployments/{started['deployment_id']}"
    await admin.deployment_is(started["deployment_id"], "running")
    grown = await admin.patch(path, json={"replicas": 3})
    assert grown.status_code == 200
    assert grown.json()["replicas_wished"] == 3
    running = await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: seen["status"] == "running" and len(seen["replicas"]) == 3,
    )
    shrunk = await admin.patch(path, json={"replicas": 1})
    assert [replica["ordinal"] for replica in shrunk.json()["replicas"]] == [0]
    assert {process.pid for process in processes_of(running)} >= {running["replicas"][0]["pid"]}
    await none_lives({"replicas": running["replicas"][1:]})
    for wrong in (0, 101, "many"):
        assert (await admin.patch(path, json={"replicas": wrong})).status_code == 422


async def test_stopping_while_replicas_are_starting_leaves_nothing_behind(admin: Caller) -> None:
    started = await admin.deploy(NEVER_SPEAKS, replicas=3)
    starting = await eventually(
        lambda: admin.deployment(started["deployment_id"]),
        lambda seen: len(processes_of(seen)) >= 3,
    )
    answer = await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")
    assert answer.status_code == 200, answer.text
    await none_lives(starting)


async def test_a_deployed_mcp_is_not_deleted_and_its_deployment_is_named(admin: Caller) -> None:
    started = await admin.deploy(TIME)
    refused = await admin.delete(f"/api/v1/mcps/{started['tool_id']}")
    assert refused.status_code == 409
    assert refused.json()["deployment_id"] == started["deployment_id"]


async def test_a_developer_may_not_run_commands_as_the_platform(platform: RunningPlatform) -> None:
    member = await platform.member()
    mcp = await member.register_mcp({"servers": [TIME]})
    answer = await member.post("/api/v1/deployments", json={"tool_id": mcp["id"]})
    assert answer.status_code == 403
    assert answer.json()["required_permission"] == "deployments:process"


@pytest.mark.parametrize(
    ("config", "order", "says"),
    [
        ({"servers": []}, {}, "none at all"),
        ({"servers": [TIME, TIME | {"name": "other"}]}, {}, "time, other"),
        ({"servers": [TIME]}, {"server": "wrong"}, "time"),
        ({"servers": [{"name": "box", "image": "box:1"}]}, {"driver": "process"}, "docker, swarm"),
        ({"servers": [TIME]}, {"driver": "remote"}, "which has a command"),
        ({"servers": [python("pass")]}, {"driver": "docker"}, '"build"'),
        ({"servers": [TIME]}, {"replicas": 0}, "greater than or equal to 1"),
        ({"servers": [TIME]}, {"resources": {"cpu": "half"}}, "500m"),
        ({"servers": [TIME]}, {"resources": {"memory": "512MB"}}, "512Mi"),
        ({"servers": [TIME]}, {"autoscaling": {"min": 3, "max": 2}}, "must not be below min"),
        ({"servers": [TIME]}, {"autoscaling": {"max": 2}}, "calls_in_flight or latency_ms"),
        ({"servers": [TIME]}, {"health": {"interval": 0}}, "greater than or equal to 0.2"),
    ],
    ids=[
        "no-server",
        "which-server",
        "unknown-server",
        "image-as-process",
        "command-as-remote",
        "nothing-to-build-from",
        "no-replicas",
        "cpu",
        "memory",
        "scaling-bounds",
        "scaling-by-nothing",
        "health",
    ],
)
async def test_a_wish_that_cannot_be_fulfilled_is_refused(
    admin: Caller, config: dict[str, Any], order: dict[str, Any], says: str
) -> None:
    mcp = await admin.register_mcp(config)
    answer = await admin.post("/api/v1/deployments", json={"tool_id": mcp["id"], "config": order})
    assert answer.status_code == 422
    assert says in answer.json()["detail"][0]["msg"]


async def test_an_engine_that_is_away_is_named_and_nothing_begins(admin: Caller) -> None:
    mcp = await admin.register_mcp({"servers": [{"name": "box", "image": "box:1"}]})
    answer = await eventually(
        lambda: admin.post("/api/v1/deployments", json={"tool_id": mcp["id"]}),
        lambda answer: answer.status_code == 503,
    )
    assert "no-engine.sock" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) >= 1
    deployments = (await admin.get("/api/v1/deployments", params={"tool_id": mcp["id"]})).json()
    assert deployments["total"] == 0


async def test_what_does_not_exist_cannot_be_deployed_or_stopped(admin: Caller) -> None:
    unknown = str(uuid4())
    deployed = await admin.post("/api/v1/deployments", json={"tool_id": unknown})
    assert (deployed.status_code, deployed.json()["resource_type"]) == (404, "mcp_tool")
    stopped = await admin.delete(f"/api/v1/deployments/{unknown}")
    assert (stopped.status_code, stopped.json()["resource_type"]) == (404, "deployment")


async def test_a_remote_server_is_watched_and_called(admin: Caller) -> None:
    upstream = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runner", "--port", "0", "--", sys.executable, "-m", "mcp_server_time"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert upstream.stdout is not None
        port = (await upstream.stdout.readline()).decode().partition('"port":')[2].strip(" }\n")
        started = await admin.deploy({"name": "far", "url": f"http://127.0.0.1:{port}/mcp"})
        await admin.deployment_is(started["deployment_id"], "running")
        path = f"/mcp/{started['slug']}/v1/tools/get_current_time"
        assert (await admin.post(path, json={"timezone": "UTC"})).status_code == 200
        upstream.kill()
        lost = await admin.deployment_is(started["deployment_id"], "unhealthy")
        assert "checks in a row failed" in lost["reason"]
        assert (await admin.post(path, json={"timezone": "UTC"})).status_code == 503
    finally:
        if upstream.returncode is None:
            upstream.kill()
        await upstream.wait()


async def test_the_platforms_own_environment_is_hidden_from_servers(
    admin: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "do not show")
    seen = tmp_path / "environment"
    code = (
        "import os, subprocess, sys\n"
        f"open({str(seen)!r}, 'w').write(repr(dict(os.environ)))\n"
        "sys.exit(subprocess.call(['mcp-server-time']))"
    )
    started = await admin.deploy(python(code) | {"env": {"GIVEN": "yes", "HOUSE": "${HOME}"}})
    await admin.deployment_is(started["deployment_id"], "running")
    text = seen.read_text()
    assert "do not show" not in text
    assert "MCP_PLATFORM_SECURITY" not in text
    assert "'GIVEN': 'yes'" in text
    assert f"'HOUSE': {os.environ['HOME']!r}" in text
