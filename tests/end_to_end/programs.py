"""`mcp-platform` as its users run it: processes with folders, ports and environments of their own."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from mcp_platform.cli.temporal_program import tied
from mcp_platform.names import REPLICA_MARKER
from mcp_platform.settings import Settings
from tests.platform import ADMIN_PASSWORD, Caller, free_port
from tests.waiting import eventually

PROGRAM = Path(sys.executable).with_name("mcp-platform")
START_PATIENCE = 110.0
"""Far more than the ten seconds that a user is promised: a start that fails shall tell its own reason."""
STOP_PATIENCE = 10.0
"""What users are promised."""
RECOVERY = 90.0
"""Seconds in which everything is true again: programs may take ten of them to start, one after the other."""

QUICK = {
    "MCP_PLATFORM_REPLICAS__CHECK_INTERVAL": "0.3",
    "MCP_PLATFORM_REPLICAS__STOP_GRACE": "1",
    "MCP_PLATFORM_REPLICAS__PATIENCE": "20",
}
"""Notices and ends replicas sooner than a user would want."""


async def kill_replica(replica: dict[str, Any]) -> None:
    """Kill a replica's process, and wait until it is gone: a call that it got before is lost with it."""
    process = psutil.Process(replica["pid"])
    process.kill()
    await asyncio.to_thread(process.wait, STOP_PATIENCE)


class Ended:
    """How a process ended and what it said."""

    def __init__(self, status: int, stdout: str, stderr: str) -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr

    @property
    def complaint(self) -> list[str]:
        """The lines on standard error that are no log lines."""
        return [line for line in self.stderr.splitlines() if line.strip() and not line.startswith("{")]


_ON_ITS_OWN = {"MCP_PLATFORM_REGISTRY__SOURCE": ""}
"""Nothing beyond this machine is asked."""


class Running:
    """One `mcp-platform` process, tied to the tests' life."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: int) -> None:
        self.process = process
        self._stderr = stderr
        weakref.finalize(self, os.close, stderr)

    @classmethod
    async def start(cls, *arguments: str, **environment: str) -> "Running":
        """Start it with a clean environment, so that nobody's own settings take part."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MCP_PLATFORM_")}
        # A file without a name: it is gone with whoever reads it, and never fills up as a pipe would.
        stderr, path = tempfile.mkstemp()
        os.unlink(path)
        process = await asyncio.create_subprocess_exec(
            *tied([str(PROGRAM), *arguments]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=kept | _ON_ITS_OWN | environment,
            start_new_session=True,
        )
        return cls(process, stderr)

    @property
    def stderr(self) -> str:
        """What it said on standard error so far."""
        return os.pread(self._stderr, os.fstat(self._stderr).st_size, 0).decode(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.returncode is None

    async def line(self) -> str:
        """Read the next line of standard output."""
        assert self.process.stdout is not None
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_PATIENCE):
                line = await self.process.stdout.readline()
        assert line, f"no line on standard output; standard error:\n{self.stderr[-3000:]}"
        return line.decode()

    async def ended(self, within: float = START_PATIENCE) -> Ended:
        """Wait until it ends by itself."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within):
            output = await self.process.stdout.read()
            status = await self.process.wait()
        return Ended(status, output.decode(), self.stderr)

    async def stop(self, number: signal.Signals = signal.SIGINT) -> Ended:
        """Ask it to end, as Ctrl-C does, and wait."""
        self.process.send_signal(number)
        return await self.ended(STOP_PATIENCE)

    async def kill(self) -> None:
        """End it without a warning, as a power cut does; what it was is gone when this returns."""
        if self.alive:
            self.process.kill()
        await self.process.wait()

    async def close(self) -> None:
        """Make sure that it is gone."""
        await self.kill()


async def run(*arguments: str, **environment: str) -> Ended:
    """Run a command to its end."""
    running = await Running.start(*arguments, **environment)
    try:
        return await running.ended()
    finally:
        await running.close()


class Platform:
    """An embedded platform on a data directory, which can be started and killed again and again."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        self.environment = QUICK | {"MCP_PLATFORM_ADMIN__PASSWORD": ADMIN_PASSWORD} | environment
        self.port = free_port()
        self.temporal_port = free_port()
        self.temporal_ui_port = free_port()
        self.running: Running
        self._callers: list[Caller] = []

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> list[str]:
        """The options of `up` for this platform."""
        return [
            *("--data-dir", str(self.data_dir)),
            *("--port", str(self.port)),
            *("--temporal-port", str(self.temporal_port)),
            *("--temporal-ui-port", str(self.temporal_ui_port)),
        ]

    async def begin(self) -> None:
        """Start it without waiting."""
        self.running = await Running.start("up", "--json", *self.options, **self.environment)

    async def start(self) -> dict[str, Any]:
        """Start it and wait until it says that it is ready; what it says."""
        await self.begin()
        ready: dict[str, Any] = json.loads(await self.running.line())
        return ready

    async def restore(self) -> None:
        """Start it again if a test that failed left it dead."""
        if not self.running.alive:
            await self.start()

    async def kill(self) -> None:
        """Kill it, and wait until nothing of it lives: that takes its processes a moment, and no help."""
        await self.running.kill()
        await nothing_lives(self.data_dir, within=5.0)

    async def admin(self, password: str = ADMIN_PASSWORD) -> Caller:
        """Give the administrator, signed in."""
        caller = Caller(self.url)
        self._callers.append(caller)
        await caller.sign_in("admin", password)
        return caller

    async def close(self) -> None:
        """End it, whatever state it is in."""
        for caller in self._callers:
            await caller.aclose()
        await self.running.close()
        await nothing_lives(self.data_dir, within=5.0)


def replicas_of(instance_id: str) -> dict[str, list[psutil.Process]]:
    """Find all living processes of a platform's replicas, by replica."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            instance, _, replica = process.environ().get(REPLICA_MARKER, "").partition("/")
            if instance == instance_id and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(replica, []).append(process)
        except (psutil.Error, OSError):
            continue
    return found


def instance_of(data_dir: Path) -> str:
    """Give the mark of an embedded platform on this folder."""
    return Settings(data_dir=data_dir).instance_id


def temporal_of(data_dir: Path) -> list[psutil.Process]:
    """Find the living Temporal servers of an embedded platform."""
    database = str(data_dir.absolute() / "temporal.db")
    return [process for process in psutil.process_iter() if database in _command(process)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.Error:
        return []


async def nothing_lives(data_dir: Path, within: float = STOP_PATIENCE) -> None:
    """Wait until no process of a platform lives, whoever started it."""

    async def living() -> list[object]:
        return [*replicas_of(instance_of(data_dir)).values(), *temporal_of(data_dir)]

    await eventually(living, lambda seen: not seen, within)


async def state_is_true(
    caller: Caller, instance_id: str, slugs: Iterable[str], gateway: Caller | None = None
) -> None:
    """Wait until records and processes agree: exactly the wished replicas run, each once, and answer."""

    async def difference() -> str:
        try:
            return await _difference(caller, instance_id)
        except (ProcessLookupError, httpx.HTTPError) as error:
            return repr(error)

    await eventually(difference, lambda seen: not seen, RECOVERY)
    for slug in slugs:
        await answers(gateway or caller, slug, times=4)


async def answers(caller: Caller, slug: str, times: int = 1) -> None:
    """Check that a deployed time server answers a call, and the next ones."""
    for _ in range(times):
        path = f"/mcp/{slug}/v1/tools/get_current_time"
        answer = await caller.post(path, json={"timezone": "UTC"})
        assert answer.status_code == 200, answer.text


async def _difference(caller: Caller, instance_id: str) -> str:
    wished: dict[str, int] = {}
    for entry in (await caller.get("/api/v1/deployments")).json()["deployments"]:
        details = await caller.deployment(entry["deployment_id"])
        if details["status"] == "stopped":
            continue
        if details["status"] != "running" or len(details["replicas"]) != details["replicas_wished"]:
            return f"{details['status']}: {details['reason']}"
        wished |= {replica["id"]: replica["pid"] for replica in details["replicas"]}
    seen = {
        replica: {os.getpgid(process.pid) for process in processes}
        for replica, processes in replicas_of(instance_id).items()
    }
    recorded = {replica: {pid} for replica, pid in wished.items()}
    return "" if seen == recorded else f"process groups {seen}, recorded {recorded}"
