"""The stdio server's process: its lines, its end, and the certainty that it does not outlive us."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

MAX_LINE_BYTES = 64 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_MARK = "MCP_RUNNER_SESSION"
"""Inherited by whatever a session's own server starts, also where its parent is gone."""


class ServerProcess(asyncio.SubprocessProtocol):
    """A running stdio server.

    Lines are handed on as they arrive and never queued here; one that grows over `MAX_LINE_BYTES` is
    thrown away, so whatever the server writes, memory stays bounded and its pipe is always emptied.
    """

    def __init__(self, receive: Callable[[bytes], None], mark: str | None) -> None:
        self._mark = mark
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ending = asyncio.Event()
        """Set when the server exited or closed its standard output."""
        self._receive = receive
        self._partial = bytearray()
        self._overlong = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Cut what arrived into lines."""
        first, *others = data.split(b"\n")
        self._partial += first
        for rest in others:
            if not self._overlong:
                self._receive(bytes(self._partial))
            self._partial[:] = rest
            self._overlong = False
        if self._overlong or len(self._partial) > MAX_LINE_BYTES:
            self._overlong = True
            self._partial.clear()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note the end of standard output."""
        if fd == 1:
            self.ending.set()
        self._writable.set()

    def process_exited(self) -> None:
        """Note the exit status."""
        assert self._transport is not None
        status = self._transport.get_returncode()
        if not self.exited.done():
            self.exited.set_result(0 if status is None else status)
        self.ending.set()

    def pause_writing(self) -> None:
        """Note that the server does not read its input fast enough."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that the server caught up."""
        self._writable.set()

    @property
    def writable(self) -> bool:
        """Whether the server reads what it is sent."""
        return self._writable.is_set()

    async def write(self, line: bytes) -> None:
        """Send one line; wait while the server does not read."""
        await self._writable.wait()
        self.write_soon(line)

    def write_soon(self, line: bytes) -> None:
        """Send one line without waiting; nothing happens once the server is gone."""
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(line + b"\n")

    async def end(self, grace: float) -> None:
        """End the server and all that it started: politely, and after `grace` seconds for good."""
        self._signal(signal.SIGTERM)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await asyncio.shield(self.exited)
                    while _group_members(self._mark):  # noqa: ASYNC110 - nobody tells us of other processes' ends
                        await asyncio.sleep(0.02)
        finally:
            # Whoever waits for it may leave before: nobody else would end it then.
            self._signal(signal.SIGKILL)
            if self._transport is not None:
                self._transport.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._transport is not None
        own = [] if self.exited.done() else [self._transport.get_pid()]
        for pid in {*own, *_group_members(self._mark)}:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


async def start_server(
    command: Sequence[str], cwd: Path | None, receive: Callable[[bytes], None], mark: str | None = None
) -> ServerProcess:
    """Start the command with pipes for input and output; its standard error is ours.

    Args:
        command: The program and its arguments.
        cwd: Where it runs.
        receive: Takes its lines.
        mark: Tells it, and what it starts, from other servers that this runner starts. Without one, its
            end is the end of all that run here.

    Raises:
        OSError: The command or the folder does not exist, or may not be run.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_parent() -> None:
        # Runs in the child between fork and exec. The check closes the gap in which the parent
        # may have died before the kernel knew of our wish.
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    _, process = await asyncio.get_running_loop().subprocess_exec(
        lambda: ServerProcess(receive, mark),
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=None,
        cwd=cwd,
        env=None if mark is None else {**os.environ, _MARK: mark},
        preexec_fn=die_with_parent,
    )
    return process


def exit_text(status: int) -> str:
    """Tell a process's end in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _group_members(mark: str | None) -> list[int]:
    """List the other living processes of our process group, if it is ours alone; with a mark those with it.

    The driver starts each runner in a session of its own; started by hand from a shell's script the
    group may hold strangers, and then nobody but the child itself is touched.
    """
    own = os.getpid()
    if os.getpgrp() != own:
        return []
    members = []
    with suppress(FileNotFoundError):  # no /proc on this platform
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != own and _group_of(name) == own and _has_mark(name, mark):
                members.append(int(name))
    return members


def _has_mark(pid: str, mark: str | None) -> bool:
    if mark is None:
        return True
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{_MARK}={mark}".encode() in file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def _group_of(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in parentheses, may itself hold spaces and parentheses.
            state, _parent, group = file.read().rpartition(b")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return None if state == b"Z" else int(group)
