"""`python -m runner --port 0 -- COMMAND ARGS…`: exit statuses are listed in `ExitStatus`.

In a container the command comes by the environment instead: `MCP_RUNNER_COMMAND`, a JSON list, and
`MCP_RUNNER_CWD`. Arguments may hold secrets, and a container's own command line is shown to many.
"""

import argparse
import asyncio
import os
import signal
import stat
import sys
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import orjson
from aiohttp import web

from mcp_platform.duplex import DuplexSession, NotMcp, SessionLost
from runner.changes import Changes
from runner.child import ServerProcess, exit_text, start_server
from runner.endpoint import CLIENT_INFO, create_app
from runner.sessions import Bounds, Sessions

_COMMAND = "MCP_RUNNER_COMMAND"
_FOLDER = "MCP_RUNNER_CWD"


class ExitStatus(IntEnum):
    """How the runner ended."""

    ASKED = 0
    """Its parent is gone, or it was asked to end."""
    NOT_LISTENING = 1
    SERVER_EXITED = 3
    NOT_MCP = 4
    NO_SUCH_COMMAND = 127


class _Outcome(NamedTuple):
    status: ExitStatus
    message: str | None = None


def main() -> int:
    """Serve until the server or the parent ends."""
    parser = _parser()
    options = parser.parse_args()
    try:
        _take_environment(options)
    except ValueError as error:
        parser.error(str(error))
    outcome = asyncio.run(_run(options))
    if outcome.message:
        sys.stderr.write(f"runner: {outcome.message}\n")
    return outcome.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runner", description="Serve a stdio MCP server over HTTP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cwd", type=Path)
    parser.add_argument("--start-timeout", type=float, default=30.0)
    parser.add_argument("--grace", type=float, default=3.0)
    parser.add_argument("--most-sessions", type=int, default=16, help="that have a server of their own")
    parser.add_argument("--session-idle", type=float, default=600.0, help="seconds until one of these ends")
    parser.add_argument("command", nargs="*", help=f"the server and its arguments, after --; else {_COMMAND}")
    return parser


def _take_environment(options: argparse.Namespace) -> None:
    """Read what the environment says, and take it out: the server does not get it.

    Raises:
        ValueError: No command is given, or not as a JSON list.
    """
    told, folder = os.environ.pop(_COMMAND, None), os.environ.pop(_FOLDER, None)
    if not options.command:
        if told is None:
            raise ValueError(f"give a command after --, or in {_COMMAND} as a JSON list")
        options.command = _read_command(told)
    if options.cwd is None and folder:
        options.cwd = Path(folder)


def _read_command(text: str) -> list[str]:
    try:
        command = orjson.loads(text)
    except orjson.JSONDecodeError:
        command = None
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise ValueError(f"{_COMMAND} must be a JSON list of strings, the program first")
    return command


async def _run(options: argparse.Namespace) -> _Outcome:
    changes = Changes()
    session = DuplexSession(CLIENT_INFO, changes.hear)
    sessions = _sessions(options)
    try:
        server = await start_server(options.command, options.cwd, session.receive)
    except OSError as error:
        return _Outcome(
            ExitStatus.NO_SUCH_COMMAND, f"cannot run {options.command[0]}: {error.strerror}: {error.filename}"
        )
    session.attach(server)
    app = create_app(session, sessions, changes)
    http = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    sweeping = asyncio.create_task(sessions.end_idle())
    try:
        await http.setup()
        site = web.TCPSite(http, options.host, options.port, backlog=1024)
        await site.start()
        asked = _asked_by_signal()
        _announce(http)
        return await _watch(server, session, options.start_timeout, asked)
    except OSError as error:
        return _Outcome(ExitStatus.NOT_LISTENING, f"cannot listen on port {options.port}: {error.strerror}")
    finally:
        session.lose("the runner is ending")
        changes.close()
        sweeping.cancel()
        # The sessions' servers end meanwhile: all of this runner's processes are its own server's.
        await asyncio.gather(sessions.close(), server.end(0.0 if server.exited.done() else options.grace))
        await http.cleanup()


def _sessions(options: argparse.Namespace) -> Sessions:
    async def start(receive: Callable[[bytes], None], mark: str) -> ServerProcess:
        return await start_server(options.command, options.cwd, receive, mark)

    bounds = Bounds(options.most_sessions, options.session_idle, options.start_timeout, options.grace)
    return Sessions(start, bounds, CLIENT_INFO)


def _announce(http: web.AppRunner) -> None:
    port = http.addresses[0][1]
    sys.stdout.write(orjson.dumps({"event": "listening", "port": port}).decode() + "\n")
    sys.stdout.flush()


def _asked_by_signal() -> asyncio.Event:
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


async def _watch(
    server: ServerProcess, session: DuplexSession, patience: float, asked: asyncio.Event
) -> _Outcome:
    """Wait for the first thing that ends the runner."""
    lifeline = await _hold_lifeline(asked)
    watches: set[asyncio.Task[_Outcome | None]] = {
        asyncio.create_task(_opened(session, patience)),
        asyncio.create_task(_ended(server, session)),
        asyncio.create_task(_asked(asked)),
    }
    try:
        while True:
            done, watches = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                outcome = task.result()
                if outcome is not None:
                    return outcome
    finally:
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        if lifeline is not None:
            lifeline.close()


async def _asked(asked: asyncio.Event) -> _Outcome:
    await asked.wait()
    return _Outcome(ExitStatus.ASKED)


async def _opened(session: DuplexSession, patience: float) -> _Outcome | None:
    try:
        await session.negotiate(patience)
    except NotMcp as error:
        return _Outcome(ExitStatus.NOT_MCP, str(error))
    except SessionLost:
        return None  # its end is reported by whoever saw it
    return None


async def _ended(server: ServerProcess, session: DuplexSession) -> _Outcome:
    await server.ending.wait()
    # A server that exits closes its output too, mostly a moment earlier.
    await asyncio.wait({server.exited}, timeout=1.0)
    if server.exited.done():
        reason = f"the server {exit_text(server.exited.result())}"
    else:
        reason = "the server closed its standard output"
    session.lose(reason)
    return _Outcome(ExitStatus.SERVER_EXITED, reason)


class _Lifeline(asyncio.Protocol):
    """Our standard input: its other end closes when the parent dies, however it dies."""

    def __init__(self, asked: asyncio.Event) -> None:
        self._asked = asked

    def connection_lost(self, exc: Exception | None) -> None:
        self._asked.set()


async def _hold_lifeline(asked: asyncio.Event) -> asyncio.BaseTransport | None:
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return None  # a container without standard input is ended by a signal
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: _Lifeline(asked), sys.stdin)
    return transport


if __name__ == "__main__":
    sys.exit(main())
