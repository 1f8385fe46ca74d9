"""A runner in a process of its own, as the driver starts it."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.waiting import pause

ROOT = Path(__file__).parents[2]
SERVERS = str(Path(__file__).parent / "servers.py")
PATIENCE = 45.0


@dataclass
class RunningRunner:
    """A runner that listens."""

    process: asyncio.subprocess.Process
    port: int
    errors: Path

    @property
    def url(self) -> str:
        """Its MCP address."""
        return f"http://127.0.0.1:{self.port}/mcp"

    async def health(self) -> int:
        """Ask for its health; the HTTP status."""
        address = f"http://127.0.0.1:{self.port}/health"
        async with aiohttp.ClientSession() as http, http.get(address) as response:
            return response.status

    async def ready(self) -> "RunningRunner":
        """Wait until the session with the server is up."""
        await until(self._healthy)
        return self

    async def ended(self) -> int:
        """Wait for its exit status."""
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    def stderr(self) -> list[str]:
        """Read the lines it and its server wrote to standard error."""
        return self.errors.read_text().splitlines()

    async def _healthy(self) -> bool:
        return await self.health() == 200


async def until(condition: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> None:
    """Wait until the condition holds."""
    began = time.monotonic()
    async with asyncio.timeout(patience):
        while not await condition():
            await pause(began)


def lives(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that is gone may be read by its parent while it is asked."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def gone(*processes: psutil.Process) -> None:
    """Wait until processes have ended: what was killed is gone when the machine has had a moment."""

    async def none_lives() -> bool:
        return not any(lives(process) for process in processes)

    await until(none_lives)


async def all_gone(group: int) -> None:
    """Wait until no process of a group lives."""

    async def none_left() -> bool:
        return members(group) == []

    await until(none_left)


def members(group: int) -> list[psutil.Process]:
    """List the living processes of a process group."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@asynccontextmanager
async def start_runner(
    folder: Path, *command: str, options: tuple[str, ...] = ()
) -> AsyncIterator[RunningRunner]:
    """Start a runner in a session of its own; nothing of it remains afterwards."""
    errors = folder / "stderr.txt"
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "runner", "--grace", "0.5", *options, "--", *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            line = await process.stdout.readline()
        yield RunningRunner(process, json.loads(line)["port"] if line else 0, errors)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


Start = Callable[..., Awaitable[RunningRunner]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start runners in front of the fixture server of a kind, or of any command."""
    stack = AsyncExitStack()
    count = 0

    async def begin(kind: str, *command: str, options: tuple[str, ...] = ()) -> RunningRunner:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        chosen = command or (sys.executable, SERVERS, kind)
        return await stack.enter_async_context(start_runner(folder, *chosen, options=options))

    yield begin
    await stack.aclose()
