"""`mcp-platform up`: what it says, how it ends, and how it refuses."""

import asyncio
import re
import signal
import socket
import stat
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.deployments.servers import TIME
from tests.end_to_end.programs import (
    Ended,
    Platform,
    instance_of,
    nothing_lives,
    replicas_of,
    run,
    state_is_true,
    temporal_of,
)
from tests.platform import ADMIN_PASSWORD
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
"""A start alone may take as long as the programs' patience."""


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """Give a platform that was never started."""
    platform = Platform(tmp_path / "data")
    yield platform
    if hasattr(platform, "running"):
        await platform.close()


def refused(ended: Ended) -> str:
    """Check that a command refused as it should; what it said."""
    assert ended.status == 2, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert 1 <= len(ended.complaint) <= 2, ended.stderr
    return " ".join(ended.complaint)


def mode(path: Path) -> int:
    """Give a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def living(pids: set[int]) -> set[int]:
    """Give those of these processes that are there still."""
    return {pid for pid in pids if psutil.pid_exists(pid)}


async def test_the_first_start_makes_keys_and_an_administrator_and_says_so_in_one_line(
    platform: Platform,
) -> None:
    del platform.environment["MCP_PLATFORM_ADMIN__PASSWORD"]
    ready = await platform.start()
    assert set(ready) == {"event", "api", "temporal_ui", "admin_username", "admin_password"}
    assert ready["event"] == "ready"
    assert ready["api"] == platform.url
    assert ready["temporal_ui"] == f"http://127.0.0.1:{platform.temporal_ui_port}"
    assert len(ready["admin_password"]) >= 20
    assert mode(platform.data_dir) == 0o700
    assert mode(platform.data_dir / "master.key") == 0o600
    password_file = platform.data_dir / "initial-admin-password"
    assert mode(password_file) == 0o600
    assert password_file.read_text().strip() == ready["admin_password"]
    await platform.admin(ready["admin_password"])

    ended = await platform.running.stop()
    assert (ended.status, ended.stdout) == (0, "")
    assert ready["admin_password"] not in ended.stderr
    again = await platform.start()
    assert set(again) == {"event", "api", "temporal_ui"}
    await platform.admin(ready["admin_password"])


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


async def test_a_stop_leaves_nothing_and_the_next_start_goes_on_where_it_was(platform: Platform) -> None:
    ready = await platform.start()
    assert "admin_password" not in ready
    admin = await platform.admin()
    task = await admin.start_analysis()
    await admin.task_is(task, "completed")
    slug = (await admin.deploy(TIME, replicas=2))["slug"]
    instance = instance_of(platform.data_dir)
    await state_is_true(admin, instance, [slug])
    whole = {platform.running.process.pid} | {
        child.pid for child in psutil.Process(platform.running.process.pid).children(recursive=True)
    }
    assert len(whole) >= 6
    # Whoever is connected does not hold it up: a session of the older protocol, a stream of events.
    headers = {"Accept": "application/json, text/event-stream"}
    opened = await admin.post(f"/mcp/{slug}/v1", json=INITIALIZE, headers=headers)
    assert opened.headers["Mcp-Session-Id"]

    async with asyncio.timeout(60), admin.stream("GET", "/events") as stream:
        assert stream.status_code == 200
        ended = await platform.running.stop(signal.SIGTERM)
    assert (ended.status, ended.stdout) == (0, "")
    assert ADMIN_PASSWORD not in ended.stderr
    # Those whose parent ended first are only gone once somebody else has taken note of their end.
    await eventually(partial(asyncio.to_thread, living, whole), lambda seen: not seen)
    assert not replicas_of(instance)
    assert not temporal_of(platform.data_dir)

    await platform.start()
    admin = await platform.admin()
    await state_is_true(admin, instance, [slug])
    assert (await admin.task_is(task, "completed"))["result"]["engine"] == "rules"


async def test_ctrl_c_ends_a_start_that_waits_for_temporal(platform: Platform, tmp_path: Path) -> None:
    mute = tmp_path / "temporal"
    mute.write_text("#!/bin/sh\n: > ${0%/*}/began\nexec sleep 300 # $*\n")
    mute.chmod(0o755)
    platform.environment["MCP_PLATFORM_TEMPORAL__SERVER_PATH"] = str(mute)
    await platform.begin()
    await eventually(partial(asyncio.to_thread, (tmp_path / "began").exists))
    children = psutil.Process(platform.running.process.pid).children(recursive=True)
    ended = await platform.running.stop()
    assert (ended.status, ended.stdout, ended.complaint) == (0, "", [])
    assert not [child for child in children if child.is_running()]


@pytest.mark.parametrize("taken", ["port", "temporal-port", "temporal-ui-port"])
async def test_a_taken_port_is_named_with_the_option_that_changes_it(platform: Platform, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        said = refused(await run("up", "--json", *platform.options, f"--{taken}", str(port)))
    assert f"port {port} is taken" in said
    assert f"--{taken}" in said
    await nothing_lives(platform.data_dir)


async def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused(await run("up", "--data-dir", str(tmp_path / "file" / "data")))
    assert "cannot be written" in said
    assert "--data-dir" in said


async def test_a_data_directory_in_use_is_refused_and_its_platform_goes_on(
    running_up: Platform, tmp_path: Path
) -> None:
    second = Platform(running_up.data_dir)
    assert "in use by another running platform" in refused(await run("up", *second.options))
    admin = await running_up.admin()
    await eventually(lambda: admin.get("/health"), lambda health: health.status_code == 200)


async def test_a_temporal_server_that_cannot_be_had_is_named_with_the_remedy(platform: Platform) -> None:
    absent = str(platform.data_dir / "absent")
    said = refused(await run("up", *platform.options, MCP_PLATFORM_TEMPORAL__SERVER_PATH=absent))
    assert "MCP_PLATFORM_TEMPORAL__SERVER_PATH" in said
    assert absent in said


async def test_a_password_that_is_too_short_is_refused_and_not_repeated(platform: Platform) -> None:
    said = refused(await run("up", *platform.options, MCP_PLATFORM_ADMIN__PASSWORD="tooshort"))
    assert "password" in said
    assert "12" in said
    assert "tooshort" not in said
    await nothing_lives(platform.data_dir)


async def test_a_key_file_that_others_can_read_is_refused(platform: Platform) -> None:
    platform.data_dir.mkdir(mode=0o700)
    key = platform.data_dir / "master.key"
    key.write_text("0" * 44)
    key.chmod(0o644)
    said = refused(await run("up", *platform.options))
    assert f"chmod 600 {key}" in said


async def test_up_refuses_to_be_production(platform: Platform) -> None:
    production = {
        "MCP_PLATFORM_MODE": "production",
        "MCP_PLATFORM_SQL__URL": "sqlite+aiosqlite:///",
        "MCP_PLATFORM_DOCUMENTS__URL": "mongodb://127.0.0.1:1",
        "MCP_PLATFORM_CACHE__URL": "redis://127.0.0.1:1",
        "MCP_PLATFORM_TEMPORAL__ADDRESS": "127.0.0.1:1",
        "MCP_PLATFORM_SECURITY__MASTER_KEY": "k",
    }
    assert "`up` is the embedded mode" in refused(await run("up", *platform.options, **production))


async def test_status_shows_each_part_and_the_memory_of_everything(running_up: Platform) -> None:
    shown = await run("status", "--data-dir", str(running_up.data_dir))
    assert shown.status == 0
    for part in ("database", "documents", "cache", "temporal", "worker"):
        assert re.search(rf"{part}\W+healthy", shown.stdout), shown.stdout
    assert re.search(r"platform \(API, gateway, worker\)\W+1\W+\d+ MB", shown.stdout)
    assert re.search(r"Temporal\W+1\W+\d+ MB", shown.stdout)
    assert re.search(r"together\W+\d+\W+\d+ MB", shown.stdout)


async def test_status_says_when_nothing_runs(tmp_path: Path) -> None:
    shown = await run("status", "--data-dir", str(tmp_path))
    assert shown.status == 3
    assert "No platform runs" in " ".join(shown.stdout.split())
