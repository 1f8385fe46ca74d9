"""The demo, as it is shown to a new user, and how it fails."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from mcp_platform.cli.demo import Tour
from mcp_platform.cli.failure import Failure
from tests.end_to_end.programs import Ended, Platform, Running, instance_of, replicas_of, run
from tests.platform import ADMIN_PASSWORD, free_port
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
"""A start alone may take as long as the programs' patience."""

STEPS = [
    r"1\. Sign in\n   signed in as admin; the token holds for 900 s",
    r"2\. Register an MCP.*\n   registered time-\w{6} 1\.0\.0 \(draft\)",
    r"3\. Judge an idea.*\n(.*\n)*   feasible: True, score 0\.9\d\. .*No language model was used.*\n   LINK",
    r"4\. Deploy it with two replicas\n(.*\n)*   running and healthy after .* processes \d+ and \d+\n   LINK",
    r"5\. Call it at http://.*/mcp/time-\w{6}/v1\n   official MCP client: get_current_time, convert_time\n"
    r'   get_current_time → .*Asia/Shanghai.*\(\d+ ms\)\n   plain REST: \{"timezone": "Asia/Shanghai".*\}',
    r"6\. Kill a replica.*\n   killed process \d+ with SIGKILL\n   a call right after that was answered by"
    r" the other replica\n(.*\n)*   healed after .* process \d+, restarts: 1",
    r"7\. Stop\n   Deployment stopped successfully\n   MCP tool deleted successfully\nDone in \d+ s\.",
]


def failed(ended: Ended) -> str:
    """Check that a demo failed as it should; what it said last."""
    assert ended.status == 2, ended.stdout + ended.stderr
    assert "Done" not in ended.stdout
    assert "Traceback" not in ended.stderr
    assert 1 <= len(ended.complaint) <= 2, ended.stderr
    return " ".join(ended.complaint)


async def demo(platform: Platform, *options: str, **environment: str) -> Ended:
    """Take the tour of a platform."""
    return await run("demo", "--data-dir", str(platform.data_dir), *options, **environment)


async def test_the_demo_shows_every_step_and_leaves_nothing_behind(running_up: Platform) -> None:
    shown = await demo(running_up, MCP_PLATFORM_ADMIN__PASSWORD=ADMIN_PASSWORD)
    assert shown.status == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""
    link = rf"http://127\.0\.0\.1:{running_up.temporal_ui_port}/namespaces/default/workflows/\S+"
    for step in STEPS:
        assert re.search(step.replace("LINK", link), shown.stdout), shown.stdout
    assert not replicas_of(instance_of(running_up.data_dir))
    admin = await running_up.admin()
    assert (await admin.get("/api/v1/mcps")).json()["total"] == 0


async def test_without_a_platform_the_demo_says_how_to_start_one(tmp_path: Path) -> None:
    said = failed(await run("demo", "--data-dir", str(tmp_path)))
    assert "no platform runs on" in said
    assert "make up" in said


async def test_without_an_answer_the_demo_says_which_address_it_tried(tmp_path: Path) -> None:
    password = {"MCP_PLATFORM_ADMIN__PASSWORD": ADMIN_PASSWORD}
    said = failed(await run("demo", "--data-dir", str(tmp_path), "--url", "http://127.0.0.1:1", **password))
    assert "http://127.0.0.1:1" in said


async def test_with_a_wrong_password_the_demo_says_so(running_up: Platform) -> None:
    said = failed(await demo(running_up, MCP_PLATFORM_ADMIN__PASSWORD="not the right one"))
    assert "401" in said
    assert "MCP_PLATFORM_ADMIN__PASSWORD" in said


async def test_without_a_password_the_demo_says_where_it_looked(running_up: Platform) -> None:
    said = failed(await demo(running_up))
    assert "initial-admin-password" in said
    assert "MCP_PLATFORM_ADMIN__PASSWORD" in said


@pytest.fixture
async def tour(running_up: Platform) -> Running:
    """Begin a tour, and give it once it has deployed something."""
    admin = await running_up.admin()
    running = await Running.start(
        *("demo", "--data-dir", str(running_up.data_dir)), MCP_PLATFORM_ADMIN__PASSWORD=ADMIN_PASSWORD
    )

    async def deployed() -> list[str]:
        found = (await admin.get("/api/v1/deployments")).json()["deployments"]
        return [entry["deployment_id"] for entry in found if entry["status"] != "stopped"]

    await eventually(deployed)
    return running


async def test_an_interrupted_demo_removes_what_it_made(running_up: Platform, tour: Running) -> None:
    ended = await tour.stop()
    assert ended.status == 130
    assert "Traceback" not in ended.stderr
    admin = await running_up.admin()
    assert (await admin.get("/api/v1/mcps")).json()["total"] == 0
    assert not replicas_of(instance_of(running_up.data_dir))


async def test_a_platform_that_dies_ends_the_demo_with_a_message(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "data")
    await platform.start()
    password = {"MCP_PLATFORM_ADMIN__PASSWORD": ADMIN_PASSWORD}
    running = await Running.start("demo", "--data-dir", str(platform.data_dir), **password)
    try:
        await eventually(lambda: asyncio.to_thread(replicas_of, instance_of(platform.data_dir)))
        await platform.kill()
        assert platform.url in failed(await running.ended())
    finally:
        await running.close()
        await platform.close()


async def test_an_endpoint_that_is_gone_ends_the_mcp_clients_step_with_a_message() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}/mcp/gone/v1"
    async with httpx.AsyncClient(timeout=5) as http:
        tour = Tour(http, Console(quiet=True), "")
        with pytest.raises(Failure, match=f"the official MCP client failed at {endpoint}: .*connect"):
            await tour.call_by_mcp(endpoint)
