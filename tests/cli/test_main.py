"""The command line by itself: its options, its settings, and what it loads."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.programs import Ended, Running, run
from tests.platform import ADMIN_PASSWORD
from tests.waiting import eventually

HEAVY = {"api", "gateway", "sqlalchemy", "storage", "temporalio", "worker"}


def refused(ended: Ended) -> str:
    """Check that a command refused as it should; what it said."""
    assert ended.status == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return " ".join(ended.stderr.split())


async def test_help_lists_every_command() -> None:
    shown = await run("--help")
    assert shown.status == 0
    for command in ("up", "demo", "status", "api", "gateway", "worker", "migrate", "setup", "runner"):
        assert f" {command} " in shown.stdout


async def test_the_command_line_loads_what_a_command_needs_and_no_more(tmp_path: Path) -> None:
    code = (
        "import json, os, sys\n"
        "import mcp_platform.cli\n"
        "os._exit = lambda status: print(json.dumps(sorted(sys.modules)))\n"
        "sys.argv = ['mcp-platform', 'status', '--data-dir', sys.argv[1]]\n"
        "mcp_platform.cli.main()\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    loaded = {name.partition(".")[0] for name in json.loads(output.splitlines()[-1])}
    assert not HEAVY & loaded


@pytest.mark.parametrize("arguments", [["nonsense"], ["up", "--port", "many"], ["up", "--port", "70000"], []])
async def test_a_wrong_option_is_answered_with_the_usage(arguments: list[str]) -> None:
    ended = await run(*arguments)
    assert ended.status == 2
    assert "Usage: mcp-platform" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_wrong_setting_is_named_as_it_was_set() -> None:
    said = refused(await run("status", MCP_PLATFORM_API__PORT="99999"))
    assert said.startswith("mcp-platform: MCP_PLATFORM_API__PORT: ")
    said = refused(await run("status", MCP_PLATFORM_REPLICAS__EXPOSED_ENVIRONMENT="HOME"))
    assert "JSON" in said


async def test_production_without_its_settings_names_each_of_them() -> None:
    said = refused(await run("api", MCP_PLATFORM_MODE="production"))
    assert "MCP_PLATFORM_SQL__URL" in said
    assert "openssl rand -base64 32" in said


async def test_a_part_by_itself_makes_the_data_directory_that_it_needs(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    ended = await run("migrate", MCP_PLATFORM_DATA_DIR=str(folder))
    assert (ended.status, ended.complaint) == (0, [])
    assert (folder / "platform.db").exists()
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_setup_names_the_setting_of_what_it_cannot_reach_and_tells_no_password(tmp_path: Path) -> None:
    settings = {"MCP_PLATFORM_DATA_DIR": str(tmp_path), "MCP_PLATFORM_TEMPORAL__ADDRESS": "127.0.0.1:1"}
    said = refused(await run("setup", MCP_PLATFORM_ADMIN__PASSWORD=ADMIN_PASSWORD, **settings))
    assert "MCP_PLATFORM_TEMPORAL__ADDRESS" in said
    assert ADMIN_PASSWORD not in said


async def test_the_runner_takes_its_own_options_and_leaves_the_servers_alone() -> None:
    code = "import sys; sys.exit(sys.argv[1:] != ['--port', '1', '--', 'x'])"
    server = [sys.executable, "-c", code, "--port", "1", "--", "x"]
    ended = await run("runner", "--port", "0", "--grace", "0", "--", *server)
    assert json.loads(ended.stdout)["event"] == "listening"
    assert ended.status == 3
    assert "exited with status 0" in ended.stderr


async def test_the_runner_explains_itself() -> None:
    shown = await run("runner", "--help")
    assert shown.status == 0
    assert "--start-timeout" in shown.stdout


async def test_the_runner_ends_when_asked() -> None:
    running = await Running.start("runner", "--", "mcp-server-time")
    try:
        port = json.loads(await running.line())["port"]
        async with httpx.AsyncClient(trust_env=False) as http:
            await eventually(
                lambda: http.get(f"http://127.0.0.1:{port}/health"), lambda seen: seen.status_code == 200
            )
        assert (await running.stop(signal.SIGTERM)).status == 0
    finally:
        await running.close()
