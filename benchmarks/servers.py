"""The programs that are measured, each as a process of its own, as users run them."""

import asyncio
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

_PATIENCE = 60.0
_COMMAND = str(Path(sys.executable).with_name("mcp-platform"))


@dataclass(frozen=True)
class Platform:
    """What `mcp-platform up` runs, and a client that is signed in as its administrator."""

    folder: Path
    api: str
    temporal: str
    pid: int
    token: str
    http: httpx.AsyncClient

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Give the API's answer."""
        answer = await self.http.request(method, f"/api/v1{path}", json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def deploy(self, slug: str, server: dict[str, Any], config: dict[str, Any] | None = None) -> str:
        """Deploy a server with one replica; its own address, once it answers."""
        order = {"name": slug, "slug": slug, "version": "1.0.0", "config": {"servers": [server]}}
        mcp = await self.ask("POST", "/mcps", order)
        started = await self.ask("POST", "/deployments", {"tool_id": mcp["id"], "config": config or {}})
        async with asyncio.timeout(_PATIENCE):
            while True:
                seen = await self.ask("GET", f"/deployments/{started['deployment_id']}")
                if seen["status"] == "running":
                    return str(seen["replicas"][0]["url"])
                await asyncio.sleep(0.25)


@asynccontextmanager
async def running(
    *command: str, log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program while the body runs."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "MCP_PLATFORM_REGISTRY__SOURCE": "", **(environment or {})},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def first_line(
    process: asyncio.subprocess.Process, log: Path, patience: float = _PATIENCE
) -> dict[str, Any]:
    """Read the next line of JSON by which a program says that it is ready."""
    assert process.stdout is not None
    async with asyncio.timeout(patience):
        line = await process.stdout.readline()
    if not line:
        said = await asyncio.to_thread(log.read_text)
        raise RuntimeError(f"it ended before it was ready: {said[-2000:]}")
    found: dict[str, Any] = json.loads(line)
    return found


@asynccontextmanager
async def running_platform(folder: Path) -> AsyncIterator[Platform]:
    """Run everything, on free ports and data of its own."""
    port, temporal, ui = free_ports(3)
    ports = {"--port": port, "--temporal-port": temporal, "--temporal-ui-port": ui}
    options = [text for name, number in ports.items() for text in (name, str(number))]
    command = [_COMMAND, "up", "--json", "--data-dir", str(folder / "data"), *options]
    log = folder / "platform.log"
    # A log line for each request would be measured too; `make up` writes none.
    async with running(*command, log=log, environment={"MCP_PLATFORM_LOGS__LEVEL": "warning"}) as process:
        ready = await first_line(process, log)
        async with httpx.AsyncClient(base_url=ready["api"], timeout=_PATIENCE, trust_env=False) as http:
            login = {"username": ready["admin_username"], "password": ready["admin_password"]}
            token = (await http.post("/api/v1/auth/login", json=login)).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            yield Platform(folder, ready["api"], f"127.0.0.1:{temporal}", process.pid, token, http)


def first_process_named(pid: int, word: str) -> int:
    """Find a process that another has started, by a word in its name."""
    children = psutil.Process(pid).children(recursive=True)
    return next(child.pid for child in children if word in child.name())


@asynccontextmanager
async def running_gateway(
    platform: Platform, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Run a gateway by itself beside the platform, on the same data; its address and process."""
    async with _running_part(platform, "gateway", "GATEWAY", environment) as part:
        yield part


@asynccontextmanager
async def running_api(platform: Platform, cache_url: str | None) -> AsyncIterator[tuple[str, int]]:
    """Run an API by itself beside the platform, on the same data; its address and process."""
    environment = {
        "MCP_PLATFORM_TEMPORAL__ADDRESS": platform.temporal,
        # What is measured is the path of a request, not where it ends.
        "MCP_PLATFORM_LIMITS__ADMIN": "100000000",
    }
    if cache_url:
        environment["MCP_PLATFORM_CACHE__URL"] = cache_url
    async with _running_part(platform, "api", "API", environment) as part:
        yield part


@asynccontextmanager
async def running_redis(folder: Path) -> AsyncIterator[str | None]:
    """Run a Redis, if one is installed; its address."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    (port,) = free_ports(1)
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    async with running(program, *options, log=folder / "redis.log"):
        await await_port(port)
        yield f"redis://127.0.0.1:{port}"


@asynccontextmanager
async def _running_part(
    platform: Platform, command: str, group: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, int]]:
    (port,) = free_ports(1)
    given = {
        "MCP_PLATFORM_DATA_DIR": str(platform.folder / "data"),
        f"MCP_PLATFORM_{group}__PORT": str(port),
        "MCP_PLATFORM_LOGS__LEVEL": "warning",
        **(environment or {}),
    }
    url = f"http://127.0.0.1:{port}"
    log = platform.folder / f"{command}.log"
    async with running(_COMMAND, command, log=log, environment=given) as process:
        async with asyncio.timeout(_PATIENCE), httpx.AsyncClient(trust_env=False) as http:
            while not await _answers(http, url):  # noqa: ASYNC110 - it says so to nobody
                await asyncio.sleep(0.05)
        yield url, process.pid


async def await_port(port: int) -> None:
    """Wait until something listens there."""
    async with asyncio.timeout(_PATIENCE):
        while not await _listens(port):  # noqa: ASYNC110 - it says so to nobody
            await asyncio.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Give ports that are free now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/health")).is_success
    except httpx.TransportError:
        return False


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
