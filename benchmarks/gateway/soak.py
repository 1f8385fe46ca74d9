"""Minutes of calls, reconnects and failing upstreams: the gateway ends with the memory that it began with.

All at once: calls of both eras by wrk, which connects anew every few seconds and leaves calls behind as it
goes; sessions that are opened, used and ended or forgotten; an upstream that answers 503 for a second now
and then; and one that is killed, and started again only after the gateway gave up waiting for it.
"""

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.gateway.comparison import gateway_process
from benchmarks.gateway.load import LEGACY, Way, http_session, legacy, load, modern, open_session
from benchmarks.gateway.programs import Upstream, ensure_installed, running_upstream
from benchmarks.servers import Platform, free_ports
from benchmarks.tables import show

MINUTES = 10.0
_BURST = 5
_CONNECTIONS = 4
_IDLE_TIMEOUT = 20
"""Seconds after which the gateway ends an idle session here: forgotten ones reach their number soon."""
_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
_CALL = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "tools/call",
    "params": {"name": "echo", "arguments": {"text": "hello"}},
}


@dataclass
class _Soak:
    gateway: str
    headers: dict[str, str]
    folder: Path
    ends: float
    seen: Counter[str] = field(default_factory=Counter)

    def at(self, slug: str) -> str:
        return f"{self.gateway}/mcp/{slug}/v1"

    async def repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self.ends:
            await work()

    async def burst(self, way: Callable[[], Awaitable[Way]]) -> None:
        said = await load(await way(), _CONNECTIONS, _BURST, self.folder)
        self.seen["calls by wrk"] += int(said["calls"])
        self.seen["of them failed"] += int(said["failed"])

    async def visit(self, http: aiohttp.ClientSession, slug: str, numbers: "itertools.count[int]") -> None:
        """Open a session and call in it; every other one is ended, the rest is forgotten."""
        await asyncio.sleep(0.02)
        with suppress(RuntimeError, aiohttp.ClientError):
            session = await open_session(http, self.at(slug), self.headers)
            known = {**self.headers, "MCP-Protocol-Version": LEGACY, **session}
            async with http.post(self.at(slug), json=_CALL, headers=known) as answer:
                await answer.read()
            self.seen["sessions"] += 1
            if next(numbers) % 2:
                async with http.delete(self.at(slug), headers=known) as answer:
                    await answer.read()

    async def fail(self, http: aiohttp.ClientSession, upstream: Upstream) -> None:
        """Have the upstream refuse everything for a second."""
        async with http.post(f"{upstream.base}/fail?for=1s") as answer:
            self.seen["times of 503"] += answer.status == 200
        await asyncio.sleep(4)


async def run(platform: Platform, minutes: float = MINUTES) -> None:
    """Load a gateway for so long, and compare its memory after a minute with that at the end."""
    await ensure_installed()
    key = (await platform.ask("POST", "/auth/api-keys", {"name": "soak"}))["key"]
    more = {"MCP_PLATFORM_GATEWAY__SESSION_IDLE_TIMEOUT": str(_IDLE_TIMEOUT)}
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(running_upstream(platform.folder))
        (port,) = free_ports(1)
        async with running_upstream(platform.folder, port) as mortal:
            await platform.deploy("mortal", {"url": mortal.modern})
        for era in ("modern", "legacy"):
            await platform.deploy(era, {"url": f"{upstream.base}/{era}"})
        gateway, pid = await stack.enter_async_context(gateway_process(platform, more))
        http = await stack.enter_async_context(http_session())
        headers = {**_JSON, "Authorization": f"Bearer {key}"}
        soak = _Soak(gateway, headers, platform.folder, time.monotonic() + minutes * 60)
        memory = await _all_at_once(soak, http, upstream, port, key, pid)
    _report(soak, memory)


async def _all_at_once(
    soak: _Soak, http: aiohttp.ClientSession, upstream: Upstream, port: int, key: str, pid: int
) -> list[int]:
    numbers = itertools.count()
    memory: list[int] = []

    async def modern_way() -> Way:
        return modern("modern", soak.at("modern"), key)

    async def legacy_way() -> Way:
        return await legacy("legacy", soak.at("legacy"), key)

    async def mortal_way() -> Way:
        return modern("mortal", soak.at("mortal"), key)

    async def live_and_die() -> None:
        async with running_upstream(soak.folder, port):
            await asyncio.sleep(5)
        soak.seen["deaths of an upstream"] += 1
        await asyncio.sleep(8)

    async def watch() -> None:
        memory.append(psutil.Process(pid).memory_info().rss)
        await asyncio.sleep(1)

    works: list[Callable[[], Awaitable[Any]]] = [
        lambda: soak.burst(modern_way),
        lambda: soak.burst(legacy_way),
        lambda: soak.burst(mortal_way),
        lambda: soak.visit(http, "modern", numbers),
        lambda: soak.visit(http, "legacy", numbers),
        lambda: soak.fail(http, upstream),
        live_and_die,
        watch,
    ]
    async with asyncio.TaskGroup() as tasks:
        for work in works:
            tasks.create_task(soak.repeat(work))
    return memory


def _report(soak: _Soak, memory: list[int]) -> None:
    first = statistics.median(memory[55:66] or memory)
    last = statistics.median(memory[-10:])
    rows = [[what, str(number)] for what, number in soak.seen.items()]
    rows += [
        ["memory after the first minute", f"{first / 2**20:.1f} MB"],
        [f"memory after {len(memory) / 60:.0f} minutes", f"{last / 2**20:.1f} MB"],
        ["more than after the first, at most 5 %", f"{(last / first - 1) * 100:+.1f} %"],
    ]
    show("A soak", ["what", "seen"], rows)
