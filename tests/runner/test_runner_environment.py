"""In a container the runner's command comes by the environment."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from activities.build_plans import runner_files

_TELLS = (
    "import json, os, sys\n"
    "told = {'names': [name for name in os.environ if name.startswith('MCP_')],"
    " 'arguments': sys.argv[1:], 'folder': os.getcwd()}\n"
    "print(json.dumps(told), file=sys.stderr, flush=True)"
)


async def _runner(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the runner to its end; its exit status and what it, or its server, said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runner", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=os.environ | environment,
    )
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_command_and_folder_come_by_the_environment_and_do_not_reach_the_server(tmp_path: Path) -> None:
    command = json.dumps([sys.executable, "-c", _TELLS, "--key", "a secret"])
    _, said = await _runner(MCP_RUNNER_COMMAND=command, MCP_RUNNER_CWD=str(tmp_path))
    told = json.loads(said.splitlines()[0])
    assert told == {"names": [], "arguments": ["--key", "a secret"], "folder": str(tmp_path)}


async def test_a_command_after_the_dashes_wins() -> None:
    _, said = await _runner("--", sys.executable, "-c", _TELLS, "given", MCP_RUNNER_COMMAND='["false"]')
    assert json.loads(said.splitlines()[0])["arguments"] == ["given"]


@pytest.mark.parametrize("value", ["serve --now", "[]", '"serve"', '["serve", 1]', "{}"])
async def test_a_command_that_is_no_list_is_refused(value: str) -> None:
    status, said = await _runner(MCP_RUNNER_COMMAND=value)
    assert status == 2
    assert "MCP_RUNNER_COMMAND must be a JSON list of strings" in said


async def test_without_any_command_it_says_how_to_give_one() -> None:
    status, said = await _runner()
    assert status == 2
    assert "give a command after --, or in MCP_RUNNER_COMMAND" in said


async def test_the_files_that_go_into_images_are_all_that_it_needs_of_the_platform(tmp_path: Path) -> None:
    for name, content in runner_files().items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import runner.__main__; print(runner.__file__)"),
        stdout=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    assert said.decode().strip() == str(tmp_path / "runner/__init__.py")
