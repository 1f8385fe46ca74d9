"""The history of an MCP: what changed, and going back."""

import copy
from typing import Any

import pytest

from mcp_platform.differences import Difference, differences
from tests.mcps.test_mcps import WEATHER
from tests.platform import RunningPlatform

ONE = {"servers": [{"name": "one", "url": "http://one.example/mcp"}]}
TWO = {"servers": [{"name": "two", "url": "http://two.example/mcp", "headers": {"X": "1"}}]}


def applied(value: Any, steps: list[Difference]) -> Any:
    """Take the steps, as RFC 6902 says."""
    root = {"": copy.deepcopy(value)}
    for step in steps:
        *way, last = ["", *(part.replace("~1", "/").replace("~0", "~") for part in step.path.split("/")[1:])]
        place: Any = root
        for part in way:
            place = place[int(part) if isinstance(place, list) else part]
        key: Any = int(last) if isinstance(place, list) else last
        if step.op != "add":
            assert place[key] == step.old
        if step.op == "remove":
            del place[key]
        elif step.op == "add" and isinstance(place, list):
            place.insert(key, step.value)
        else:
            place[key] = step.value
    return root[""]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"a": 1}),
        ({"a": 1}, {}),
        ({"a": {"b": [1, 2, 3]}}, {"a": {"b": [1, 3]}}),
        ([1, 2, 3, 4, 5], [5]),
        ([5], [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4], [1, 9, 8, 7, 4]),
        ([1, 9, 8, 7, 4], [1, 2, 4]),
        ({"a/b": 1, "c~d": 2}, {"a/b": 2, "c~d": 3, "~1": None}),
        ({"a": None}, {"a": 0}),
        ({"a": True}, {"a": 1}),
        ({"a": []}, {"a": {}}),
        ([{"n": "x", "v": 1}, {"n": "y"}], [{"n": "x", "v": 2}, {"n": "z"}, {"n": "y"}]),
        ("text", ["text"]),
    ],
)
def test_the_steps_lead_from_the_one_to_the_other(old: Any, new: Any) -> None:
    steps = list(differences(old, new))
    assert steps
    result = applied(old, steps)
    assert (result, str(result)) == (new, str(new))
    assert list(differences(new, new)) == []


def test_only_what_differs_is_told() -> None:
    old: Any = {"servers": [{"name": "a"}, {"name": "b", "env": {"X": "1", "Y": "2"}}], "tools": []}
    new = copy.deepcopy(old)
    new["servers"][1]["env"]["X"] = "3"
    (step,) = differences(old, new)
    assert step == Difference(op="replace", path="/servers/1/env/X", value="3", old="1")


async def test_two_revisions_are_compared_by_version_or_number(platform: RunningPlatform) -> None:
    member = await platform.member()
    mcp = await member.register_mcp(ONE, name="Before", tags=["old"])
    path = f"/api/v1/mcps/{mcp['id']}"
    await member.put(path, json={"name": "After", "status": "active", "tags": ["new"]})
    await member.put(path, json={"config": TWO, "version": "1.1.0"})
    by_version = await member.get(f"{path}/history/diff", params={"from": "1.0.0", "to": "1.1.0"})
    assert by_version.status_code == 200, by_version.text
    found = by_version.json()
    # Two revisions have the number 1.0.0, and the newest of them is meant.
    assert (found["older"]["revision"], found["newer"]["revision"]) == (2, 3)
    assert found["fields"] == []
    steps = [Difference.model_validate(step) for step in found["config"]]
    assert applied(ONE, steps) == TWO

    by_number = (await member.get(f"{path}/history/diff", params={"from": 1, "to": 2})).json()
    assert by_number["config"] == []
    assert {(step["path"], step["old"], step["value"]) for step in by_number["fields"]} == {
        ("/name", "Before", "After"),
        ("/status", "draft", "active"),
        ("/tags/0", "old", "new"),
    }
    missing = await member.get(f"{path}/history/diff", params={"from": "1.0.0", "to": "7.0.0"})
    assert (missing.status_code, missing.json()["resource_type"]) == (404, "mcp_version")
    assert missing.json()["detail"].endswith(
        "no version or revision 7.0.0; its newest versions are: 1.1.0, 1.0.0"
    )
    wrong = await member.get(f"{path}/history/diff", params={"from": "first", "to": "1.1.0"})
    assert wrong.status_code == 422


async def test_the_history_comes_in_pages(platform: RunningPlatform) -> None:
    member = await platform.member()
    mcp = await member.register_mcp(WEATHER)
    path = f"/api/v1/mcps/{mcp['id']}"
    for number in range(4):
        await member.put(path, json={"description": f"change {number}"})
    answer = (await member.get(f"{path}/history", params={"page": 2, "page_size": 2})).json()
    assert {key: answer[key] for key in ("total", "page", "page_size", "pages")} == {
        "total": 5,
        "page": 2,
        "page_size": 2,
        "pages": 3,
    }
    assert [entry["revision"] for entry in answer["versions"]] == [3, 2]


@pytest.mark.parametrize("order", [{"version": "1.0.0"}, {"revision": 1}], ids=["version", "revision"])
async def test_a_rollback_is_a_new_version(platform: RunningPlatform, order: dict[str, Any]) -> None:
    member = await platform.member()
    mcp = await member.register_mcp(ONE)
    path = f"/api/v1/mcps/{mcp['id']}"
    changed = await member.put(path, json={"config": TWO, "version": "2.0.0", "name": "Kept"})
    back = await member.post(f"{path}/rollback", json=order, headers={"If-Match": changed.headers["ETag"]})
    assert back.status_code == 200, back.text
    assert set(back.json()) == set(changed.json())
    assert (back.json()["version"], back.json()["name"]) == ("2.0.1", "Kept")
    details = await member.get(path)
    assert details.json()["config"] == ONE
    assert details.headers["ETag"] == back.headers["ETag"]
    history = (await member.get(f"{path}/history")).json()["versions"]
    assert [(entry["version"], entry["change_type"]) for entry in history] == [
        ("2.0.1", "rollback"),
        ("2.0.0", "update"),
        ("1.0.0", "create"),
    ]
    late = await member.post(
        f"{path}/rollback", json={"version": "2.0.0"}, headers={"If-Match": changed.headers["ETag"]}
    )
    assert late.status_code == 409
    again = await member.post(f"{path}/rollback", json=order)
    assert again.status_code == 409
    assert "has this configuration already" in again.json()["detail"]


async def test_a_rollback_to_nowhere_or_by_a_stranger_is_refused(platform: RunningPlatform) -> None:
    author, stranger = await platform.member(), await platform.member()
    mcp = await author.register_mcp(ONE)
    path = f"/api/v1/mcps/{mcp['id']}/rollback"
    assert (await author.post(path, json={"version": "9.0.0"})).status_code == 404
    assert (await author.post(path, json={})).status_code == 422
    assert (await author.post(path, json={"version": "1.0.0", "revision": 1})).status_code == 422
    assert (await stranger.post(path, json={"revision": 1})).status_code == 403
