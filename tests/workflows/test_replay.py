"""Histories of earlier runs still replay: what runs now goes on after an upgrade."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from mcp_platform.plugin import PLATFORM
from tests.histories.record import FOLDER
from worker.catalogue import WORKFLOWS

SAVED = sorted(FOLDER.glob("*.json"))

saved_histories = pytest.mark.parametrize("saved", SAVED, ids=lambda path: path.stem)


def events_of(saved: Path) -> list[dict[str, Any]]:
    """Read a history's events."""
    events: list[dict[str, Any]] = json.loads(saved.read_text())["events"]
    return events


def workflow_type(saved: Path) -> str:
    """Give the name of the workflow whose history this is."""
    started = events_of(saved)[0]["workflowExecutionStartedEventAttributes"]
    name: str = started["workflowType"]["name"]
    return name


async def replay(events: list[dict[str, Any]]) -> None:
    """Run the workflow of today over what happened then."""
    replayer = Replayer(workflows=WORKFLOWS, plugins=[PLATFORM])
    await replayer.replay_workflow(WorkflowHistory.from_json("saved", {"events": events}))


@saved_histories
async def test_a_saved_run_still_replays(saved: Path) -> None:
    await replay(events_of(saved))


async def test_a_run_that_took_another_way_is_noticed() -> None:
    events = events_of(FOLDER / "feasibility_completed.json")
    other = json.loads(json.dumps(events).replace('"analysis.understand"', '"analysis.guess"'))
    assert other != events
    with pytest.raises(NondeterminismError):
        await replay(other)


def test_every_workflow_has_a_saved_history() -> None:
    named = {getattr(kind, "__temporal_workflow_definition").name for kind in WORKFLOWS}
    assert {workflow_type(saved) for saved in SAVED} == named


def test_the_saved_runs_cover_what_can_become_of_a_workflow() -> None:
    ends = {(workflow_type(saved), events_of(saved)[-1]["eventType"]) for saved in SAVED}
    assert ends >= {
        ("analysis.feasibility", "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"),
        ("analysis.feasibility", "EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED"),
        ("analysis.feasibility", "EVENT_TYPE_WORKFLOW_EXECUTION_FAILED"),
        ("deployments.run", "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"),
        ("deployments.run", "EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW"),
        ("monitoring.reconcile", "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"),
    }


def texts(value: Any) -> Iterator[str]:
    """Give every text in a history, those inside of payloads too."""
    if isinstance(value, dict):
        if isinstance(value.get("data"), str):
            yield base64.b64decode(value["data"]).decode()
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


@saved_histories
def test_a_saved_history_tells_nothing_of_the_machine_that_recorded_it(saved: Path) -> None:
    for text in texts(events_of(saved)):
        assert not re.search(r"\d+@|/(home|root|tmp|usr|opt|work|Users)/|Traceback", text), text
