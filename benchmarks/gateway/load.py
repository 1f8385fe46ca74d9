"""Load by wrk: what it sends, and what it saw."""

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil

from benchmarks.gateway.programs import find

MODERN, LEGACY = "2026-07-28", "2025-11-25"
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
_FIRST_ID = itertools.count(100_000_000, 1_000_000)
"""Ids have nine digits, so that all requests are equally long; each run of wrk has a million of its own."""
_PATIENCE = 30.0

# wrk runs one thread, so one counter numbers all requests: those in flight in one session must differ.
_SCRIPT = """
local number = {first}
local before, after = {before}, {after}
request = function()
    number = number + 1
    return before {id} .. after
end
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('\\n{{"calls": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d}}\\n',
        summary.requests, summary.duration / 1e6,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000,
        e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Seen:
    """What one run of wrk saw; milliseconds, and the CPU time of a call in microseconds."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass
class Way:
    """One way of calling the tool, and what was seen on it, by the number of connections."""

    name: str
    url: str
    headers: dict[str, str]
    message: dict[str, Any]
    pid: int | None = None
    """The process in between, whose CPU time is counted."""
    seen: dict[int, list[Seen]] = field(default_factory=dict)

    @property
    def numbered(self) -> bool:
        """Whether its requests have ids: those of plain REST have none."""
        return "id" in self.message

    def request(self) -> tuple[str, str]:
        """Give a request up to its id, and what comes after it."""
        path, host = urlsplit(self.url).path, urlsplit(self.url).netloc
        body = json.dumps(self.message).partition('"#"')
        length = len(body[0]) + (9 if self.numbered else 0) + len(body[2])
        lines = {"Host": host, **self.headers, "Content-Length": str(length)}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {path} HTTP/1.1\r\n{head}\r\n{body[0]}", body[2]


def modern(name: str, url: str, key: str, tool: str = "echo", pid: int | None = None) -> Way:
    """Call by MCP as of 2026-07-28: each request by itself."""
    names = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    params = {"name": tool, "arguments": {"text": "hello"}, "_meta": _META}
    return Way(name, url, {**_JSON, **names, "Authorization": f"Bearer {key}"}, _call(params), pid)


async def legacy(name: str, url: str, key: str, tool: str = "echo", pid: int | None = None) -> Way:
    """Call by MCP as of 2025-11-25, in one session that is opened here."""
    headers = {**_JSON, "Authorization": f"Bearer {key}"}
    async with http_session() as http:
        session = await open_session(http, url, headers)
    headers = {**headers, "MCP-Protocol-Version": LEGACY, **session}
    return Way(name, url, headers, _call({"name": tool, "arguments": {"text": "hello"}}), pid)


def http_session() -> aiohttp.ClientSession:
    """Open a client for what wrk does not do."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE))


async def open_session(http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> dict[str, str]:
    """Shake hands; the header by which the session is known from then on.

    Raises:
        RuntimeError: It was refused.
    """
    client = {"name": "benchmark", "version": "1"}
    hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client}
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    async with http.post(url, json=message, headers=headers) as answer:
        said = await answer.text()
        if answer.status != 200 or '"error"' in said:
            raise RuntimeError(f"{url} refused a session with {answer.status}: {said[:300]}")
        number = answer.headers.get("Mcp-Session-Id")
    session = {"Mcp-Session-Id": number} if number else {}
    known = {**headers, "MCP-Protocol-Version": LEGACY, **session}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    async with http.post(url, json=ready, headers=known) as answer:
        await answer.read()
    return session


def rest(name: str, url: str, key: str, tool: str = "echo", pid: int | None = None) -> Way:
    """Call by plain REST."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    return Way(name, f"{url}/tools/{tool}", headers, {"text": "hello"}, pid)


async def check(way: Way) -> None:
    """Call once, and look at the answer: wrk sees no more of it than its status."""
    before, after = way.request()
    body = before.partition("\r\n\r\n")[2] + (str(next(_FIRST_ID)) if way.numbered else "") + after
    async with http_session() as http, http.post(way.url, data=body, headers=way.headers) as answer:
        said = await answer.text()
    if answer.status != 200 or '"error"' in said or "hello" not in said:
        raise RuntimeError(f"{way.name} answered {answer.status}: {said[:300]}")


async def measure(way: Way, connections: int, seconds: int, folder: Path) -> tuple[Seen, int]:
    """Load one way for some seconds; what was seen, and how many calls it was.

    Raises:
        RuntimeError: A call failed.
    """
    begun = _cpu(way.pid)
    said = await load(way, connections, seconds, folder)
    spent = _cpu(way.pid) - begun
    calls = int(said["calls"])
    if said["failed"] or not calls:
        raise RuntimeError(f"{way.name}, {connections} connections: {said}")
    return Seen(calls / said["seconds"], said["p50"], said["p99"], spent / calls * 1e6), calls


async def load(way: Way, connections: int, seconds: int, folder: Path) -> dict[str, float]:
    """Let wrk call for some seconds, and give what it says at the end."""
    script = folder / f"{next(_FIRST_ID)}.lua"
    script.write_text(_script(way))
    command = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), way.url]
    process = await asyncio.create_subprocess_exec(
        find("wrk"), *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), seconds + _PATIENCE)
    said: dict[str, float] = json.loads(output.decode().strip().rpartition("\n")[2])
    return said


def _script(way: Way) -> str:
    before, after = (json.dumps(part) for part in way.request())  # Lua writes such strings as JSON does
    return _SCRIPT.format(
        first=next(_FIRST_ID), before=before, after=after, id=".. number" if way.numbered else ""
    )


def _call(params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": "#", "method": "tools/call", "params": params}


def _cpu(pid: int | None) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2]) if pid else 0.0
