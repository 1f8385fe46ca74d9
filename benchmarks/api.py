"""What a read of the API costs, beside a bare FastAPI route that returns the same JSON.

Both sides are measured in turns, several rounds of each; the API by itself, as production runs it, with
MariaDB's place taken by SQLite and on a real Redis where one is installed.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import psutil

from benchmarks.servers import Platform, first_line, running, running_api, running_redis
from benchmarks.tables import show

ROUNDS = 7
AT_ONCE = 16
CROWD = 1600
LONGEST_SIGN_IN = 8


@dataclass
class Way:
    """One address, and what was measured on it."""

    name: str
    url: str
    headers: dict[str, str]
    pid: int
    milliseconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def forget(self) -> None:
        """Begin anew."""
        for figures in (self.milliseconds, self.rates, self.cpu):
            figures.clear()


async def read(http: aiohttp.ClientSession, way: Way) -> float:
    """Read once; the milliseconds that it took."""
    started = time.perf_counter()
    async with http.get(way.url, headers=way.headers) as answer:
        body = await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{way.name} answered {answer.status}: {body[:300]!r}")
    return (time.perf_counter() - started) * 1000


async def measure(http: aiohttp.ClientSession, way: Way) -> None:
    """Measure one round: many at once, until all are through."""
    before = _cpu(way.pid)
    times: list[float] = []

    async def some() -> None:
        for _ in range(CROWD // AT_ONCE):
            times.append(await read(http, way))

    started = time.perf_counter()
    async with asyncio.TaskGroup() as callers:
        for _ in range(AT_ONCE):
            callers.create_task(some())
    way.rates.append(CROWD / (time.perf_counter() - started))
    way.milliseconds.append(statistics.median(times))
    way.cpu.append((_cpu(way.pid) - before) / CROWD * 1e6)


async def run(platform: Platform) -> None:
    """Measure and print."""
    mcp = await _register(platform)
    task_id = await _finish_a_task(platform)
    headers = {"Authorization": f"Bearer {platform.token}"}
    paths = {"mcps": f"/api/v1/mcps/{mcp}", "tasks": f"/api/v1/tasks/{task_id}"}
    bodies = {name: (await platform.http.get(path)).json() for name, path in paths.items()}
    async with AsyncExitStack() as stack:
        bare_url, bare_pid = await stack.enter_async_context(_bare(platform, bodies))
        redis = await stack.enter_async_context(running_redis(platform.folder))
        api_url, api_pid = await stack.enter_async_context(running_api(platform, redis))
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE))
        )
        for name, path in paths.items():
            ways = [
                Way("bare FastAPI route", f"{bare_url}/{name}/x", {}, bare_pid),
                Way(f"GET {path.rpartition('/')[0]}/{{id}}", api_url + path, headers, api_pid),
            ]
            for number in range(ROUNDS + 1):
                for way in ways:
                    await measure(http, way)
                    if number == 0:
                        way.forget()
            _report(f"GET one of {name}, {AT_ONCE} at once (median of rounds)", ways)
        await _sign_in_aside(http, api_url, headers, paths["mcps"], platform)


async def _sign_in_aside(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str], path: str, platform: Platform
) -> None:
    """Show how long a read waits while others sign in, which costs tens of milliseconds each."""
    wrong = {"username": "nobody", "password": "not the password"}
    way = Way("read", url + path, headers, platform.pid)
    calm = [await read(http, way) for _ in range(300)]
    signing_in = [
        asyncio.create_task(_post(http, f"{url}/api/v1/auth/login", {**wrong, "username": f"nobody{n}"}))
        for n in range(LONGEST_SIGN_IN)
    ]
    busy = [await read(http, way) for _ in range(300)]
    await asyncio.gather(*signing_in)
    rows = [
        [name, f"{statistics.median(times):.2f} ms", f"{max(times):.2f} ms"]
        for name, times in (("alone", calm), (f"beside {LONGEST_SIGN_IN} sign-ins", busy))
    ]
    show("A read, one by one", ["", "p50", "longest"], rows)


async def _post(http: aiohttp.ClientSession, url: str, body: object) -> None:
    async with http.post(url, json=body) as answer:
        await answer.read()


async def _register(platform: Platform) -> str:
    tools = [
        {"name": f"tool_{n}", "description": "Does something useful.", "parameters": {"type": "object"}}
        for n in range(5)
    ]
    config = {"servers": [{"name": "one", "url": "http://127.0.0.1:9/mcp"}], "tools": tools}
    order = {"name": "Benchmark", "slug": "benchmark-read", "version": "1.0.0", "config": config}
    return str((await platform.ask("POST", "/mcps", order))["id"])


async def _finish_a_task(platform: Platform) -> str:
    idea = {"config": {"name": "Clock", "description": "Tells the time"}}
    task_id = str((await platform.ask("POST", "/analyze/feasibility", idea))["task_id"])
    async with asyncio.timeout(30):
        while (await platform.ask("GET", f"/tasks/{task_id}"))["status"] != "completed":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return task_id


@asynccontextmanager
async def _bare(platform: Platform, bodies: dict[str, object]) -> AsyncIterator[tuple[str, int]]:
    log = platform.folder / "bare.log"
    command = (sys.executable, "-m", "benchmarks.bare", json.dumps(bodies))
    async with running(*command, log=log) as process:
        yield (await first_line(process, log))["url"], process.pid


def _report(title: str, ways: list[Way]) -> None:
    bare = ways[0]
    rows = []
    for way in ways:
        shares = [mine / theirs for mine, theirs in zip(way.rates, bare.rates, strict=True)]
        rows.append(
            [
                way.name,
                f"{statistics.median(shares):.2f}",
                f"{statistics.median(way.rates):.0f}",
                f"{statistics.median(way.milliseconds):.2f} ms",
                f"{statistics.median(way.cpu):.0f} µs",
            ]
        )
    show(title, ["way", "share of the bare rate", "a second", "p50", "CPU a call"], rows)


def _cpu(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system
