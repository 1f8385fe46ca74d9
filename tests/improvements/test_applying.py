"""Applying suggestions: as a new version, and only where they still fit."""

from typing import Any
from uuid import uuid4

import pytest

from tests.improvements.asking import found, improvements
from tests.improvements.conftest import Improving
from tests.platform import Caller


@pytest.fixture
async def member(improving: Improving) -> Caller:
    """Give somebody who may run no commands, so that nothing is fetched and tried."""
    return await improving.platform.member()


OLD = {"name": "time", "command": "uvx", "args": ["mcp-server-time==1.0", "--local-timezone", "UTC"]}
KEYED = {"name": "keyed", "command": "no-such-program", "env": {"API_KEY": "plain-value-1", "MODE": "fast"}}


async def looked_at(caller: Caller, *servers: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Register an MCP and have it looked at."""
    mcp = await caller.register_mcp({"servers": list(servers)})
    return mcp, await improvements(caller, mcp["id"])


async def apply(
    caller: Caller, mcp_id: str, result: dict[str, Any], suggestion: dict[str, Any], **headers: str
) -> Any:
    """Apply a suggestion."""
    order = {"task_id": result["task_id"], "suggestion_id": suggestion["id"]}
    return await caller.post(f"/api/v1/mcps/{mcp_id}/apply-suggestion", json=order, headers=headers)


async def config(caller: Caller, mcp_id: str) -> dict[str, Any]:
    """Read the present configuration."""
    given: dict[str, Any] = (await caller.get(f"/api/v1/mcps/{mcp_id}")).json()["config"]
    return given


async def test_a_suggestion_becomes_a_new_version_that_names_the_task(member: Caller) -> None:
    mcp, result = await looked_at(member, OLD, KEYED)
    outdated = found(result, "package-version")
    assert outdated["title"] == "Update mcp-server-time to 2.1.0"
    assert outdated["severity"] == "medium"
    assert outdated["evidence"][0]["source"] == "pypi:mcp-server-time 2.1.0"
    answer = await apply(member, mcp["id"], result, outdated)
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] == "1.0.1"
    assert answer.json()["unknown"] == []
    changed = await config(member, mcp["id"])
    assert changed["servers"][0]["args"] == ["mcp-server-time@2.1.0", "--local-timezone", "UTC"]
    assert changed["servers"][1] == KEYED
    history = (await member.get(f"/api/v1/mcps/{mcp['id']}/history")).json()
    assert history["versions"][0]["origin"] == f"task:{result['task_id']}"


async def test_several_suggestions_of_one_task_can_be_applied_one_after_the_other(member: Caller) -> None:
    mcp, result = await looked_at(member, OLD, KEYED)
    for rule in ("package-version", "plain-credential-env-api-key"):
        assert (await apply(member, mcp["id"], result, found(result, rule))).status_code == 200
    changed = await config(member, mcp["id"])
    assert changed["servers"][1]["env"] == {"API_KEY": "${API_KEY}", "MODE": "fast"}
    assert changed["servers"][0]["args"][0] == "mcp-server-time@2.1.0"
    again = await apply(member, mcp["id"], result, found(result, "package-version"))
    assert again.status_code == 409


async def test_a_secret_that_is_referred_to_and_not_stored_is_named(member: Caller) -> None:
    mcp, result = await looked_at(member, KEYED)
    hidden = found(result, "plain-credential-env-api-key")
    assert (await apply(member, mcp["id"], result, hidden)).json()["unknown"] == ["API_KEY"]


async def test_a_secret_that_is_stored_is_not_named(member: Caller) -> None:
    stored = await member.put("/api/v1/secrets/API_KEY", json={"value": "a-new-value-1"})
    assert stored.is_success, stored.text
    mcp, result = await looked_at(member, KEYED)
    hidden = found(result, "plain-credential-env-api-key")
    assert (await apply(member, mcp["id"], result, hidden)).json()["unknown"] == []


async def test_a_change_elsewhere_is_no_obstacle_and_one_in_the_same_place_is(member: Caller) -> None:
    mcp, result = await looked_at(member, OLD, KEYED)
    path = f"/api/v1/mcps/{mcp['id']}"
    other = {"servers": [OLD, KEYED | {"env": {"API_KEY": "plain-value-1", "MODE": "slow"}}]}
    assert (await member.put(path, json={"config": other})).status_code == 200
    assert (await apply(member, mcp["id"], result, found(result, "package-version"))).status_code == 200
    swapped = {"servers": [KEYED, OLD]}
    assert (await member.put(path, json={"config": swapped})).status_code == 200
    misfit = await apply(member, mcp["id"], result, found(result, "plain-credential-env-api-key"))
    assert misfit.status_code == 409
    assert "have the MCP looked at again" in misfit.json()["detail"]
    assert await config(member, mcp["id"]) == swapped


async def test_the_state_that_was_read_is_respected(member: Caller) -> None:
    mcp, result = await looked_at(member, OLD)
    suggestion = found(result, "package-version")
    assert (await apply(member, mcp["id"], result, suggestion, **{"If-Match": '"7"'})).status_code == 409
    answer = await apply(member, mcp["id"], result, suggestion, **{"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')


async def test_what_has_no_patch_cannot_be_applied(member: Caller) -> None:
    mcp, result = await looked_at(member, OLD)
    answer = await apply(member, mcp["id"], result, found(result, "mcp-description"))
    assert answer.status_code == 422
    assert "has no patch" in answer.text


async def test_only_who_may_change_the_mcp_and_see_the_task_applies(
    improving: Improving, member: Caller
) -> None:
    mcp, result = await looked_at(member, OLD)
    suggestion = found(result, "package-version")
    stranger = await improving.platform.member()
    assert (await apply(stranger, mcp["id"], result, suggestion)).status_code == 403
    own = await stranger.register_mcp({"servers": [OLD]})
    assert (await apply(stranger, own["id"], result, suggestion)).status_code == 404
    other = await apply(improving.admin, own["id"], result, suggestion)
    assert other.status_code == 422
    assert "another MCP" in other.text
    strange = {"id": "no-such-suggestion"}
    assert (await apply(member, mcp["id"], result, strange)).status_code == 404
    assert (await apply(member, str(uuid4()), result, suggestion)).status_code == 404


async def test_only_an_analysis_of_improvements_has_suggestions(member: Caller) -> None:
    mcp = await member.register_mcp({"servers": [OLD]})
    order = {"config": {"name": "An idea", "description": "Tells the time"}, "engine": "rules", "try": False}
    started = await member.post("/api/v1/analyze/feasibility", json=order)
    task_id = started.json()["task_id"]
    await member.task_is(task_id, "completed", "failed")
    answer = await apply(member, mcp["id"], {"task_id": task_id}, {"id": "any"})
    assert answer.status_code == 422
    assert "no analysis of improvements" in answer.text


async def test_an_mcp_that_one_may_not_know_of_is_not_looked_at(improving: Improving) -> None:
    answer = await improving.admin.post("/api/v1/analyze/improvements", json={"tool_id": str(uuid4())})
    assert answer.status_code == 404
    viewer = await improving.platform.member("viewer")
    mcp = await improving.admin.register_mcp({"servers": [OLD]})
    assert (await viewer.post("/api/v1/analyze/improvements", json={"tool_id": mcp["id"]})).status_code == 403
