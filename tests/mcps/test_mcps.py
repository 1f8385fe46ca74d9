"""MCPs from registration to deletion, to the field of the contract."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from tests.platform import RunningPlatform

WEATHER = {
    "servers": [{"name": "weather-server", "url": "http://api.weather.com"}],
    "tools": [
        {
            "name": "get_weather",
            "description": "Get current weather for a location",
            "parameters": {"location": {"type": "string", "description": "City name or coordinates"}},
        }
    ],
}


def nested(depth: int) -> dict[str, Any]:
    """Give a schema of objects in objects."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def weather(**changes: Any) -> dict[str, Any]:
    """Give the contract's example, under a slug of its own."""
    return {
        "name": "Weather MCP Tool",
        "slug": f"weather-{uuid4().hex[:8]}",
        "description": "Provides weather information via MCP protocol",
        "version": "1.0.0",
        "config": WEATHER,
        **changes,
    }


async def test_the_life_of_an_mcp_has_the_contracts_fields(platform: RunningPlatform) -> None:
    member = await platform.member()
    order = weather()
    created = await member.post("/api/v1/mcps", json=order)
    assert created.status_code == 201
    mcp = created.json()
    assert set(mcp) == {
        *("id", "name", "slug", "description", "version"),
        *("author_id", "status", "created_at", "updated_at"),
    }
    assert mcp["status"] == "draft"

    details = (await member.get(f"/api/v1/mcps/{mcp['id']}")).json()
    assert details == mcp | {"config": WEATHER, "tags": []}

    change = {"version": "1.1.0", "status": "active", "description": "Updated weather tool"}
    changed = await member.put(f"/api/v1/mcps/{mcp['id']}", json=change)
    assert changed.status_code == 200
    assert set(changed.json()) == {"id", "name", "slug", "description", "version", "status", "updated_at"}
    assert changed.json()["version"] == "1.1.0"
    assert changed.json()["updated_at"] > mcp["updated_at"]

    listed = (await member.get("/api/v1/mcps", params={"search": order["slug"], "status": "active"})).json()
    assert {key: listed[key] for key in ("total", "page", "page_size", "pages")} == {
        "total": 1,
        "page": 1,
        "page_size": 20,
        "pages": 1,
    }
    assert set(listed["items"][0]) == {
        *("id", "name", "slug", "description", "version", "status", "created_at", "tags"),
    }

    history = (await member.get(f"/api/v1/mcps/{mcp['id']}/history")).json()["versions"]
    assert [(entry["version"], entry["change_type"]) for entry in history] == [
        ("1.1.0", "update"),
        ("1.0.0", "create"),
    ]
    assert all(entry["config"] == WEATHER for entry in history)
    fields = {"revision", "version", "changed_at", "changed_by", "change_type", "origin", "config"}
    assert set(history[0]) == fields

    deleted = await member.delete(f"/api/v1/mcps/{mcp['id']}")
    assert deleted.json() == {"message": "MCP tool deleted successfully", "id": mcp["id"]}
    gone = await member.get(f"/api/v1/mcps/{mcp['id']}")
    assert gone.status_code == 404
    assert gone.json()["resource_type"] == "mcp_tool"
    assert gone.json()["detail"] == "MCP tool not found"


async def test_a_slug_that_is_taken_is_refused(platform: RunningPlatform) -> None:
    member = await platform.member()
    order = weather()
    assert (await member.post("/api/v1/mcps", json=order)).status_code == 201
    again = await member.post("/api/v1/mcps", json=order)
    assert again.status_code == 409
    assert again.json()["error_code"] == "CONFLICT"


@pytest.mark.parametrize(
    ("changes", "place", "says"),
    [
        ({"slug": "bridge"}, ["body", "slug"], "reserved"),
        ({"slug": "No Spaces"}, ["body", "slug"], "pattern"),
        ({"version": "1.0"}, ["body", "version"], "pattern"),
        ({"name": ""}, ["body", "name"], "at least 1 character"),
        ({"config": {"servers": [{"name": "s"}]}}, ["body", "config", "servers", 0], "exactly one of"),
        (
            {"config": {"servers": [{"name": "s", "url": "http://a.b", "command": "c"}]}},
            ["body", "config", "servers", 0],
            "exactly one of",
        ),
        (
            {"config": {"servers": [{"name": "s", "url": "ftp://a.b"}]}},
            ["body", "config", "servers", 0, "url"],
            "http",
        ),
        (
            {"config": {"servers": [{"name": "s", "command": "c", "env": {"MCP_PLATFORM_X": "1"}}]}},
            ["body", "config", "servers", 0, "env"],
            "belong to the platform",
        ),
        (
            {"config": {"servers": [{"name": "s", "command": "c"}, {"name": "s", "command": "d"}]}},
            ["body", "config"],
            "used twice: s",
        ),
        (
            {"config": {"tools": [{"name": "t", "parameters": {"type": "object", "required": "x"}}]}},
            ["body", "config", "tools", 0],
            "no JSON Schema",
        ),
        (
            {"config": {"tools": [{"name": "t", "parameters": nested(200)}]}},
            ["body", "config"],
            "nested too deeply",
        ),
        ({"config": {"x-vendor": "\ud800"}}, ["body", "config"], "half a character"),
        ({"config": {"\udfff": 1}}, ["body", "config"], "half a character"),
        ({"config": {"x-vendor": float("inf")}}, ["body", "config"], "not finite"),
        (
            {"config": {"servers": [{"name": "s", "url": "http://a.b", "headers": {"X": "a\nb"}}]}},
            ["body", "config", "servers", 0, "headers"],
            "characters that no HTTP header may have",
        ),
        (
            {"config": {"tools": [{"name": "t", "parameters": {"place": {"type": "text"}}}]}},
            ["body", "config", "tools", 0],
            "no JSON Schema",
        ),
    ],
)
async def test_a_wrong_field_is_named_with_what_would_be_right(
    platform: RunningPlatform, changes: dict[str, Any], place: list[str | int], says: str
) -> None:
    member = await platform.member()
    # What JSON has no word for, Python's writer says in its own, and its reader understands.
    body = json.dumps(weather(**changes))
    answer = await member.post("/api/v1/mcps", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    problems = {tuple(problem["loc"]): problem["msg"] for problem in answer.json()["detail"]}
    assert says in problems[tuple(place)]


async def test_fields_of_a_vendor_survive(platform: RunningPlatform) -> None:
    member = await platform.member()
    config = {"servers": [{"name": "s", "command": "c", "x-vendor": {"deep": [1, None]}}], "x-top": True}
    mcp = await member.register_mcp(config)
    assert (await member.get(f"/api/v1/mcps/{mcp['id']}")).json()["config"] == config


async def test_a_new_configuration_is_a_new_version(platform: RunningPlatform) -> None:
    member = await platform.member()
    mcp = await member.register_mcp(WEATHER)
    path = f"/api/v1/mcps/{mcp['id']}"
    other = {"servers": [{"name": "other", "url": "http://example.com/mcp"}]}
    assert (await member.put(path, json={"config": other})).json()["version"] == "1.0.1"
    same = await member.put(path, json={"config": WEATHER, "version": "1.0.1"})
    assert same.status_code == 409
    assert "higher than the present one, 1.0.1" in same.text
    lower = await member.put(path, json={"version": "0.9.9"})
    assert lower.status_code == 409
    history = (await member.get(f"{path}/history")).json()["versions"]
    assert [entry["config"] for entry in history] == [other, WEATHER]


async def test_a_writer_who_read_an_older_state_gets_409(platform: RunningPlatform) -> None:
    member = await platform.member()
    mcp = await member.register_mcp(WEATHER)
    path = f"/api/v1/mcps/{mcp['id']}"
    tag = (await member.get(path)).headers["ETag"]
    first = await member.put(path, json={"description": "mine"}, headers={"If-Match": tag})
    second = await member.put(path, json={"description": "theirs"}, headers={"If-Match": tag})
    assert (first.status_code, second.status_code) == (200, 409)
    assert (await member.get(path)).json()["description"] == "mine"
    again = await member.put(
        path, json={"description": "theirs"}, headers={"If-Match": first.headers["ETag"]}
    )
    assert again.status_code == 200


async def test_of_many_updates_at_once_each_is_either_in_the_history_or_refused(
    platform: RunningPlatform,
) -> None:
    member = await platform.member()
    mcp = await member.register_mcp(WEATHER)
    path = f"/api/v1/mcps/{mcp['id']}"
    answers = await asyncio.gather(
        *(member.put(path, json={"description": f"number {number}"}) for number in range(20))
    )
    codes = [answer.status_code for answer in answers]
    assert set(codes) <= {200, 409}
    assert 200 in codes
    history = (await member.get(f"{path}/history")).json()["versions"]
    assert len(history) == 1 + codes.count(200)
    assert (await member.get(path)).headers["ETag"] == f'"{1 + codes.count(200)}"'


async def test_pages_hold_what_they_say(platform: RunningPlatform) -> None:
    member = await platform.member()
    mark = uuid4().hex[:8]
    for number in range(5):
        await member.register_mcp(WEATHER, name=f"{mark} {number}")
    pages = [
        (await member.get("/api/v1/mcps", params={"search": mark, "page": page, "page_size": 2})).json()
        for page in (1, 2, 3, 4)
    ]
    assert [len(page["items"]) for page in pages] == [2, 2, 1, 0]
    assert all(page["total"] == 5 and page["pages"] == 3 for page in pages)
    names = [item["name"] for page in pages for item in page["items"]]
    assert names == [f"{mark} {number}" for number in (4, 3, 2, 1, 0)]


async def test_only_the_author_or_an_administrator_changes_an_mcp(platform: RunningPlatform) -> None:
    author, stranger, admin = await platform.member(), await platform.member(), await platform.admin()
    mcp = await author.register_mcp(WEATHER)
    path = f"/api/v1/mcps/{mcp['id']}"
    for answer in (await stranger.put(path, json={"description": "mine"}), await stranger.delete(path)):
        assert answer.status_code == 403
        assert answer.json()["required_permission"] == "mcps:all"
    assert (await stranger.get(path)).status_code == 200
    assert (await admin.put(path, json={"description": "ours"})).status_code == 200
    assert (await author.delete(path)).status_code == 200
