"""The `temporal` program that the embedded server runs: found, downloaded, or built once and kept."""

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

from mcp_platform.settings import Settings, TemporalSettings

GO_MODULE: Final = "github.com/temporalio/cli/cmd/temporal@v1.5.1"
"""The newest version that `go install` can build, and the least that the platform is tested on."""

DOWNLOAD_TIMEOUT: Final = 60.0
BUILD_TIMEOUT: Final = 1200.0

_REMEDIES: Final = (
    "Install Temporal's CLI (1.5.1 or newer) on PATH, or name its program in"
    " MCP_PLATFORM_TEMPORAL__SERVER_PATH, or install Go so that it can be built."
)
_DOWNLOAD: Final = """
import asyncio, os, sys
from temporalio.testing import WorkflowEnvironment
async def main():
    async with await WorkflowEnvironment.start_local(download_dest_dir=sys.argv[1]):
        pass
asyncio.run(main())
os._exit(0)  # the SDK may crash at the interpreter's own exit
"""
# The kernel sends SIGKILL (9) to this process when its parent dies (PR_SET_PDEATHSIG, 1), and goes on
# doing so after exec. A parent that died before the call is noticed by its id.
_TIE: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class TemporalUnavailable(Exception):
    """Temporal's server cannot be had or cannot start; the message names the remedy."""


async def find_or_get(settings: TemporalSettings, say: Callable[[str], None]) -> Path:
    """Return the `temporal` program: the given one, PATH's, the kept one, a download, or a build.

    Args:
        settings: Where to look, and where to keep what is downloaded or built.
        say: Told, in a sentence, about anything that takes longer than a moment.

    Raises:
        TemporalUnavailable: The given program does not run, or there is no way to get one.
    """
    if settings.server_path is not None:
        given = settings.server_path.absolute()
        if not _is_program(given):
            raise TemporalUnavailable(
                f"MCP_PLATFORM_TEMPORAL__SERVER_PATH names {given}, which is no executable file;"
                " correct it, or leave it out to have Temporal's server found or got"
            )
        return given
    if on_path := shutil.which("temporal"):
        return Path(on_path)
    kept = settings.cache_dir.absolute() / "temporal"
    if _is_program(kept):
        return kept
    try:
        await asyncio.to_thread(kept.parent.mkdir, parents=True, exist_ok=True)
        async with _alone(kept.with_name("lock"), say):
            return kept if _is_program(kept) else await _get(kept, say)
    except OSError as error:
        raise TemporalUnavailable(
            f"cannot keep Temporal's server in {kept.parent}: {error.strerror}\n{_REMEDIES}"
        ) from error


async def _get(kept: Path, say: Callable[[str], None]) -> Path:
    """Download the program, or build it, beside its place, and move it there whole."""
    for left_over in kept.parent.glob("new-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="new-", ignore_cleanup_errors=True) as name:
        new = Path(name)
        say("Downloading Temporal's server; this happens once")
        download = [sys.executable, "-c", _DOWNLOAD, name]
        problem = await _run(download, DOWNLOAD_TIMEOUT, {})
        if problem:
            say(f"The download did not work ({problem})")
            await _build(new, say)
        _keep_program(new, kept)
    say(f"Temporal's server is now in {kept}")
    return kept


def _keep_program(new: Path, kept: Path) -> None:
    programs = [path for path in new.iterdir() if _is_program(path)]
    if not programs:
        raise TemporalUnavailable(f"Getting Temporal's server left no program behind.\n{_REMEDIES}")
    programs[0].replace(kept)


async def _build(into: Path, say: Callable[[str], None]) -> None:
    go = shutil.which("go")
    if go is None:
        raise TemporalUnavailable(
            f"Temporal's server is not installed and cannot be downloaded.\n{_REMEDIES}"
        )
    say("Building Temporal's server with Go; this happens once and takes about 3 minutes")
    if problem := await _run([go, "install", GO_MODULE], BUILD_TIMEOUT, {"GOBIN": str(into)}):
        raise TemporalUnavailable(f"Temporal's server could not be built: {problem}\n{_REMEDIES}")


async def _run(command: Sequence[str], timeout: float, environment: dict[str, str]) -> str | None:
    """Run a command to its end; returns nothing if it went well, else the last line that it said."""
    process = await asyncio.create_subprocess_exec(
        *tied(command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
    except TimeoutError:
        return f"no end after {timeout:g} s"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode == 0:
        return None
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"exit status {process.returncode}"


@asynccontextmanager
async def _alone(path: Path, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Wait until no other process gets the program; the kernel frees the lock of a dead one."""
    told = False
    while (lock := locked(path)) is None:
        if not told:
            say("Another process is getting Temporal's server; waiting for it")
            told = True
        await asyncio.sleep(0.2)
    with lock:
        yield


def locked(path: Path) -> IO[str] | None:
    """Open and lock a file; nothing when another owner holds it. A dead owner holds nothing."""
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def tied(command: Sequence[str]) -> list[str]:
    """Make a command end when this process does, by whatever cause.

    A shim does it, because `preexec_fn` may deadlock in a process with threads.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-ISc", _TIE, str(os.getpid()), *command]


def main() -> int:
    """Find or get the program and print its path: what `make install` does ahead of `up`."""
    try:
        path = asyncio.run(find_or_get(Settings().temporal, lambda line: print(line, file=sys.stderr)))
    except TemporalUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    print(path)
    return 0
