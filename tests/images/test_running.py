"""A built image answers MCP, as containers run it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from activities.clients.probe import McpProbe
from activities.drivers import ReplicaFault
from tests.images.builds import FIRST_BUILD, Builds
from tests.images.git_server import GitServer
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(FIRST_BUILD + 60)

SERVER: Final = Path(__file__).parents[1] / "runner/servers.py"


@asynccontextmanager
async def running(builds: Builds, image: str, command: list[str]) -> AsyncIterator[str]:
    """Run an image as the drivers do, without rights and where nothing can be written; its address."""
    container = builds.docker.containers.run(
        image,
        ["--host", "0.0.0.0", "--port", "8000"],
        detach=True,
        environment={"MCP_RUNNER_COMMAND": json.dumps(command)},
        ports={"8000/tcp": ("127.0.0.1", 0)},
        read_only=True,
        tmpfs={"/tmp": "size=16m"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )
    try:
        container.reload()
        (published, *_) = container.ports["8000/tcp"] or [{}]
        yield f"http://127.0.0.1:{published['HostPort']}/mcp"
    finally:
        container.remove(force=True, v=True)


async def test_a_server_from_a_repository_answers_in_its_container(
    builds: Builds, repositories: GitServer
) -> None:
    files = {"server.py": SERVER.read_text(), "requirements.txt": "iniconfig==2.0.0\n"}
    # What looks like the runner's own does not take its place.
    files |= {"runner/__main__.py": "raise SystemExit(9)", "aiohttp.py": "raise SystemExit(9)"}
    source = {"url": repositories.add("server.git", files)}
    image = await builds.image({"name": "own", "command": "python", "build": {"git": source}})
    async with running(builds, image, ["python", "server.py", "modern"]) as url, McpProbe() as probe:

        async def answers() -> str:
            try:
                await probe.check(url, {}, 5.0)
            except ReplicaFault as fault:
                return str(fault)
            return "it answers"

        await eventually(answers, lambda said: said == "it answers")
