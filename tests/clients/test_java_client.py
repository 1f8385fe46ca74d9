"""The Java client library against a real gateway, compiled as its users compile it."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.bridge.conftest import Caller
from tests.bridge.persons import Persons, tool

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = sorted((ROOT / "clients/java/src/main/java").rglob("*.java"))
NAME: Final = 'echo "quotes" \u00fc \U0001f600'


async def run(*command: str) -> str:
    """Run a program to its end; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(90):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.fixture(scope="module")
async def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the compiled library with the program that uses it."""
    if not (shutil.which("javac") and shutil.which("java")):
        missing = "no JDK 17 on this machine: the Java client was not tested"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("classes")
    check = Path(__file__).with_name("BridgeCheck.java")
    options = ["-encoding", "UTF-8", "--release", "17", "-Xlint:all", "-Werror", "-d", str(folder)]
    await run("javac", *options, *map(str, SOURCES), str(check))
    return folder


async def test_the_java_client_does_what_its_readme_shows(
    compiled: Path, caller: Caller, server: Persons
) -> None:
    server.tools.append(tool(NAME))
    nobody = "http://127.0.0.1:9"
    options = ["-Dstdout.encoding=UTF-8", "-Dfile.encoding=UTF-8", "-cp", str(compiled)]
    output = await run("java", *options, "BridgeCheck", caller.url, caller.key, nobody)
    port = urlsplit(server.url).port
    assert output.splitlines() == [
        f"true|Person found: 1|mcp-server-v6:{port}",
        "true",
        '{"persons":[1,2]}',
        NAME,
        "true|Person found: 2",
        "false|TOOL_ERROR",
        f"mcp-server-v6|1.0.0|6|false|mcp-server-v6-001|{port}|true|1.0",
        "TOOL_NOT_FOUND|404|absent",
        "TOOL_ERROR|422|fail",
        "REQUEST_TIMEOUT|408|wait",
        "UNAUTHORIZED|401|null",
        "CONNECTION_FAILED|0|null",
    ]
    assert (NAME, {"a": [1, 2.5, True]}) in server.calls


def test_the_project_of_the_java_client_builds_for_the_same_release() -> None:
    project = (ROOT / "clients/java/pom.xml").read_text()
    assert "<maven.compiler.release>17</maven.compiler.release>" in project
    assert "<dependency>" not in project
