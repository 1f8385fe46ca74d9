"""Asking for suggestions as users do."""

import sys
from pathlib import Path
from typing import Any

from tests.platform import Caller

FAULTY = Path(__file__).with_name("faulty_server.py")


def faulty() -> dict[str, Any]:
    """Give the server with known faults, as an entry of `config.servers`."""
    return {"name": "faulty", "command": sys.executable, "args": [str(FAULTY)]}


async def improvements(caller: Caller, mcp_id: str, **changes: Any) -> dict[str, Any]:
    """Have an MCP looked at; what came of it, with the task's id."""
    order = {"tool_id": mcp_id, "engine": "rules"} | changes
    answer = await caller.post("/api/v1/analyze/improvements", json=order)
    assert answer.status_code == 202, answer.text
    started = answer.json()
    assert started["message"] == "Improvement analysis queued for processing"
    task = await caller.task_is(started["task_id"], "completed", "failed")
    assert task["status"] == "completed", task
    result: dict[str, Any] = task["result"]
    return result | {"task_id": started["task_id"]}


def found(result: dict[str, Any], rule: str, target: str | None = None) -> dict[str, Any]:
    """Give the one suggestion of a rule."""
    one: dict[str, Any]
    (one,) = [
        each
        for each in result["suggestions"]
        if each["id"].rpartition("-")[0] == rule and target in {None, each["target"]}
    ]
    return one


def targets(result: dict[str, Any], rule: str) -> list[str]:
    """Give what a rule has found something about."""
    return sorted(each["target"] for each in result["suggestions"] if each["id"].rpartition("-")[0] == rule)


def looked(result: dict[str, Any], what: str) -> dict[str, Any]:
    """Give what is said of something that was to be looked at."""
    one: dict[str, Any]
    (one,) = [each for each in result["checked"] if each["what"] == what]
    return one
