"""Finding MCPs: words, tags, authors, order and pages."""

from typing import Any
from uuid import uuid4

import pytest

from tests.mcps.test_mcps import WEATHER
from tests.platform import Caller, RunningPlatform


async def found(caller: Caller, **params: Any) -> list[str]:
    """Give the names of what a list has."""
    answer = await caller.get("/api/v1/mcps", params={"page_size": 100, **params})
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


async def test_every_word_must_occur_somewhere_also_in_tools_and_tags(platform: RunningPlatform) -> None:
    member = await platform.member()
    mark = uuid4().hex[:8]
    tools = [{"name": "forecast", "description": "Tells tomorrow's Rain"}]
    await member.register_mcp(
        {"tools": tools}, name=f"Sky {mark}", description="查询天气预报", tags=["outdoor"]
    )
    await member.register_mcp({}, name=f"Sea {mark}", description="waves and rain")
    assert await found(member, search=f"{mark} rain") == [f"Sea {mark}", f"Sky {mark}"]
    assert await found(member, search=f"FORECAST tomorrow {mark}") == [f"Sky {mark}"]
    assert await found(member, search=f"outdoor {mark}") == [f"Sky {mark}"]
    assert await found(member, search=f"天气 {mark}") == [f"Sky {mark}"]
    assert await found(member, search=f"waves forecast {mark}") == []


async def test_a_change_changes_what_is_found(platform: RunningPlatform) -> None:
    member = await platform.member()
    old, new = uuid4().hex, uuid4().hex
    mcp = await member.register_mcp({"tools": [{"name": old}]}, description="kept words")
    path = f"/api/v1/mcps/{mcp['id']}"
    await member.put(path, json={"description": "other words"})
    assert await found(member, search=old) == ["Test"]
    await member.put(path, json={"config": {"tools": [{"name": new}]}})
    assert await found(member, search=old) == []
    assert await found(member, search=new) == ["Test"]
    await member.post(f"{path}/rollback", json={"version": "1.0.0"})
    assert await found(member, search=old) == ["Test"]


async def test_in_a_search_names_come_first_and_then_the_newest(platform: RunningPlatform) -> None:
    member = await platform.member()
    mark = uuid4().hex[:8]
    for name, description in ((f"b {mark}", ""), ("a", mark), (f"c {mark}", ""), ("d", mark)):
        await member.register_mcp({}, name=name, description=description)
    assert await found(member, search=mark) == [f"c {mark}", f"b {mark}", "d", "a"]
    by_name = await found(member, search=mark, sort="name", order="asc")
    assert by_name == ["a", f"b {mark}", f"c {mark}", "d"]


@pytest.mark.parametrize(
    ("sort", "ascending"),
    [
        ("created_at", ["One", "two", "Three"]),
        ("updated_at", ["two", "Three", "One"]),
        ("name", ["One", "Three", "two"]),
        ("slug", ["Three", "two", "One"]),
    ],
)
async def test_a_list_is_sorted_both_ways(platform: RunningPlatform, sort: str, ascending: list[str]) -> None:
    member = await platform.member()
    mark = uuid4().hex[:8]
    made = [
        await member.register_mcp({}, name=name, slug=f"{prefix}-{mark}")
        for name, prefix in (("One", "c"), ("two", "b"), ("Three", "a"))
    ]
    await member.put(f"/api/v1/mcps/{made[0]['id']}", json={"description": "newer"})
    assert await found(member, mine=True, sort=sort, order="asc") == ascending
    assert await found(member, mine=True, sort=sort) == ascending[::-1]


async def test_a_list_can_be_narrowed_to_an_author(platform: RunningPlatform) -> None:
    one, other = await platform.member(), await platform.member()
    mcp = await one.register_mcp({}, name="of one")
    await other.register_mcp({}, name="of the other")
    assert await found(one, mine=True) == ["of one"]
    assert await found(other, author_id=mcp["author_id"]) == ["of one"]
    assert await found(other, author_id=mcp["author_id"], mine=True) == []


async def test_tags_narrow_all_together_and_are_counted(platform: RunningPlatform) -> None:
    member = await platform.member()
    a, b = f"a-{uuid4().hex[:8]}", f"b-{uuid4().hex[:8]}"
    both = await member.register_mcp({}, name="both", tags=[b, a, b])
    await member.register_mcp({}, name="one", tags=[a])
    assert (await member.get(f"/api/v1/mcps/{both['id']}")).json()["tags"] == [a, b]
    assert await found(member, tag=[a]) == ["one", "both"]
    assert await found(member, tag=[a, b]) == ["both"]
    counts = {each["tag"]: each["count"] for each in (await member.get("/api/v1/mcps/tags")).json()["tags"]}
    assert (counts[a], counts[b]) == (2, 1)
    await member.put(f"/api/v1/mcps/{both['id']}", json={"tags": []})
    assert await found(member, tag=[b]) == []
    assert await found(member, search=b) == []
    await member.delete(f"/api/v1/mcps/{both['id']}")


@pytest.mark.parametrize(
    "tags", [["Upper"], ["-first"], ["two words"], [""], ["x" * 65], [f"t{number}" for number in range(21)]]
)
async def test_tags_that_are_no_lower_case_words_are_refused(
    platform: RunningPlatform, tags: list[str]
) -> None:
    member = await platform.member()
    order = {"name": "n", "slug": f"s-{uuid4().hex}", "version": "1.0.0", "config": {}, "tags": tags}
    assert (await member.post("/api/v1/mcps", json=order)).status_code == 422


async def test_pages_of_equals_neither_overlap_nor_leave_gaps(platform: RunningPlatform) -> None:
    member = await platform.member()
    for _ in range(7):
        await member.register_mcp(WEATHER, name="Same")
    ids: list[str] = []
    for page in (1, 2, 3, 4):
        params: dict[str, Any] = {"mine": True, "sort": "name", "page": page, "page_size": 2}
        answer = (await member.get("/api/v1/mcps", params=params)).json()
        assert (answer["total"], answer["pages"]) == (7, 4)
        ids += [item["id"] for item in answer["items"]]
    assert len(set(ids)) == 7


async def test_a_key_for_some_mcps_sees_and_changes_no_others(platform: RunningPlatform) -> None:
    member = await platform.member()
    allowed = await member.register_mcp({}, name="allowed", tags=["seen-by-the-key"])
    hidden = await member.register_mcp({}, name="hidden", tags=["hidden-from-the-key"])
    made = await member.post("/api/v1/auth/api-keys", json={"name": "k", "mcp_ids": [allowed["id"]]})
    assert made.status_code == 201, made.text
    limited = platform.caller()
    limited.headers["X-API-Key"] = made.json()["key"]
    assert await found(limited) == ["allowed"]
    tags = (await limited.get("/api/v1/mcps/tags")).json()["tags"]
    assert [each["tag"] for each in tags] == ["seen-by-the-key"]
    assert (await limited.get(f"/api/v1/mcps/{allowed['id']}")).status_code == 200
    path = f"/api/v1/mcps/{hidden['id']}"
    for answer in (
        await limited.get(path),
        await limited.put(path, json={"name": "mine"}),
        await limited.delete(path),
        await limited.get(f"{path}/history"),
        await limited.get(f"{path}/export"),
        await limited.post(f"{path}/rollback", json={"revision": 1}),
        await limited.post("/api/v1/deployments", json={"tool_id": hidden["id"]}),
    ):
        assert (answer.status_code, answer.json()["resource_type"]) == (404, "mcp_tool")
    order = {"name": "n", "slug": f"s-{uuid4().hex}", "version": "1.0.0", "config": {}}
    assert (await limited.post("/api/v1/mcps", json=order)).status_code == 403
    assert (await limited.post("/api/v1/mcps/import", json={"mcpServers": {}})).status_code == 403
    exported = (await limited.get("/api/v1/mcps/export")).json()
    assert exported == {"mcpServers": {}}
