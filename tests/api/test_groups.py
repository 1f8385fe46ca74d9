"""Groups by the API: whose they are, who is in them, and what their endpoints offer."""

from typing import Any
from uuid import uuid4

from tests.deployments.servers import TIME
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually

GROUPS = "/api/v1/groups"


async def make(caller: Caller, **changes: Any) -> dict[str, Any]:
    """Make a group."""
    answer = await caller.post(GROUPS, json={"name": f"team-{uuid4().hex[:8]}"} | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def me(caller: Caller) -> str:
    """Give one's own id."""
    return str((await caller.get("/api/v1/auth/me")).json()["id"])


async def test_a_group_is_made_changed_and_deleted_by_its_owner(platform: RunningPlatform) -> None:
    owner = await platform.member()
    group = await make(owner, display_name="Team", description="All of us")
    assert group["endpoint"].endswith(f"/mcp/group/{group['name']}")
    assert [(each["user_id"], each["role"]) for each in group["members"]] == [(await me(owner), "admin")]
    place = f"{GROUPS}/{group['id']}"
    other = f"other-{uuid4().hex[:8]}"
    changed = (await owner.patch(place, json={"name": other, "settings": {"max_members": 2}})).json()
    assert (changed["name"], changed["display_name"]) == (other, "Team")
    assert changed["settings"]["max_members"] == 2
    assert other in {each["name"] for each in (await owner.get(GROUPS)).json()["items"]}
    assert (await owner.delete(place)).status_code == 200
    assert (await owner.get(place)).status_code == 404


async def test_names_are_unique_and_none_that_the_platform_needs(platform: RunningPlatform) -> None:
    owner = await platform.member()
    group = await make(owner)
    again = await owner.post(GROUPS, json={"name": group["name"]})
    assert (again.status_code, again.json()["error_code"]) == (409, "CONFLICT")
    other = await make(owner)
    taken = await owner.patch(f"{GROUPS}/{other['id']}", json={"name": group["name"]})
    assert taken.status_code == 409
    for name in ("smart", "Team", "a b", ""):
        assert (await owner.post(GROUPS, json={"name": name})).status_code == 422


async def test_a_group_is_nothing_to_those_outside_and_only_admins_change_it(
    platform: RunningPlatform,
) -> None:
    owner, colleague, stranger = [await platform.member() for _ in range(3)]
    group = await make(owner)
    place = f"{GROUPS}/{group['id']}"
    for answer in (
        await stranger.get(place),
        await stranger.patch(place, json={"description": "mine"}),
        await stranger.delete(place),
        await stranger.post(f"{place}/members", json={"user_id": await me(stranger)}),
        await stranger.get(f"{place}/tools"),
    ):
        assert (answer.status_code, answer.json()["resource_type"]) == (404, "group")
    added = await owner.post(f"{place}/members", json={"user_id": await me(colleague)})
    assert added.status_code == 201
    assert (await colleague.get(place)).status_code == 200
    assert (await colleague.patch(place, json={"description": "ours"})).status_code == 403
    raised = await owner.post(f"{place}/members", json={"user_id": await me(colleague), "role": "admin"})
    assert raised.status_code == 200
    assert (await colleague.patch(place, json={"description": "ours"})).status_code == 200
    assert (await colleague.delete(place)).status_code == 403
    assert (await (await platform.admin()).get(place)).status_code == 200


async def test_anybody_may_leave_but_the_owner(platform: RunningPlatform) -> None:
    owner, colleague = await platform.member(), await platform.member()
    group = await make(owner, settings={"max_members": 2})
    place = f"{GROUPS}/{group['id']}/members"
    assert (await owner.post(place, json={"user_id": await me(colleague)})).status_code == 201
    third = await me(await platform.member())
    full = await owner.post(place, json={"user_id": third})
    assert (full.status_code, "max_members" in full.json()["detail"]) == (409, True)
    assert (await colleague.delete(f"{place}/{await me(owner)}")).status_code == 403
    assert (await colleague.delete(f"{place}/{await me(colleague)}")).status_code == 200
    assert (await owner.delete(f"{place}/{await me(owner)}")).status_code == 409
    assert (await owner.delete(f"{place}/{third}")).status_code == 404
    assert (await owner.post(place, json={"user_id": str(uuid4())})).status_code == 404


async def test_a_viewer_may_be_a_member_and_make_no_groups(platform: RunningPlatform) -> None:
    owner, viewer = await platform.member(), await platform.member("viewer")
    refused = await viewer.post(GROUPS, json={"name": "mine"})
    assert (refused.status_code, refused.json()["required_permission"]) == (403, "groups:write")
    group = await make(owner)
    await owner.post(f"{GROUPS}/{group['id']}/members", json={"user_id": await me(viewer), "role": "admin"})
    assert (await viewer.get(f"{GROUPS}/{group['id']}")).status_code == 200
    assert (await viewer.patch(f"{GROUPS}/{group['id']}", json={})).status_code == 403


async def test_what_a_group_offers_is_told_and_found_once_a_member_is_deployed(
    platform: RunningPlatform,
) -> None:
    admin = await platform.admin()
    deployed = await admin.deploy(TIME)
    await admin.deployment_is(deployed["deployment_id"], "running")
    shown = (await admin.get("/api/v1/mcps", params={"search": deployed["slug"]})).json()["items"][0]
    member = await platform.member()
    group = await make(member)
    place = f"{GROUPS}/{group['id']}"
    joined = await member.post(f"{place}/mcps", json={"mcp_id": shown["id"], "permissions": ["execute"]})
    assert [each["slug"] for each in joined.json()["mcps"]] == [deployed["slug"]]

    async def offered() -> list[dict[str, Any]]:
        mcps: list[dict[str, Any]] = (await member.get(f"{place}/tools")).json().get("mcps", [])
        return mcps

    async def found_tools() -> list[dict[str, Any]]:
        answer = await member.get("/api/v1/tools/search", params={"q": "现在几点", "limit": 50})
        tools: list[dict[str, Any]] = answer.json().get("tools", [])
        return tools

    def own(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # Other tests may have left servers that tell the time, too.
        return [each for each in found if each["slug"] == deployed["slug"]]

    (mcp,) = await eventually(offered, lambda mcps: [each["state"] for each in mcps] == ["listed"])
    assert (mcp["slug"], mcp["state"], mcp["detail"]) == (deployed["slug"], "listed", None)
    assert {tool["name"] for tool in mcp["tools"]} == {"get_current_time", "convert_time"}
    found = await eventually(found_tools, own)
    assert found[0]["tool"] == "get_current_time"
    assert (own(found)[0]["tool"], own(found)[0]["mcp_id"]) == ("get_current_time", shown["id"])
    assert (await member.delete(f"{place}/mcps/{shown['id']}")).status_code == 200
    assert (await member.delete(f"{place}/mcps/{shown['id']}")).status_code == 404
    await admin.delete(f"/api/v1/deployments/{deployed['deployment_id']}")
