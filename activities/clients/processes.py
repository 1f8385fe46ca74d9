"""Replicas as child processes: each a `runner` in front of a stdio server."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID
from weakref import WeakValueDictionary

import psutil
import structlog

from activities.clients.output import Output, keep_stream
from activities.drivers import ReplicaFault, ReplicaSpec, Stream, Usage
from activities.finishing import to_its_end
from mcp_platform.names import REPLICA_MARKER
from mcp_platform.variables import Mask

logger = structlog.get_logger(__name__)

_LISTEN_TIMEOUT = 20.0
_KILLED_WITHIN = 10.0
_LAST_WORDS = 2.0
_START_SHARE = 0.9
"""The runner gives up a little before we do, as it knows better why."""


@dataclass
class RunningProcess:
    """A replica's process group, as the worker that started it sees it."""

    replica_id: UUID
    process: asyncio.subprocess.Process
    mask: Mask
    output: Output
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    container: None = None
    health_url: None = None
    _drains: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The runner's process id, which is also its group's."""
        return self.process.pid

    @property
    def shown_url(self) -> str:
        """The address: there is nothing secret in it."""
        return self.url

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines that it wrote."""
        return self.output.tail

    async def exited(self) -> str:
        """Wait until the runner ends, and tell why in words."""
        code = await self.process.wait()
        await self.last_words()
        if said := self.output.runner_said:
            return said
        if code < 0:
            return f"the runner was ended by {signal.Signals(-code).name}"
        return f"the runner exited with status {code}"

    async def last_words(self) -> None:
        """Read what is still in the pipes of a group that has ended, as far as a moment allows."""
        if self._drains:
            await asyncio.wait(self._drains, timeout=_LAST_WORDS)

    async def usage(self) -> Usage | None:
        """Measure its process group; None once nothing of it is left."""
        if self.process.returncode is not None:
            return None
        return await asyncio.to_thread(_measure, self.pid)

    async def silence(self) -> str | None:
        """Nothing: the runner listens before it says its port."""
        return None


class ProcessDriver:
    """Starts, finds and ends process replicas of one platform on this machine.

    Each runner leads a process group of its own and holds a pipe to this process as its lifeline:
    however this process ends, its replicas end too. What slips through (a server that ignores
    everything) is found by the marker in its environment.
    """

    def __init__(self, instance_id: str, stop_grace: float) -> None:
        self._instance_id = instance_id
        self._stop_grace = stop_grace
        self._running: dict[UUID, RunningProcess] = {}
        # A second attempt may begin while one that lost its heartbeat is still at work.
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def check(self) -> None:
        """Return: processes can always be started."""

    async def find(self, spec: ReplicaSpec) -> RunningProcess | None:
        """Find the replica, if this process started it and it still runs."""
        running = self._running.get(spec.replica_id)
        return running if running and running.process.returncode is None else None

    async def ensure_running(self, spec: ReplicaSpec) -> RunningProcess:
        """Give the replica's process: the one that runs already, or a new one.

        Raises:
            ReplicaFault: The runner could not be started.
        """
        async with self._alone(spec.replica_id):
            if running := await self.find(spec):
                return running
            # Another worker that died may have left this very replica behind.
            await self._remove(spec.replica_id)
            return await self._start(spec)

    async def ensure_absent(self, replica_id: UUID) -> None:
        """End the replica's whole process group; finding none is success."""
        async with self._alone(replica_id):
            await self._remove(replica_id)

    async def sweep(self, wanted: set[UUID], older_than: float) -> list[UUID]:
        """End marked processes that belong to no wanted replica, and say which replicas they were.

        Args:
            wanted: Replicas that may run.
            older_than: Seconds; younger processes are left alone, as their record may not be read yet.
        """
        ended: set[UUID] = set()
        for process in await asyncio.to_thread(lambda: list(self._marked())):
            with suppress(psutil.Error, ValueError):
                replica_id = UUID(_marker_of(process))
                if replica_id not in wanted and time.time() - process.create_time() >= older_than:
                    ended.add(replica_id)
        for replica_id in ended:
            await self.ensure_absent(replica_id)
            logger.warning("replica_without_owner_ended", replica_id=str(replica_id))
        return sorted(ended)

    async def living(self) -> set[UUID]:
        """Replicas of which any process is alive on this machine."""
        found: set[UUID] = set()
        for process in await asyncio.to_thread(lambda: list(self._marked())):
            with suppress(psutil.Error, ValueError):
                found.add(UUID(_marker_of(process)))
        return found

    async def close(self) -> None:
        """End every replica that this process started."""
        async with asyncio.TaskGroup() as group:
            for replica_id in list(self._running):
                group.create_task(self.ensure_absent(replica_id))

    def _alone(self, replica_id: UUID) -> asyncio.Lock:
        return self._locks.setdefault(replica_id, asyncio.Lock())

    async def _start(self, spec: ReplicaSpec) -> RunningProcess:
        process = await self._spawn(spec)
        running = RunningProcess(spec.replica_id, process, spec.mask, Output(spec.log, spec.mask))
        self._running[spec.replica_id] = running
        assert process.stdout is not None
        assert process.stderr is not None
        running._drains.append(_draining(process.stderr, Stream.STDERR, running.output))
        reason: str | None = None
        try:
            reason = await self._silence(running, process.stdout)
        finally:
            if not running.url:
                # Also where we are called off, at whichever step: without an address it is no replica.
                await to_its_end(self._remove(spec.replica_id))
        if reason is not None:
            raise ReplicaFault(reason, running.stderr_tail)
        running._drains.append(_draining(process.stdout, Stream.STDOUT, running.output))
        return running

    async def _silence(self, running: RunningProcess, stdout: asyncio.StreamReader) -> str | None:
        """Wait until the runner says its port; else tell why it does not."""
        try:
            async with asyncio.timeout(_LISTEN_TIMEOUT):
                line = await stdout.readline()
            running.url = f"http://127.0.0.1:{json.loads(line)['port']}/mcp"
        except (TimeoutError, ValueError, KeyError):
            return await self._why_not(running)
        return None

    async def _remove(self, replica_id: UUID) -> None:
        groups = await asyncio.to_thread(self._groups_of, replica_id)
        running = self._running.get(replica_id)
        if running:
            groups.add(running.pid)
        await self._end(groups)
        if running:
            await running.process.wait()
            await running.last_words()
            for drain in running._drains:
                drain.cancel()
            self._running.pop(replica_id, None)

    async def _spawn(self, spec: ReplicaSpec) -> asyncio.subprocess.Process:
        options = ["--start-timeout", str(spec.patience * _START_SHARE), "--grace", str(self._stop_grace)]
        server = spec.server
        if server.command is None:
            raise ReplicaFault(f"server {server.name!r} has no command")
        if server.cwd:
            options += ["--cwd", server.cwd]
        try:
            # -P keeps the current folder off the module path: a file there must not shadow ours.
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", "runner", "--host", "127.0.0.1", "--port", "0", *options, "--"),
                *(server.command, *server.args),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={**_base_environment(), **server.env, REPLICA_MARKER: self._mark(spec.replica_id)},
            )
        except (OSError, ValueError) as error:
            raise ReplicaFault(f"cannot start a process: {error}") from None

    async def _why_not(self, running: RunningProcess) -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0 + _LAST_WORDS):
                return await running.exited()
        return f"the runner did not listen within {_LISTEN_TIMEOUT:.0f} s"

    def _mark(self, replica_id: UUID) -> str:
        return f"{self._instance_id}/{replica_id}"

    def _marked(self) -> Iterator[psutil.Process]:
        prefix = f"{self._instance_id}/"
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(REPLICA_MARKER, "").startswith(prefix):
                    yield process

    def _groups_of(self, replica_id: UUID) -> set[int]:
        groups: set[int] = set()
        for process in self._marked():
            if _marker_of(process) == str(replica_id):
                with suppress(ProcessLookupError):
                    groups.add(os.getpgid(process.pid))
        return groups - {os.getpgrp()}

    async def _end(self, groups: set[int]) -> None:
        """Ask nicely, wait for the grace time, then kill; whole groups, as servers have children."""
        _signal_groups(groups, signal.SIGTERM)
        if not await _gone(groups, self._stop_grace):
            _signal_groups(groups, signal.SIGKILL)
            # Nothing of it may run any more when we return, and a busy kernel takes its time.
            await _gone(groups, _KILLED_WITHIN)


async def _gone(groups: set[int], within: float) -> bool:
    """Wait until no process of these groups lives; whether that was so within these seconds."""
    deadline = time.monotonic() + within
    while await asyncio.to_thread(_any_lives, groups):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def _marker_of(process: psutil.Process) -> str:
    """Give the replica id in a process's marker."""
    try:
        return process.environ().get(REPLICA_MARKER, "").partition("/")[2]
    except (psutil.Error, OSError):
        return ""


def _any_lives(groups: set[int]) -> bool:
    """Whether any process of these groups is more than a zombie."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) in groups and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _signal_groups(groups: set[int], number: signal.Signals) -> None:
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _base_environment() -> dict[str, str]:
    """Give what every program needs. The platform's own environment stays behind: it holds secrets."""
    folder = os.path.dirname(sys.executable)
    path = os.environ.get("PATH", os.defpath)
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "TZ", "USER") if name in os.environ}
    return {**kept, "PATH": f"{path}{os.pathsep}{folder}", "PYTHONUNBUFFERED": "1"}


def _draining(pipe: asyncio.StreamReader, stream: Stream, output: Output) -> asyncio.Task[None]:
    return asyncio.create_task(keep_stream(pipe, stream, output))


def _measure(group: int) -> Usage | None:
    """Add up what the living processes of a group use."""
    cpu, memory, found = 0.0, 0, False
    for pid in _members(group):
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                # What ended children used counts too: a group's time must not run backwards.
                cpu += times.user + times.system + times.children_user + times.children_system
                memory += process.memory_info().rss
            found = True
    return Usage(cpu, memory) if found else None


def _members(group: int) -> Iterator[int]:
    """Find a group's processes, without opening each process of the machine."""
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == group:
                yield pid
