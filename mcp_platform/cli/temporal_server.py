"""The embedded Temporal server, as a child process that is kept alive and never outlives us.

A power cut loses nothing: the database file is written with WAL and `synchronous=FULL`. On Linux the
kernel ends the server with us; elsewhere the next start ends what the file `temporal.pid` names. That
file is locked for as long as its owner lives.
"""

import asyncio
import errno
import socket
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import psutil
import structlog
from temporalio.service import ConnectConfig, RPCError, ServiceClient

from mcp_platform.cli.temporal_program import TemporalUnavailable, find_or_get, locked, tied

__all__ = ["TemporalServer", "TemporalUnavailable", "find_or_get"]

logger = structlog.get_logger(__name__)

DYNAMIC_CONFIG: Final = {
    "frontend.namespaceCount": "10000",
    "history.timerProcessorMaxPollRPS": "5000",
    "history.transferProcessorMaxPollRPS": "5000",
    "history.visibilityProcessorMaxPollRPS": "5000",
    "matching.enableFairness": "true",
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    "matching.useNewMatcher": "true",
    "system.enableActivityEagerExecution": "true",
}
"""Without these a workflow with one activity takes eight times as long: temporal/dynamicconfig/dev.yaml."""

READY_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 5.0
FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 5.0
STEADY_AFTER: Final = 30.0
"""A server that lived this long is restarted with the first delay again."""
LOG_LIMIT: Final = 10 * 1024 * 1024


class TemporalServer:
    """A Temporal dev server on a database file, kept alive for as long as the context lasts.

    Args:
        path: The `temporal` program.
        data_dir: Where `temporal.db`, `temporal.log` and `temporal.pid` are.
        host: The address to listen on, for the frontend and the web UI.
        port: The frontend's port.
        ui_port: The web UI's port.
    """

    def __init__(
        self, path: Path, data_dir: Path, host: str = "127.0.0.1", port: int = 7233, ui_port: int = 8233
    ) -> None:
        self._path = path
        self._data_dir = data_dir.absolute()
        self._database = self._data_dir / "temporal.db"
        self._log_file = self._data_dir / "temporal.log"
        self._host = host
        self._port = port
        self._ui_port = ui_port
        self._process: asyncio.subprocess.Process | None = None
        self._owned: IO[str] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Host and port of the frontend."""
        return f"{self._host}:{self._port}"

    @property
    def ui_url(self) -> str:
        """Where the web UI is."""
        return f"http://{self._host}:{self._ui_port}"

    @property
    def pid(self) -> int | None:
        """The server's process id; none while it is away."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def __aenter__(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            TemporalUnavailable: A port is taken, the folder is in use or cannot be written, or the
                server ended or did not answer in time.
        """
        try:
            await self._own_the_folder()
            await self._launch()
            await self._until_ready()
        except OSError as error:
            await self._end()
            raise TemporalUnavailable(f"Temporal's server cannot start: {error}") from error
        except BaseException:
            await self._end()
            raise
        self._keeper = asyncio.create_task(self._keep_alive(), name="temporal-server")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server; its history stays in the database file."""
        await self._end()

    async def _own_the_folder(self) -> None:
        clearing = asyncio.create_task(asyncio.to_thread(self._clear_the_way))
        try:
            await asyncio.shield(clearing)
        finally:
            # A thread cannot be cancelled: what it has locked by then is to be given back.
            await asyncio.gather(clearing, return_exceptions=True)

    def _clear_the_way(self) -> None:
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            self._owned = locked(self._data_dir / "temporal.pid")
        except OSError as error:
            raise TemporalUnavailable(
                f"{self._data_dir} cannot be written: {error.strerror}; choose another with --data-dir"
            ) from error
        if self._owned is None:
            raise TemporalUnavailable(
                f"{self._data_dir} is in use by another running platform;"
                " stop that one, or choose another folder with --data-dir"
            )
        self._end_stale(self._owned)
        with ExitStack() as probes:
            for port, option in ((self._port, "--temporal-port"), (self._ui_port, "--temporal-ui-port")):
                probes.enter_context(_listening(self._host, port, option))

    def _end_stale(self, record: IO[str]) -> None:
        """End the server that a killed owner left behind, if the process is truly that one."""
        record.seek(0)
        with suppress(ValueError, psutil.Error):
            stale = psutil.Process(int(record.read()))
            command = stale.cmdline()
            if "start-dev" not in command or str(self._database) not in command:
                return
            logger.warning("stale_temporal_server_ended", pid=stale.pid)
            stale.terminate()
            try:
                stale.wait(STOP_TIMEOUT)
            except psutil.TimeoutExpired:
                stale.kill()
                stale.wait(STOP_TIMEOUT)

    def _record(self, pid: int | None) -> None:
        if self._owned is not None:
            self._owned.seek(0)
            self._owned.truncate()
            self._owned.write(str(pid or ""))
            self._owned.flush()

    def _command(self) -> list[str]:
        command = [str(self._path), "server", "start-dev", "--ip", self._host, "--port", str(self._port)]
        command += ["--ui-ip", self._host, "--ui-port", str(self._ui_port)]
        command += ["--db-filename", str(self._database)]
        command += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL"]
        command += ["--log-level", "warn", "--log-format", "json"]
        for key, value in DYNAMIC_CONFIG.items():
            command += ["--dynamic-config-value", f"{key}={value}"]
        return command

    async def _launch(self) -> None:
        # A session of its own: Ctrl-C must reach the workers first, and the server last.
        with _rotated(self._log_file) as log:
            self._process = await asyncio.create_subprocess_exec(
                *tied(self._command()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._record(self._process.pid)

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                while not await self._answers():
                    if self.pid is None:
                        raise TemporalUnavailable(
                            f"Temporal's server ended at its start: {_last_line(self._log_file)}\n"
                            f"Its log is {self._log_file}"
                        )
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise TemporalUnavailable(
                f"Temporal's server did not answer within {READY_TIMEOUT:g} s; its log is {self._log_file}"
            ) from error

    async def _answers(self) -> bool:
        try:
            for port in (self._ui_port, self._port):
                _, writer = await asyncio.open_connection(self._host, port)
                writer.close()
                await writer.wait_closed()
            client = await ServiceClient.connect(ConnectConfig(target_host=self.address, lazy=True))
            return await client.check_health(retry=False, timeout=timedelta(seconds=1))
        except (OSError, RPCError, RuntimeError):
            return False

    async def _keep_alive(self) -> None:
        """Start the server again, with growing delays, whenever it died."""
        clock = asyncio.get_running_loop().time
        delay = FIRST_DELAY
        while self._process is not None:
            started = clock()
            status = await self._process.wait()
            if clock() - started > STEADY_AFTER:
                delay = FIRST_DELAY
            logger.warning("temporal_server_died", exit_status=status, restart_in=delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)
            try:
                await self._launch()
            except OSError as error:
                logger.error("temporal_server_not_started", error=str(error))

    async def _end(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            await _ended(process)
        if self._owned is not None:
            self._record(None)
            self._owned.close()
            self._owned = None


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Ask the process to end, and make it end when it does not; also when cancelled meanwhile."""
    try:
        process.terminate()
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except (TimeoutError, ProcessLookupError):
        pass
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _listening(host: str, port: int, option: str) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken by another program" if taken else f"cannot be used on {host} ({error.strerror})"
        raise TemporalUnavailable(f"port {port} {reason}; choose another with {option}") from error


def _rotated(path: Path) -> IO[bytes]:
    """Open a log for appending; one that has grown too large is put aside, replacing the one before."""
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


def _last_line(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 4096))
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
