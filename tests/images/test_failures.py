"""Builds that fail say which step it was and why; those that fail or are cancelled leave nothing."""

import re
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from tests.images.builds import ARGUMENT, FIRST_BUILD, Build, Builds
from tests.images.git_server import GitServer
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(FIRST_BUILD + 60)

PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "own-server"
version = "1.0.0"
"""
WAITS = "import time\ntime.sleep(600)\n"
SHOUTS = (
    "import os, sys\nprint('the argument is', os.environ['BUILD_SECRET'])\nsys.exit('it does not want to')\n"
)


def python_server(url: str) -> dict[str, Any]:
    """Give the server of a repository."""
    return {"name": "own", "command": "own-server", "build": {"git": {"url": url}}}


async def left_nothing(builds: Builds, build: Build) -> None:
    """Check that no container, no image and no record of one is there."""
    assert builds.leftovers(build.slug) == []
    assert await builds.recorded_image(build.order) is None


async def test_a_package_that_does_not_exist_fails_the_step_that_installs_it(builds: Builds) -> None:
    build = await builds.start({"name": "none", "command": "uvx", "args": ["no-such-server-of-anybody"]})
    reason = await build.failure()
    first, *output = reason.splitlines()
    assert re.fullmatch(
        r"step \d+ of \d+ \(RUN .*pip .*install .*\) failed:"
        r" No matching distribution found for no-such-server-of-anybody",
        first,
    )
    assert any(line.startswith("ERROR: Could not find a version") for line in output)
    await left_nothing(builds, build)
    answer = await builds.caller.get(f"/api/v1/tasks/{build.order.task_id}/log")
    assert answer.json()["lines"][-len(output) :] == output


async def test_an_npm_package_that_does_not_exist_is_named(builds: Builds) -> None:
    build = await builds.start(
        {"name": "none", "command": "npx", "args": ["@no-such-scope-of-anybody/server"]}
    )
    first = (await build.failure()).splitlines()[0]
    assert "(RUN cd /opt/server && npm install" in first
    assert "@no-such-scope-of-anybody" in first
    await left_nothing(builds, build)


async def test_what_a_failing_build_writes_is_shown_without_the_platforms_arguments(
    builds: Builds, repositories: GitServer
) -> None:
    url = repositories.add("shouts.git", {"pyproject.toml": PROJECT, "backend.py": SHOUTS})
    build = await builds.start(python_server(url))
    reason = await build.failure()
    assert "the argument is ***" in reason
    assert "it does not want to" in reason
    log = await builds.caller.get(f"/api/v1/tasks/{build.order.task_id}/log")
    for text in (reason, log.text, (await build.handle.fetch_history()).to_json()):
        assert ARGUMENT not in text


async def test_a_build_that_is_cancelled_ends_on_the_engine_too(
    builds: Builds, repositories: GitServer
) -> None:
    url = repositories.add("waits.git", {"pyproject.toml": PROJECT, "backend.py": WAITS})
    build = await builds.start(python_server(url))
    seen = await eventually(
        build.task,
        lambda task: task["message"].endswith("Installing the repository's package"),
        within=FIRST_BUILD,
    )
    assert re.match(r"Step \d+ of \d+: ", seen["message"])
    assert 40 <= seen["progress"] < 95
    answer = await builds.caller.post(f"/api/v1/tasks/{build.order.task_id}/cancel")
    assert answer.status_code == 202, answer.text
    assert (await build.ended())["status"] == "cancelled"
    await left_nothing(builds, build)


@pytest.mark.parametrize(
    ("files", "path", "reason"),
    [
        (
            {"README.md": "Nothing"},
            None,
            "has neither pyproject.toml, setup.py, requirements.txt nor package.json",
        ),
        ({"README.md": "Nothing"}, "server", "the repository has no folder server (build.git.path)"),
        ({"pyproject.toml": "[project"}, None, "pyproject.toml of the repository cannot be read"),
    ],
)
async def test_a_repository_that_cannot_be_installed_is_told_why(
    builds: Builds, repositories: GitServer, files: dict[str, str], path: str | None, reason: str
) -> None:
    source = {"url": repositories.add("strange.git", files), "path": path}
    build = await builds.start({"name": "own", "command": "own-server", "build": {"git": source}})
    assert reason in await build.failure()


async def test_a_secret_that_is_not_there_is_named(builds: Builds, repositories: GitServer) -> None:
    source = {"url": repositories.add("own.git", {"README.md": ""}), "token": "${NOBODYS_TOKEN}"}
    build = await builds.start({"name": "own", "command": "own-server", "build": {"git": source}})
    assert "${NOBODYS_TOKEN} is not known" in await build.failure()


async def test_a_build_that_is_tried_again_begins_anew_under_the_same_task(
    builds: Builds, repositories: GitServer
) -> None:
    source = {"url": repositories.add("late.git", {"README.md": "Not yet"})}
    server = {"name": "late", "command": "python", "build": {"git": source}}
    build = await builds.start(server)
    with pytest.raises(WorkflowFailureError):
        await build.handle.result()
    repositories.commit("late.git", {"requirements.txt": "iniconfig==2.0.0\n"})
    again = await builds.carry_out(build.order, build.slug)
    await again.handle.result()
    task = await again.task()
    assert (task["status"], task.get("error"), task["progress"]) == ("completed", None, 100)
    assert await builds.recorded_image(build.order) == task["result"]["image"]
    assert any(
        "Installing collected packages: iniconfig" in line for line in (await builds.log(build.order)).lines
    )
