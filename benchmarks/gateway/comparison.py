"""A call through the gateway beside the same call through nginx and through nothing, in turns, by wrk.

The gateway is one process by itself (`mcp-platform gateway`), with a real Redis where one is installed,
an API key to check on each call, a rate limit that counts and does not refuse, metering and audit. All
ways are measured in turns, several rounds of each, so that a noisy neighbour slows all of them alike:
trust the ratios. Nothing is pinned to a core: wrk, the upstream and what is between share them.
"""

import statistics
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.gateway.load import Seen, Way, check, legacy, measure, modern, rest
from benchmarks.gateway.programs import UPSTREAM, Upstream, ensure_installed, running_nginx, running_upstream
from benchmarks.servers import Platform, running_gateway, running_redis
from benchmarks.tables import show

ROUNDS = 3
SECONDS = {1: 1, 16: 2, 256: 3}
"""How long each measurement takes, by the number of connections."""
CONNECTIONS = tuple(SECONDS)
_HEAD = ("way", "connections", "calls a second", "p50", "p99", "CPU a call")
_COMPARED = ("of nginx's calls at 16", "added to p50 at 1", "nginx's p99 at 256, times", "CPU a call at 16")


async def run(platform: Platform, rounds: int = ROUNDS) -> None:
    """Measure both eras, plain REST, and a stdio server behind its runner."""
    await ensure_installed()
    key = (await platform.ask("POST", "/auth/api-keys", {"name": "benchmark"}))["key"]
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(running_upstream(platform.folder))
        nginx, worker = await stack.enter_async_context(running_nginx(platform.folder, upstream))
        for era in ("modern", "legacy"):
            await platform.deploy(era, {"url": f"{upstream.base}/{era}"})
        runner = await platform.deploy("lines", {"command": str(UPSTREAM), "args": ["stdio"]})
        gateway, pid = await stack.enter_async_context(gateway_process(platform))

        def at(slug: str) -> str:
            return f"{gateway}/mcp/{slug}/v1"

        triples = {
            "MCP 2026-07-28": [
                modern("direct", upstream.modern, key),
                modern("nginx", f"{nginx}/modern", key, pid=worker),
                modern("gateway", at("modern"), key, pid=pid),
                modern("gateway, upstream of 2025-11-25", at("legacy"), key, pid=pid),
                rest("gateway, plain REST", at("modern"), key, pid=pid),
            ],
            "MCP 2025-11-25": [
                await legacy("direct", upstream.legacy, key),
                await legacy("nginx", f"{nginx}/legacy", key, pid=worker),
                await legacy("gateway", at("legacy"), key, pid=pid),
                await legacy("gateway, upstream of 2026-07-28", at("modern"), key, pid=pid),
            ],
        }
        lines = [
            modern("runner", runner, key, pid=_process_of(platform, runner)),
            modern("gateway and runner", at("lines"), key, pid=pid),
        ]
        for title, ways in triples.items():
            await compare(ways, rounds, platform.folder, upstream)
            report(title, ways)
        await compare(lines, rounds, platform.folder)
        _show_all("A stdio server behind its runner, MCP 2026-07-28", lines)


@asynccontextmanager
async def gateway_process(
    platform: Platform, more: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Run a gateway whose limits count and do not refuse; its address and process."""
    # What is measured is the path of a call, not where its limit ends.
    environment = {"MCP_PLATFORM_LIMITS__ADMIN": "100000000", **(more or {})}
    async with running_redis(platform.folder) as cache:
        if cache is not None:
            environment["MCP_PLATFORM_CACHE__URL"] = cache
        async with running_gateway(platform, environment) as part:
            yield part


async def compare(ways: Sequence[Way], rounds: int, folder: Path, upstream: Upstream | None = None) -> None:
    """Measure all ways in turns; the first round warms up and is forgotten.

    Raises:
        RuntimeError: A call failed, or did not reach the upstream.
    """
    for way in ways:
        await check(way)
    for number in range(rounds + 1):
        for connections in CONNECTIONS:
            for way in ways:
                before = await _count(upstream)
                seen, calls = await measure(way, connections, SECONDS[connections], folder)
                reached = await _count(upstream) - before
                if upstream is not None and reached < calls:
                    raise RuntimeError(f"{way.name}: {calls} answers, {reached} calls reached the upstream")
                if number:
                    way.seen.setdefault(connections, []).append(seen)


def report(title: str, ways: Sequence[Way]) -> None:
    """Write what was seen, and what was to be reached; the first two ways are direct and nginx."""
    _show_all(f"{title} (medians of rounds)", ways)
    direct, nginx, *others = ways
    few, some, many = CONNECTIONS
    rows = [
        [
            way.name,
            f"{_ratio(way, nginx, some, lambda seen: seen.rate):.2f}",
            f"{_added(way, direct, few):.2f} ms",
            f"{_ratio(way, nginx, many, lambda seen: seen.p99):.1f}",
            f"{_median(way.seen[some], lambda seen: seen.cpu):.0f} µs",
        ]
        for way in others
    ]
    rows.append(["to reach", "0.50", "0.50 ms", "3.0", ""])
    show(f"{title}, compared round by round", ["way", *_COMPARED], rows)


def _show_all(title: str, ways: Sequence[Way]) -> None:
    rows = [
        [
            way.name,
            str(connections),
            f"{_median(seen, lambda one: one.rate):.0f}",
            f"{_median(seen, lambda one: one.p50):.2f} ms",
            f"{_median(seen, lambda one: one.p99):.2f} ms",
            f"{_median(seen, lambda one: one.cpu):.0f} µs" if way.pid else "",
        ]
        for way in ways
        for connections, seen in way.seen.items()
    ]
    show(title, _HEAD, rows)


async def _count(upstream: Upstream | None) -> int:
    if upstream is None:
        return 0
    async with httpx.AsyncClient(trust_env=False) as http:
        return int((await http.get(f"{upstream.base}/count")).text)


def _process_of(platform: Platform, url: str) -> int:
    """Find the child of the platform that listens at an address."""
    port = httpx.URL(url).port
    for child in psutil.Process(platform.pid).children(recursive=True):
        if any(one.laddr.port == port and one.status == "LISTEN" for one in child.net_connections()):
            return child.pid
    raise RuntimeError(f"no process listens at {url}")


def _median(seen: Sequence[Seen], figure: Callable[[Seen], float]) -> float:
    return statistics.median(figure(one) for one in seen)


def _ratio(way: Way, other: Way, connections: int, figure: Callable[[Seen], float]) -> float:
    """Compare round by round, as each round had its own weather."""
    pairs = zip(way.seen[connections], other.seen[connections], strict=True)
    return statistics.median(figure(one) / figure(two) for one, two in pairs)


def _added(way: Way, direct: Way, connections: int) -> float:
    pairs = zip(way.seen[connections], direct.seen[connections], strict=True)
    return statistics.median(one.p50 - two.p50 for one, two in pairs)
