"""Images are built from each kind of source, once for each content, and hold nothing that they should not."""

import pytest

from tests.images.builds import ARGUMENT, FIRST_BUILD, TINY, Builds
from tests.images.git_server import GitServer

pytestmark = pytest.mark.timeout(FIRST_BUILD + 60)

TOKEN = "a-token-that-nobody-may-see"
SERVER = "import iniconfig\n\n\ndef main() -> None:\n    print('served by', iniconfig.__name__)\n"
PROJECT = """\
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"
[project]
name = "tiny-server"
version = "1.0.0"
description = "The smallest server"
[project.scripts]
tiny-server = "tiny_server:main"
"""


async def test_a_package_that_uvx_would_run_becomes_an_image_that_runs_it(builds: Builds) -> None:
    build = await builds.start({"name": "tiny", "command": "uvx", "args": ["--from", "pip==25.3", "pip3"]})
    result = await build.result()
    assert result["image"].startswith("sha256:")
    assert await builds.recorded_image(build.order) == result["image"]
    assert builds.docker.images.get(result["tag"]).id == result["image"]
    assert "pip 25.3 from /opt/server" in builds.run(result["image"], "pip3", "--version")
    assert (await builds.log(build.order)).lines[-1].startswith("Step ")


async def test_npm_packages_become_an_image_whose_commands_npx_would_find(builds: Builds) -> None:
    image = await builds.image({"name": "semver", "command": "npx", "args": ["-y", "semver@7.7.2", "1.2.3"]})
    assert builds.run(image, "semver", "1.2.3").strip() == "1.2.3"


async def test_a_requirements_file_becomes_an_image(builds: Builds) -> None:
    server = {"name": "r", "command": "python", "build": {"requirements": "# one\niniconfig==2.0.0\n"}}
    image = await builds.image(server)
    assert "/opt/server/" in builds.run(image, "python", "-c", "import iniconfig; print(iniconfig.__file__)")


async def test_a_private_repository_becomes_an_image_that_does_not_know_its_token(
    builds: Builds, repositories: GitServer
) -> None:
    url = repositories.add(
        "team/server.git",
        {
            "servers/tiny/pyproject.toml": PROJECT,
            "servers/tiny/tiny_server.py": f'"""Tiny."""\n{SERVER}',
            "servers/tiny/requirements.txt": "iniconfig==2.0.0\n",
        },
    )
    repositories.token = TOKEN
    await builds.caller.put("/api/v1/secrets/REPOSITORY_TOKEN", json={"value": TOKEN})
    source = {"url": url, "ref": "main", "path": "servers/tiny", "token": "${REPOSITORY_TOKEN}"}
    build = await builds.start({"name": "git", "command": "tiny-server", "build": {"git": source}})
    result = await build.result()
    assert builds.run(result["image"], "tiny-server").strip() == "served by iniconfig"
    assert builds.run(result["image"], "find", "/opt/server/source", "-name", ".git") == ""
    history = (await build.handle.fetch_history()).to_json()
    lines = "\n".join((await builds.log(build.order)).lines)
    for text in (builds.history(result["image"]), lines, history):
        assert TOKEN not in text


async def test_an_image_runs_without_rights_and_tells_nothing_of_how_it_was_built(builds: Builds) -> None:
    image = await builds.image(TINY)
    assert builds.run(image, "id", "-u").strip() == "10001"
    assert (
        builds.run(image, "sh", "-c", "touch /opt/server/x 2>/dev/null || echo refused").strip() == "refused"
    )
    told = builds.history(image)
    assert ARGUMENT not in told
    assert "BUILD_SECRET" not in told
    assert "ca.pem" not in told
    assert builds.run(image, "sh", "-c", "ls -d /build 2>/dev/null || echo nothing").strip() == "nothing"


async def test_the_same_content_is_not_built_twice(builds: Builds) -> None:
    first = await builds.start(TINY)
    built = await first.result()
    second = await builds.again(first)
    found = await second.result()
    assert (built["built"], found["built"]) == (True, False)
    assert found["image"] == built["image"] == await builds.recorded_image(second.order)


async def test_what_a_build_needs_of_another_one_is_taken_from_the_cache(builds: Builds) -> None:
    first = await builds.start(TINY)
    await first.result()
    builds.docker.images.remove((await first.result())["tag"])
    second = await builds.again(first)
    assert (await second.result())["built"]
    assert not any("Downloading" in line for line in (await builds.log(second.order)).lines)
