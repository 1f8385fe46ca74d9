"""The official conformance suite, and the fixture server that it is pointed at."""

import asyncio
import json
import platform
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services.process import unavailable

_ROOT: Final = Path(__file__).parents[2]
_INSTALLED: Final = _ROOT / ".cache/services/npm/node_modules"
_MACHINES: Final = {"x86_64": "x64", "aarch64": "arm64"}
_PATIENCE: Final = 240.0
_STARTING: Final = 60.0
_STOPPING: Final = 10.0


def node() -> str:
    """Find the Node 22 that the suite needs; Debian's is too old for it."""
    found = _INSTALLED / f"node-linux-{_MACHINES.get(platform.machine(), '')}" / "bin/node"
    return str(found) if found.exists() else unavailable("Node 22 is not installed")


def script(package: str, path: str) -> str:
    """Find a program of a package from npm."""
    found = _INSTALLED / package / path
    return str(found) if found.exists() else unavailable(f"{package} is not installed")


@dataclass(frozen=True)
class Verdict:
    """What the suite says."""

    status: int
    failures: list[str]
    """The checks that failed, each with its scenario and what was expected; unscored ones included."""
    output: str

    @property
    def conforms(self) -> bool:
        """Whether all is well, what is not scored included, such as the tasks extension."""
        return self.status == 0 and not self.failures

    def __str__(self) -> str:
        return "\n".join([f"exit status {self.status}", *self.failures, "", self.output[-2000:]])


async def judge(url: str, requirements: str, folder: Path, *more: str) -> Verdict:
    """Run what a revision of the protocol demands of a server."""
    suite = script("@modelcontextprotocol/conformance", "dist/index.js")
    command = [
        node(),
        suite,
        "server",
        "--url",
        url,
        "--requirements",
        requirements,
        "-o",
        str(folder),
        *more,
    ]
    status, output = await _run(command)
    return Verdict(status, _failures(folder), output)


async def inspect(url: str, era: str, *given: str) -> tuple[int, str]:
    """Run Inspector's command line; its exit status and its output."""
    inspector = script("@modelcontextprotocol/inspector", "clients/launcher/build/index.js")
    fixed = ["--cli", url, "--transport", "http", "--protocol-era", era, "--format", "json", "-q"]
    return await _run([node(), inspector, *fixed, *given])


async def _run(command: Sequence[str]) -> tuple[int, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(_PATIENCE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


def _failures(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*/checks.json")):
        scenario = path.parent.name.removeprefix("server-").rsplit("-20", 1)[0]
        found += [
            f"{scenario}: {check['id']}: {check.get('errorMessage')} (wanted: {check.get('description')})"
            for check in json.loads(path.read_text())
            if check.get("status") == "FAILURE"
        ]
    return found


def fixture_command(*given: str) -> list[str]:
    """Give the command of the fixture server."""
    return [sys.executable, "-W", "ignore", "-m", "tests.conformance.everything", *given]


@asynccontextmanager
async def everything(transport: str = "http", era: str = "both") -> AsyncIterator[str]:
    """Run the fixture server in a process of its own; its address."""
    command = fixture_command("--port", "0", "--transport", transport, "--era", era)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdout=pipe)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_STARTING):
            port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}/{'mcp' if transport == 'http' else 'sse'}"
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOPPING):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
