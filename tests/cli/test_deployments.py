"""`mcp-platform deployments`: what an operator sees and does."""

import io
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import psutil
import pytest
from rich.console import Console

from mcp_platform.cli import deployments
from mcp_platform.cli.api_client import ApiClient
from mcp_platform.cli.record import RunRecord, remove_record, write_record
from mcp_platform.contracts.logs import LogLine, Stream
from storage.logs import LogBook
from tests.access.people import new_key
from tests.deployments.servers import TIME
from tests.end_to_end.programs import Ended, Running, run
from tests.logs.books import BEGIN, line, lines, order
from tests.platform import ADMIN_PASSWORD, Caller, RunningPlatform
from tests.waiting import eventually


class Operator:
    """Somebody with the command line and a key."""

    def __init__(self, platform: RunningPlatform, key: str, caller: Caller, running: dict[str, Any]) -> None:
        self.environment = {"MCP_PLATFORM_URL": platform.url, "MCP_PLATFORM_API_KEY": key, "COLUMNS": "250"}
        self.caller = caller
        self.id: str = running["deployment_id"]
        self.slug: str = running["slug"]

    async def run(self, *arguments: str, **environment: str) -> Ended:
        """Run a command beneath `deployments`."""
        return await run("deployments", *arguments, **self.environment | environment)


@pytest.fixture(scope="module")
async def operator(platform: RunningPlatform) -> AsyncIterator[Operator]:
    """Give an operator with a deployment that runs."""
    admin = await platform.admin()
    started = await admin.deploy(TIME, replicas=2)
    running = await admin.deployment_is(started["deployment_id"], "running")
    key: str = (await new_key(admin))["key"]
    yield Operator(platform, key, admin, running | {"slug": started["slug"]})
    await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")


@pytest.fixture
async def book(platform: RunningPlatform) -> AsyncIterator[LogBook]:
    """Give the platform's log book, to write into it as replicas do."""
    async with LogBook(platform.settings.replica_log_folder, platform.settings.replica_logs).open() as opened:
        yield opened


async def test_the_list_shows_what_is_not_stopped(operator: Operator) -> None:
    shown = await operator.run("list")
    assert shown.status == 0, shown.stderr
    (row,) = [text for text in shown.stdout.splitlines() if operator.slug in text]
    assert operator.id in row
    assert "running" in row
    narrow = await operator.run("list", COLUMNS="80")
    assert all(len(text) <= 80 for text in narrow.stdout.splitlines())
    assert operator.id in narrow.stdout
    assert {"running", "healthy"} <= set(narrow.stdout.split())
    listed = json.loads((await operator.run("list", "--all", "--json")).stdout)
    assert operator.id in {each["deployment_id"] for each in listed}


@pytest.mark.parametrize("by", ["slug", "id"])
async def test_a_deployment_is_described_in_words(operator: Operator, by: str) -> None:
    shown = await operator.run("describe", getattr(operator, by))
    assert shown.status == 0, shown.stderr
    assert f"({operator.slug}) is running: 2 of 2 replicas answer" in shown.stdout
    assert "by the process driver, in production" in shown.stdout
    assert operator.id in shown.stdout
    described = json.loads((await operator.run("describe", operator.slug, "--json")).stdout)
    assert len(described["replicas"]) == 2
    narrow = await operator.run("describe", operator.slug, COLUMNS="80")
    assert described["replicas"][0]["url"].removesuffix("/mcp") in narrow.stdout


async def test_what_is_not_well_is_told_by_the_status_of_the_command(operator: Operator) -> None:
    headers = {"X-Key": "${NOT_SET_ANYWHERE}"}
    started = await operator.caller.deploy(
        {"name": "far", "url": "http://127.0.0.1:9/mcp", "headers": headers}
    )
    await operator.caller.deployment_is(started["deployment_id"], "failed")
    shown = await operator.run("describe", started["slug"])
    assert shown.status == 1
    assert "is failed: 0 of 1 replicas answer" in shown.stdout
    assert "reason" in shown.stdout
    await operator.caller.delete(f"/api/v1/deployments/{started['deployment_id']}")
    assert (await operator.run("describe", started["slug"])).status == 0


async def test_a_restart_is_followed_to_its_end(operator: Operator) -> None:
    before = await operator.caller.deployment(operator.id)
    shown = await operator.run("restart", operator.slug, "--wait")
    assert shown.status == 0, shown.stderr + shown.stdout
    assert "restarted: 2 of 2 replicas are new and answer" in shown.stdout
    after = await operator.caller.deployment_is(operator.id, "running")
    assert after["revision"] > before["revision"]
    assert not {each["id"] for each in after["replicas"]} & {each["id"] for each in before["replicas"]}


async def test_a_replica_that_is_started_again_still_has_its_last_words(operator: Operator) -> None:
    described = json.loads((await operator.run("describe", operator.slug, "--json")).stdout)
    described["replicas"][0] |= {"state": "starting", "reason": "it ended", "stderr_tail": ["no luck"]}
    shown = io.StringIO()
    deployments._describe(Console(file=shown, width=200), described)
    assert "replica 0: it ended" in shown.getvalue()
    assert "    no luck" in shown.getvalue()


async def test_what_an_earlier_rollout_replaced_is_not_told_of_this_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deployments, "_POLL", 0.0)
    seen = [(2, "active", 2), (3, "pending", 0), (3, "pending", 1), (3, "active", 2)]

    class Told:
        async def get(self, path: str) -> dict[str, Any]:
            revision, state, replaced = seen.pop(0)
            rollout = {"revision": revision, "state": state, "replaced": replaced, "total": 2}
            return {"status": "updating", "rollout": rollout}

    await deployments._followed(cast(ApiClient, Told()), "id", 3, patience=60, quiet=False)
    assert capsys.readouterr().out.splitlines() == [
        "it is begun",
        "0 of 2 replicas replaced",
        "1 of 2 replicas replaced",
    ]


async def test_logs_are_narrowed_and_cannot_steer_the_terminal(operator: Operator, book: LogBook) -> None:
    log = book.of(order(UUID(operator.id), 7))
    await log.write([line(1, "ERROR \x1b[31mred\x1b[0m \x1b]0;title\x07 disk"), line(2, "INFO disk")])
    shown = await operator.run(
        "logs", operator.slug, "--replica", "7", "--level", "error", "--search", "DISK"
    )
    assert shown.status == 0, shown.stderr
    assert shown.stdout.split() == [
        "2026-01-15T10:30:00.001Z",
        "7/1",
        "error",
        "ERROR",
        "red",
        "�]0;title�",
        "disk",
    ]
    shown = await operator.run("logs", operator.slug, "--replica", "7", "--json", "--limit", "1")
    assert json.loads(shown.stdout)["text"] == "INFO disk"
    assert "the newest 1 lines" in shown.stderr
    assert (await operator.run("logs", operator.slug, "--replica", "7", "--since", "1h")).stdout == ""


async def test_following_shows_lines_as_they_come_until_it_is_interrupted(
    operator: Operator, book: LogBook
) -> None:
    arguments = ("deployments", "logs", operator.id, "--replica", "8", "--follow", "--json")
    follower = await Running.start(*arguments, **operator.environment)
    try:
        log = book.of(order(UUID(operator.id), 8))
        for number in range(3):
            await log.write([LogLine(BEGIN, Stream.STDOUT, f"told {number}")])
            assert json.loads(await follower.line())["text"] == f"told {number}"
        assert (await follower.stop(signal.SIGINT)).status == 130
    finally:
        await follower.close()


@pytest.fixture
def recorded(platform: RunningPlatform) -> Iterator[tuple[str, str]]:
    """Say in the data directory that the platform runs; give the option that leads to it."""
    started = psutil.Process().create_time()
    record = RunRecord(pid=os.getpid(), started=started, api=platform.url, temporal_ui="")
    write_record(platform.settings.data_dir, record)
    yield "--data-dir", str(platform.settings.data_dir)
    remove_record(platform.settings.data_dir)


PASSWORD = {"MCP_PLATFORM_ADMIN__PASSWORD": ADMIN_PASSWORD, "COLUMNS": "250"}


async def sessions_of(caller: Caller) -> set[str]:
    """Give the ids of the account's sessions."""
    return {each["id"] for each in (await caller.get("/api/v1/auth/sessions")).json()}


async def test_the_platform_of_the_data_directory_needs_no_key(
    operator: Operator, recorded: tuple[str, str]
) -> None:
    before = await sessions_of(operator.caller)
    shown = await run("deployments", "list", *recorded, **PASSWORD)
    assert shown.status == 0, shown.stderr
    assert operator.slug in shown.stdout
    # It signed out again.
    assert await sessions_of(operator.caller) == before


async def test_a_follower_whose_session_ends_signs_in_again_and_misses_nothing(
    operator: Operator, book: LogBook, recorded: tuple[str, str]
) -> None:
    before = await sessions_of(operator.caller)
    arguments = ("deployments", "logs", operator.id, "--replica", "9", "--follow", "--json", *recorded)
    follower = await Running.start(*arguments, **PASSWORD)
    try:
        log = book.of(order(UUID(operator.id), 9))
        await log.write([line(0)])
        assert json.loads(await follower.line())["text"] == "line 0"
        for session in await sessions_of(operator.caller) - before:
            await operator.caller.delete(f"/api/v1/auth/sessions/{session}")
        await log.write(lines(1, 1_000))
        told = [json.loads(await follower.line())["text"] for _ in range(1, 1_000)]
        assert told == [f"line {number}" for number in range(1, 1_000)]
        await eventually(lambda: sessions_of(operator.caller), lambda seen: seen - before)
        await log.write(lines(1_000, 1_001))
        assert json.loads(await follower.line())["text"] == "line 1000"
    finally:
        await follower.close()


FAILING = {
    "no such deployment": (
        ("describe", "no-such-slug"),
        {},
        "no deployment has the slug or id 'no-such-slug'",
    ),
    "no such id": (
        ("describe", str(uuid4())),
        {},
        "Deployment not found; mcp-platform deployments list --all",
    ),
    "wrong key": (("list",), {"MCP_PLATFORM_API_KEY": "mcp_live_wrong"}, "set MCP_PLATFORM_API_KEY to a key"),
    "no key": (("list",), {"MCP_PLATFORM_API_KEY": ""}, "set MCP_PLATFORM_API_KEY to an API key"),
    "nobody there": (("list",), {"MCP_PLATFORM_URL": "http://127.0.0.1:9"}, "does not answer"),
    "no address": (("list",), {"MCP_PLATFORM_URL": "nonsense"}, "is no address"),
    "wrong filter": (("logs", "SLUG", "--level", "loud"), {}, "level Input should be 'debug'"),
    "wrong filter of a stream": (("logs", "SLUG", "-f", "--since", "soon"), {}, "since is neither"),
}


@pytest.mark.parametrize("case", FAILING)
async def test_what_goes_wrong_is_told_in_one_line_with_what_to_do(operator: Operator, case: str) -> None:
    arguments, environment, said = FAILING[case]
    ended = await operator.run(
        *(operator.slug if each == "SLUG" else each for each in arguments), **environment
    )
    assert ended.status == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stderr.startswith("mcp-platform: ")
    assert said in ended.stderr


async def test_nothing_runs_is_told(tmp_path: Path) -> None:
    ended = await run("deployments", "list", "--data-dir", str(tmp_path))
    assert ended.status == 2
    assert "no platform runs on" in ended.stderr
