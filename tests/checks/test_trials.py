"""Trying servers: what is seen of them, and that nothing of them stays."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from temporalio.client import WorkflowExecutionStatus

from activities import monitoring
from activities.checks import turns
from mcp_platform.contracts.checks import SafeCall, TrialOutcome
from mcp_platform.names import REPLICA_MARKER
from storage.cache import trials as counting
from tests.checks.asking import Asking, asking
from tests.deployments.servers import LEAVES_AT_ONCE, MISSING, NEVER_SPEAKS, python, tiny
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually
from tests.worker.states import reconcile


@pytest.fixture
async def trials(platform: RunningPlatform) -> AsyncIterator[Asking]:
    async with asking(platform) as opened:
        yield opened


def marked(platform: RunningPlatform, text: str) -> list[int]:
    """Find processes of replicas of this platform whose command line has this text."""
    found = []
    for process in psutil.process_iter():
        try:
            of_ours = process.environ().get(REPLICA_MARKER, "").startswith(platform.settings.instance_id)
            if of_ours and text in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def entries_of(admin: Caller, replica_id: UUID) -> list[dict[str, Any]]:
    """Give what the audit log has of a replica."""
    answer = await admin.get("/api/v1/audit", params={"resource_id": str(replica_id)})
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


async def test_a_server_that_does_is_seen_with_its_tools_and_its_answer(trials: Asking) -> None:
    report = await trials.attempt(tiny("word"), call=SafeCall(tool="say"))
    assert report.outcome is TrialOutcome.PASSED, report
    assert (report.driver, report.era) == ("process", "2025-11-25")
    assert report.server_info == {"name": "tiny", "version": "word"}
    assert [tool["name"] for tool in report.tools] == ["say", "slow", "eat", "hang", "write"]
    assert report.tools[0]["annotations"] == {"readOnlyHint": True}
    assert report.call is not None
    assert report.call.ok
    assert '"word": "word"' in report.call.answer
    assert report.seconds > 0


@pytest.mark.parametrize(
    ("launcher", "args", "written"),
    [
        ("uvx", ["--python", "3.12", "thing==1.0"], "  cause: client error (Connect)\n  cause: dns error"),
        ("npx", ["-y", "thing@1.0"], "npm error code ENOTFOUND"),
    ],
)
async def test_a_package_that_cannot_be_fetched_is_blamed_on_no_secret(
    trials: Asking, tmp_path: Path, launcher: str, args: list[str], written: str
) -> None:
    program = tmp_path / launcher
    program.write_text(f"#!/bin/sh\necho '{written}' >&2\nexit 2\n")
    program.chmod(0o755)
    env = {"DATABASE_URI": "${DATABASE_URI}"}
    report = await trials.attempt({"name": "thing", "command": str(program), "args": args, "env": env})
    assert report.outcome is TrialOutcome.NOT_TRIED, report
    assert report.reason == "its package could not be fetched here: its registry does not answer"


async def test_nothing_of_a_trial_stays(trials: Asking) -> None:
    word = f"w{uuid4().hex}"
    report = await trials.attempt(tiny(word))
    assert report.outcome is TrialOutcome.PASSED, report
    assert marked(trials.platform, word) == []
    assert await trials.running_trials() == set()


async def test_a_tool_that_may_write_is_not_called(trials: Asking) -> None:
    report = await trials.attempt(tiny("word"), call=SafeCall(tool="eat"))
    assert report.outcome is TrialOutcome.PASSED
    assert report.call is None
    assert report.reason == "eat was not called: nothing says that it only reads"


async def test_a_call_of_a_tool_that_is_not_there_fails_the_trial(trials: Asking) -> None:
    report = await trials.attempt(tiny("word"), call=SafeCall(tool="sing"))
    assert (report.outcome, report.reason) == (TrialOutcome.FAILED, "it lists no tool sing")


async def test_a_command_that_ends_says_why(trials: Asking) -> None:
    report = await trials.attempt(LEAVES_AT_ONCE)
    assert report.outcome is TrialOutcome.FAILED
    assert "status 7" in (report.reason or "")
    assert "no configuration found" in report.stderr_tail
    missing = await trials.attempt(MISSING)
    assert missing.outcome is TrialOutcome.FAILED
    assert "no-such-command-anywhere" in (missing.reason or "")


async def test_a_server_that_never_speaks_is_given_up_in_time(trials: Asking) -> None:
    report = await trials.attempt(NEVER_SPEAKS, patience=2.0)
    assert report.outcome is TrialOutcome.FAILED
    assert report.seconds < 60
    assert marked(trials.platform, "time.sleep(600)") == []


async def test_secrets_are_placeholders_and_the_folder_is_its_own(trials: Asking) -> None:
    shows = python(
        "import os, sys; print(os.environ['API_KEY'], os.getcwd(), os.environ['PLACE'], file=sys.stderr)"
    ) | {"env": {"API_KEY": "${SOME_KEY}", "PLACE": "${HOME}/data"}}
    report = await trials.attempt(shows)
    assert report.placeholders == ["SOME_KEY"]
    key, folder, place = report.stderr_tail[0].split()
    assert key == "placeholder"
    assert "mcp-platform-trial-" in folder
    assert place == f"{folder}/data"
    assert not await asyncio.to_thread(Path(folder).exists)
    assert "SOME_KEY stood for nothing in the trial" in (report.reason or "")


async def test_the_folder_is_its_home_and_only_settings_for_packages_are_the_platforms(
    trials: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".npmrc").write_text("fund=false\n")
    names = ("HOME", "PWD", "NPM_CONFIG_USERCONFIG", "UV_CONFIG_FILE")
    shows = python(
        "import os, sys; os.environ['PWD'] = os.getcwd();"
        f" print(*(os.environ.get(name) for name in {names}), file=sys.stderr)"
    )
    report = await trials.attempt(shows)
    home, folder, npm, uv = report.stderr_tail[0].split()
    assert home == folder
    assert "mcp-platform-trial-" in folder
    assert (npm, uv) == (str(tmp_path / ".npmrc"), "None")


async def test_commands_run_only_for_who_may_run_them_or_from_our_catalogue(trials: Asking) -> None:
    word = f"w{uuid4().hex}"
    refused = await trials.attempt(tiny(word), may_run_commands=False)
    assert refused.outcome is TrialOutcome.NOT_TRIED
    assert "needs deployments:process" in (refused.reason or "")
    assert refused.driver is None
    trusted = await trials.attempt(tiny(word), may_run_commands=False, trusted=True)
    assert trusted.outcome is TrialOutcome.PASSED


async def test_a_package_that_cannot_be_fetched_says_nothing_of_its_server(
    trials: Asking, tmp_path: Path
) -> None:
    launcher = tmp_path / "uvx"
    launcher.write_text(f"#!{sys.executable}\nimport sys\nsys.exit(sys.argv[2] + ': os error 111')\n")
    launcher.chmod(0o755)
    server = {"name": "fetched", "command": str(launcher)}
    away = await trials.attempt(server | {"args": ["some-server", "Failed to fetch"]})
    assert away.outcome is TrialOutcome.NOT_TRIED
    assert "its registry does not answer" in (away.reason or "")
    broken = await trials.attempt(server | {"args": ["some-server", "no such option"]})
    assert broken.outcome is TrialOutcome.FAILED


async def test_an_image_without_an_engine_is_not_tried(trials: Asking) -> None:
    report = await trials.attempt({"name": "box", "image": "box:1.4"})
    assert report.outcome is TrialOutcome.NOT_TRIED
    assert "no container can be started" in (report.reason or "")


async def test_a_draft_that_is_no_configuration_is_not_tried(trials: Asking) -> None:
    handle = await trials.begin({"servers": [{"name": "both", "url": "http://a", "command": "b"}]})
    report = await handle.result()
    assert report.outcome is TrialOutcome.NOT_TRIED
    assert "needs exactly one of url, command and image" in (report.reason or "")
    several = await trials.begin({"servers": [tiny("a"), tiny("b") | {"name": "other"}]})
    assert "name one of the configuration's servers" in ((await several.result()).reason or "")


async def test_a_cancelled_trial_is_removed_before_it_says_so(trials: Asking) -> None:
    word = f"w{uuid4().hex}"
    quiet = python(f"import time; word = {word!r}; time.sleep(600)")
    handle = await trials.begin({"servers": [quiet]}, patience=60.0)
    await eventually(lambda: asyncio.to_thread(marked, trials.platform, word))
    await handle.cancel()
    with pytest.raises(Exception, match="Workflow execution failed"):
        await handle.result()
    assert marked(trials.platform, word) == []
    assert await trials.running_trials() == set()


async def test_a_trial_whose_activity_died_is_swept_and_one_that_goes_on_is_not(
    trials: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "_GRACE", timedelta(0))
    # Its worker says once that it goes on: said again after its end below, it would count again.
    monkeypatch.setattr(turns, "_KEPT_EVERY", 600.0)
    monkeypatch.setattr(counting, "KEPT", 600.0)
    word, owner = f"w{uuid4().hex}", uuid4()
    quiet = python(f"import time; word = {word!r}; time.sleep(600)")
    admin = await trials.platform.admin()
    handle = await trials.begin({"servers": [quiet]}, patience=60.0, owner_id=owner)
    await eventually(lambda: asyncio.to_thread(marked, trials.platform, word))
    await reconcile(trials.platform)
    assert marked(trials.platform, word) != []
    (replica_id,) = await trials.running_trials()
    # Nobody says any more that it goes on, as when its worker is gone.
    await trials.platform.parts.stores.trials.end(owner, replica_id)
    await reconcile(trials.platform)
    assert marked(trials.platform, word) == []
    # The reconciliation of this minute may have come first: the log tells of either's findings.
    told = {entry["action"] for entry in await eventually(lambda: entries_of(admin, replica_id))}
    assert told == {"deployments.orphan_ended"}
    assert (await handle.result()).outcome is TrialOutcome.FAILED


async def test_one_account_has_few_trials_at_once(trials: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody says again that the two below go on, and they must count until this test has ended them.
    monkeypatch.setattr(counting, "KEPT", 600.0)
    owner, stores = uuid4(), trials.platform.parts.stores
    most = trials.platform.settings.trials.at_once
    others = [uuid4() for _ in range(most)]
    assert all([await stores.trials.begin(owner, other, most) for other in others])
    handle = await trials.begin({"servers": [tiny("word")]}, owner_id=owner)
    assert (await trials.attempt(tiny("word"))).outcome is TrialOutcome.PASSED
    # It counts for a moment each time that it asks for its turn.
    await eventually(trials.running_trials, lambda going: going == set(others))
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await stores.trials.end(owner, others[0])
    assert (await handle.result()).outcome is TrialOutcome.PASSED
    await stores.trials.end(owner, others[1])
