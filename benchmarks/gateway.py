"""What the gateway adds to a tool call: every way through it, beside the same server called directly.

All ways are measured in turns, several rounds of each, so that a noisy neighbour slows all of them
alike: trust the ratios more than the milliseconds. The caller shares the machine with what it measures.
"""

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import psutil

from benchmarks.servers import Platform, first_line, running, running_gateway
from benchmarks.tables import show

ROUNDS = 7
ONE_BY_ONE = 100
AT_ONCE = 16
CROWD = 480
MODERN, LEGACY = "2026-07-28", "2025-11-25"
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_IDS = itertools.count(1)
_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class Tool:
    """A tool, and arguments that it takes."""

    name: str
    arguments: dict[str, Any]


@dataclass
class Way:
    """One way of calling a tool, and what was measured on it."""

    name: str
    url: str
    headers: dict[str, str]
    message: dict[str, Any]
    pid: int | None = None
    """The gateway's process, whose CPU time is counted."""
    milliseconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def body(self) -> bytes:
        """Give the next request; within a session no two in flight may have the same id."""
        number = {"id": next(_IDS)} if "jsonrpc" in self.message else {}
        return orjson.dumps({**self.message, **number})


def modern(name: str, url: str, token: str, tool: Tool, pid: int | None = None) -> Way:
    """Call by MCP as of 2026-07-28: each request by itself."""
    names = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool.name}
    params = {"name": tool.name, "arguments": tool.arguments, "_meta": _META}
    message = {"jsonrpc": "2.0", "method": "tools/call", "params": params}
    return Way(name, url, {**_JSON, **names, "Authorization": f"Bearer {token}"}, message, pid)


async def legacy(
    http: aiohttp.ClientSession, name: str, url: str, token: str, tool: Tool, pid: int | None
) -> Way:
    """Call by MCP as of 2025-11-25, in a session that is opened here."""
    headers = {**_JSON, "Authorization": f"Bearer {token}"}
    hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    async with http.post(url, json=message, headers=headers) as answer:
        headers |= {"MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": answer.headers["Mcp-Session-Id"]}
        await answer.read()
    message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    async with http.post(url, json=message, headers=headers) as answer:
        await answer.read()
    params = {"name": tool.name, "arguments": tool.arguments}
    return Way(name, url, headers, {"jsonrpc": "2.0", "method": "tools/call", "params": params}, pid)


def rest(name: str, url: str, token: str, tool: Tool, pid: int | None) -> Way:
    """Call by plain REST."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    return Way(name, f"{url}/tools/{tool.name}", headers, tool.arguments, pid)


async def call(http: aiohttp.ClientSession, way: Way) -> float:
    """Call once; the milliseconds that it took."""
    started = time.perf_counter()
    async with http.post(way.url, data=way.body(), headers=way.headers) as answer:
        body = await answer.read()
        if answer.status != 200 or b'"error"' in body:
            raise RuntimeError(f"{way.name} answered {answer.status}: {body[:300]!r}")
    return (time.perf_counter() - started) * 1000


async def measure(http: aiohttp.ClientSession, way: Way) -> None:
    """Measure one round: one call after the other, then many at once."""
    before = _cpu(way.pid)
    way.milliseconds.append(statistics.median([await call(http, way) for _ in range(ONE_BY_ONE)]))

    async def some() -> None:
        for _ in range(CROWD // AT_ONCE):
            await call(http, way)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as callers:
        for _ in range(AT_ONCE):
            callers.create_task(some())
    way.rates.append(CROWD / (time.perf_counter() - started))
    way.cpu.append((_cpu(way.pid) - before) / (ONE_BY_ONE + CROWD) * 1e6)


async def compare(http: aiohttp.ClientSession, ways: Sequence[Way]) -> None:
    """Measure all ways in turns; the first round warms up and is forgotten."""
    for number in range(ROUNDS + 1):
        for way in ways:
            await measure(http, way)
            if number == 0:
                for figures in (way.milliseconds, way.rates, way.cpu):
                    figures.clear()


def report(title: str, ways: Sequence[Way]) -> None:
    """Write the table; the first way is what the others are compared with."""
    direct = ways[0]
    rows = [
        [
            way.name,
            f"{_median_ratio(way.milliseconds, direct.milliseconds):.1f}",
            f"{statistics.median(way.milliseconds):.2f} ms",
            f"{statistics.median(way.rates):.0f}",
            f"{statistics.median(way.cpu):.0f} µs" if way.pid else "",
        ]
        for way in ways
    ]
    show(
        title, ["way", "times direct", "p50, one by one", f"a second, {AT_ONCE} at once", "CPU a call"], rows
    )


async def run(platform: Platform) -> None:
    """Measure a server that costs nothing, and a real one behind the runner."""
    log = platform.folder / "stub.log"
    async with running(sys.executable, "-m", "benchmarks.stub", log=log) as process:
        stub = str((await first_line(process, log))["url"])
        await platform.deploy("stub", {"url": stub})
        clock = await platform.deploy("time", {"command": "mcp-server-time"})
        async with running_gateway(platform) as (url, pid), aiohttp.ClientSession() as http:
            title = "A server that costs nothing (median of rounds)"
            await _all_ways(platform, http, title, "stub", stub, Tool("echo", {"a": 1}), url, pid)
            title = "mcp-server-time behind its runner (median of rounds)"
            tool = Tool("get_current_time", {"timezone": "UTC"})
            await _all_ways(platform, http, title, "time", clock, tool, url, pid)


async def _all_ways(
    platform: Platform,
    http: aiohttp.ClientSession,
    title: str,
    slug: str,
    direct: str,
    tool: Tool,
    url: str,
    pid: int,
) -> None:
    alone, embedded = f"{url}/mcp/{slug}/v1", f"{platform.api}/mcp/{slug}/v1"
    token = platform.token
    ways = [
        modern("direct, without the gateway", direct, token, tool),
        modern("MCP 2026-07-28", alone, token, tool, pid),
        await legacy(http, "MCP 2025-11-25, a session", alone, token, tool, pid),
        rest("plain REST", alone, token, tool, pid),
        modern("MCP 2026-07-28, within `up`", embedded, token, tool, platform.pid),
    ]
    await compare(http, ways)
    report(title, ways)


def _cpu(pid: int | None) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2]) if pid else 0.0


def _median_ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Compare round by round, as each round had its own weather."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))
