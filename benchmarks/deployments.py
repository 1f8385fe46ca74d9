"""How soon replicas run, what watching a hundred of them costs, and how soon a killed one is back."""

import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import psutil

from benchmarks.servers import Platform, first_process_named
from benchmarks.tables import show

TIMES = 5
MANY = 100
WATCHED = 30.0
_PATIENCE = 180.0
_CLOCK = {"name": "time", "command": "mcp-server-time", "args": ["--local-timezone", "UTC"]}
_CLOCK_CALL = ("get_current_time", {"timezone": "UTC"})
_TINY = {"name": "tiny", "command": sys.executable, "args": ["-S", "-m", "benchmarks.tiny"]}
_CONTAINER = "BENCHMARK_CONTAINER"
"""An entry of `config.servers`, as JSON, for a container of mcp-server-time; else none is measured."""


async def run(platform: Platform) -> None:
    """Measure starts, many replicas, and recoveries."""
    starts = [await _start(platform) for _ in range(TIMES)]
    rows = [_row("from POST to healthy, mcp-server-time", starts, "2 s")]
    recovery = await _recoveries(platform, _CLOCK, _CLOCK_CALL, _kill_process)
    rows.append(_row("from kill -9 to answering again, a process", recovery, "3 s"))
    if server := os.environ.get(_CONTAINER):
        recovery = await _recoveries(platform, json.loads(server), _CLOCK_CALL, _kill_container)
        rows.append(_row("from kill -9 to answering again, a container", recovery, "5 s"))
    show(f"One replica ({TIMES} times)", ["what", "median", "slowest", "goal"], rows)
    await _many(platform)


def _row(what: str, seconds: list[float], goal: str) -> list[str]:
    return [what, f"{statistics.median(seconds):.2f} s", f"{max(seconds):.2f} s", goal]


async def _start(platform: Platform) -> float:
    mcp_id = await _register(platform, _CLOCK)
    began = time.perf_counter()
    deployment_id = await _deploy(platform, mcp_id, 1)
    await _until_running(platform, deployment_id, every=0.01)
    seconds = time.perf_counter() - began
    await _stop(platform, deployment_id)
    return seconds


async def _recoveries(
    platform: Platform,
    server: dict[str, Any],
    call: tuple[str, dict[str, Any]],
    kill: Callable[[dict[str, Any]], Awaitable[None]],
) -> list[float]:
    mcp_id = await _register(platform, server)
    seconds = []
    for _ in range(TIMES):
        # A new one each time: a replica that dies again and again has to wait longer each time.
        deployment_id = await _deploy(platform, mcp_id, 1)
        seen = await _until_running(platform, deployment_id, every=0.05)
        tool, arguments = call
        path = f"{seen['endpoint_url']}/tools/{tool}"
        await kill(seen["replicas"][0])
        began = time.perf_counter()
        await _until_answered(platform, path, arguments)
        seconds.append(time.perf_counter() - began)
        await _stop(platform, deployment_id)
    return seconds


async def _until_answered(platform: Platform, url: str, arguments: dict[str, Any]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while True:
            with suppress(httpx.HTTPError):
                if (await platform.http.post(url, json=arguments)).status_code == 200:
                    return
            await asyncio.sleep(0.02)


async def _kill_process(replica: dict[str, Any]) -> None:
    os.kill(replica["pid"], signal.SIGKILL)


async def _kill_container(replica: dict[str, Any]) -> None:
    host = os.environ["MCP_PLATFORM_DOCKER__HOST"]
    command = ["docker", "--host", host, "kill", "--signal", "KILL", replica["container"]]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await process.wait():
        raise RuntimeError(f"container {replica['container']} could not be killed")


async def _many(platform: Platform) -> None:
    temporal = first_process_named(platform.pid, "temporal")
    idle = await _spent(platform.pid, temporal)
    mcp_id = await _register(platform, _TINY)
    began = time.perf_counter()
    deployment_id = await _deploy(platform, mcp_id, MANY)
    seen = await _until_running(platform, deployment_id, every=0.5)
    seconds = time.perf_counter() - began
    replicas = [replica["pid"] for replica in seen["replicas"]]
    watching = await _spent(platform.pid, temporal, *replicas)
    await _stop(platform, deployment_id)
    own, server = watching[0] - idle[0], watching[1] - idle[1]
    rows = [
        ["from POST until all are healthy", f"{seconds:.1f} s", "60 s"],
        ["CPU of `up` for watching them, beyond an idle one's", _share(own), "5 %"],
        ["CPU of `up`, idle", _share(idle[0]), ""],
        ["CPU of Temporal's server for it, beyond an idle one's", _share(server), ""],
        ["CPU of Temporal's server, idle", _share(idle[1]), ""],
        ["CPU of the runners, which answer the checks", _share(sum(watching[2:])), ""],
    ]
    show(f"{MANY} replicas of a small server, watched for {WATCHED:.0f} s", ["what", "seen", "goal"], rows)


def _share(cores: float) -> str:
    return f"{cores * 100:.1f} %"


async def _spent(*pids: int) -> list[float]:
    """Give the CPU that processes use in a while, in cores."""
    processes = [psutil.Process(pid) for pid in pids]
    before = [sum(process.cpu_times()[:2]) for process in processes]
    await asyncio.sleep(WATCHED)
    return [
        (sum(process.cpu_times()[:2]) - earlier) / WATCHED
        for process, earlier in zip(processes, before, strict=True)
    ]


async def _register(platform: Platform, server: dict[str, Any]) -> str:
    slug = f"{server['name']}-{uuid4().hex[:8]}"
    order = {"name": slug, "slug": slug, "version": "1.0.0", "config": {"servers": [server]}}
    return str((await platform.ask("POST", "/mcps", order))["id"])


async def _deploy(platform: Platform, mcp_id: str, replicas: int) -> str:
    order = {"tool_id": mcp_id, "config": {"replicas": replicas}}
    return str((await platform.ask("POST", "/deployments", order))["deployment_id"])


async def _until_running(platform: Platform, deployment_id: str, every: float) -> dict[str, Any]:
    async with asyncio.timeout(_PATIENCE):
        while True:
            seen = await platform.ask("GET", f"/deployments/{deployment_id}")
            if seen["status"] == "running":
                return seen
            await asyncio.sleep(every)


async def _stop(platform: Platform, deployment_id: str) -> None:
    async with asyncio.timeout(_PATIENCE):
        while (await platform.ask("GET", f"/deployments/{deployment_id}"))["status"] != "stopped":
            await platform.ask("DELETE", f"/deployments/{deployment_id}")
