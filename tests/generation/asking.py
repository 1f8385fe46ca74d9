"""What a platform that writes configurations talks to: a model, registries and a Git server on loopback."""

import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from unittest.mock import patch

from pydantic import SecretStr
from temporalio.client import Client

from activities.checks.sandboxes import Sandbox, Sandboxes
from mcp_platform.check_settings import PackageSettings
from mcp_platform.contracts.checks import Registry, TrialOrder
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.known_servers import shipped_servers
from tests.checks.registries import LocalRegistry, local_registry
from tests.deployments.servers import TINY
from tests.images.git_server import GitServer, git_server
from tests.models.provider import Asked, Provider, running_provider
from tests.platform import Caller, RunningPlatform, quick_settings, running_platform
from tests.services.temporal import new_namespace

PROMPT: Final = "generate-config"

UNTRIED: dict[str, Any] = {"try": False}
"""Has nothing started: for tests that are about something else."""

LAUNCHER = """\
#!{python}
import os, sys
words = [word for word in sys.argv[1:] if word != "-y"]
while words and words[0].startswith("-"):
    words = words[1:] if "=" in words[0] else words[2:]
name = words[0].partition("==")[0]
name = name[:1] + name[1:].partition("@")[0]
program = os.path.join({folder!r}, name.rpartition("/")[2])
if not os.path.exists(program):
    sys.exit("the launcher of the tests cannot get " + words[0])
os.execv(program, [program, *words[1:]])
"""
"""What `uvx` and `npx` do, without getting anything: it runs what is installed already, by its name."""

SERVER = (
    "#!{python}\nimport runpy, sys\n"
    "sys.argv = [{tiny!r}, {word!r}]\nrunpy.run_path({tiny!r}, run_name='__main__')\n"
)
BROKEN = "#!{python}\nimport sys\nsys.exit('the configuration file is missing')\n"
WANTS_TOKEN = (
    "#!{python}\nimport os, runpy, sys\n"
    "if os.environ.get('SERVICE_TOKEN', 'placeholder') == 'placeholder':\n"
    "    sys.exit('SERVICE_TOKEN is not accepted')\n"
    "runpy.run_path({tiny!r}, run_name='__main__')\n"
)

TINY_PROJECT: Final = {
    "pyproject.toml": """\
[project]
name = "tiny-mcp"
description = "Says a word"
dependencies = ["mcp>=1"]
[project.scripts]
helper = "tiny:help"
tiny-mcp = "tiny:main"
"""
}
"""The files of a repository with a server, as far as they are read."""

PROGRAMS: Final = {
    "tiny-mcp": SERVER,
    "mcp-server-tiny": SERVER,
    "mcp-server-broken": BROKEN,
    "mcp-server-token": WANTS_TOKEN,
    # The registry of the tests answers 503 when it is asked for this one.
    "broken": SERVER,
}


class Containers(Sandboxes):
    """Run strangers' commands as processes, in the place of the containers that no engine here runs."""

    here: ClassVar[bool] = True
    """Whether there are any."""

    async def of(self, order: TrialOrder, server: ServerConfig) -> Sandbox:
        """Give what runs it."""
        runs = order.may_run_commands or self.here
        return await super().of(order.model_copy(update={"may_run_commands": runs}), server)


@dataclass
class Generating:
    """The platform, and all that it talks to."""

    platform: RunningPlatform
    provider: Provider
    registry: LocalRegistry
    git: GitServer
    admin: Caller

    async def task(self, caller: Caller | None = None, **body: Any) -> dict[str, Any]:
        """Ask for a configuration, and wait until the task has ended."""
        asking = caller or self.admin
        answer = await asking.post("/api/v1/analyze/generate-config", json=body)
        assert answer.status_code == 202, answer.text
        return await asking.task_is(answer.json()["task_id"], "completed", "failed")

    async def result(self, caller: Caller | None = None, **body: Any) -> dict[str, Any]:
        """Do the same, and give the result."""
        task = await self.task(caller, **body)
        assert task["status"] == "completed", task["error"]
        result: dict[str, Any] = task["result"]
        return result

    async def error(self, caller: Caller | None = None, **body: Any) -> str:
        """Do the same, and give why it failed."""
        task = await self.task(caller, **body)
        assert task["status"] == "failed", task
        error: str = task["error"]
        return error


def draft(package: str | None = "mcp-server-tiny", **changes: Any) -> dict[str, Any]:
    """Give what a model answers that drafts a package of PyPI."""
    server = {"registry": "pypi", "package": package} | changes.pop("server", {})
    answer = {
        "server": server,
        "name": "Word sayer",
        "slug": "word-sayer",
        "description": "Says a word.",
        "explanation": "It says words, as the choir wants.",
    }
    return answer | changes


def turns(*answers: dict[str, Any]) -> Callable[[Asked], dict[str, Any]]:
    """Answer with one after the other, and with the last for ever."""
    waiting = list(answers)
    return lambda _asked: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def package(name: str, *versions: str) -> dict[str, Any]:
    """Give what PyPI says of a package."""
    released = [{"yanked": False, "upload_time_iso_8601": "2026-02-02T00:00:00.000000Z"}]
    return {
        "info": {"name": name, "version": versions[-1], "summary": "", "license": "MIT", "yanked": False},
        "releases": dict.fromkeys(versions, released),
    }


def install(folder: Path, name: str, text: str) -> None:
    """Put a program where the launchers find it."""
    path = folder / name
    path.write_text(text.format(python=sys.executable, tiny=str(TINY), word=name, folder=str(folder)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def launchable(folder: Path) -> None:
    """Fill a folder with launchers, and what they can launch."""
    programs = folder / "programs"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        install(programs, name, text)
    os.symlink(Path(sys.executable).parent / "mcp-server-time", programs / "mcp-server-time")
    for name in ("uvx", "npx"):
        path = folder / name
        path.write_text(LAUNCHER.format(python=sys.executable, folder=str(programs)))
        path.chmod(0o755)


@asynccontextmanager
async def generating_platform(folder: Path, client: Client) -> AsyncIterator[Generating]:
    """Run the platform with all that it talks to."""
    launchers = folder / "launchers"
    launchers.mkdir()
    launchable(launchers)
    (folder / "git").mkdir()
    path = f"{launchers}{os.pathsep}{os.environ['PATH']}"
    async with (
        running_provider() as provider,
        local_registry() as registry,
        git_server(folder / "git") as git,
    ):
        registry.documents |= {f"/pypi/{name}/json": package(name, "1.0.0") for name in PROGRAMS}
        registry.documents |= {
            f"/pypi/{server.package}/json": package(server.package, server.version)
            for server in shipped_servers()
            if server.registry is Registry.PYPI and server.package and server.version
        }
        # First, as it takes a while: the settings name a port that is free only now.
        namespace = await new_namespace(client)
        address = SecretStr(registry.url)
        settings = quick_settings(folder).model_copy(
            update={
                "models": provider.settings(),
                "packages": PackageSettings(pypi_url=address, npm_url=address),
            }
        )
        with (
            patch.dict(os.environ, {"PATH": path}),
            patch("activities.checks.trials.Sandboxes", Containers),
        ):
            async with running_platform(settings, namespace) as platform:
                yield Generating(platform, provider, registry, git, await platform.admin())
