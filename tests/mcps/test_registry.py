"""The catalogue in the registry's format."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from tests.mcps.test_exchange import check_server_json
from tests.platform import Caller, RunningPlatform

SERVERS = "/v0.1/servers"
OFFICIAL = "io.modelcontextprotocol.registry/official"


async def published(caller: Caller, slug: str, *versions: str) -> dict[str, Any]:
    """Register an MCP with these versions, and publish it."""
    config: dict[str, Any] = {"servers": [{"name": "s", "command": "npx", "args": ["-y", "p@1.0.0"]}]}
    mcp = await caller.register_mcp(config, slug=slug, version=versions[0], name=f"Named {slug}")
    for version in versions[1:]:
        config["servers"][0]["args"][1] = f"p@{version}"
        answer = await caller.put(f"/api/v1/mcps/{mcp['id']}", json={"config": config, "version": version})
        assert answer.status_code == 200, answer.text
    await caller.put(f"/api/v1/mcps/{mcp['id']}", json={"status": "active"})
    return mcp


async def listed(caller: Caller, **params: Any) -> list[tuple[str, str]]:
    """Give name and version of what the registry lists."""
    answer = await caller.get(SERVERS, params=params)
    assert answer.status_code == 200, answer.text
    return [(each["server"]["name"], each["server"]["version"]) for each in answer.json()["servers"]]


async def test_published_mcps_are_listed_version_by_version(platform: RunningPlatform) -> None:
    member = await platform.member()
    mark = uuid4().hex[:8]
    await published(member, f"a-{mark}", "1.0.0", "1.1.0")
    await published(member, f"b-{mark}", "2.0.0")
    await member.register_mcp({}, slug=f"draft-{mark}")
    a, b = f"local.mcp-platform/a-{mark}", f"local.mcp-platform/b-{mark}"
    assert await listed(member, search=mark) == [(a, "1.0.0"), (a, "1.1.0"), (b, "2.0.0")]
    assert await listed(member, search=mark, version="latest") == [(a, "1.1.0"), (b, "2.0.0")]
    assert await listed(member, search=mark, version="1.0.0") == [(a, "1.0.0")]
    assert await listed(member, search=a) == [(a, "1.0.0"), (a, "1.1.0")]


async def test_an_entry_says_how_to_run_and_how_to_reach_it(platform: RunningPlatform) -> None:
    member = await platform.member()
    slug = f"entry-{uuid4().hex[:8]}"
    await published(member, slug, "1.0.0", "1.1.0")
    answer = (await member.get(SERVERS, params={"search": slug})).json()
    assert answer["metadata"] == {"count": 2}
    older, newer = answer["servers"]
    for each, version in ((older, "1.0.0"), (newer, "1.1.0")):
        check_server_json(each["server"])
        assert each["server"]["title"] == f"Named {slug}"
        assert each["server"]["packages"][0]["version"] == version
        assert each["server"]["remotes"][0]["url"] == f"{platform.url}/mcp/{slug}/v1"
        state = each["_meta"][OFFICIAL]
        assert set(state) == {"status", "publishedAt", "updatedAt", "isLatest"}
        assert state["status"] == "active"
    assert [each["_meta"][OFFICIAL]["isLatest"] for each in (older, newer)] == [False, True]


async def test_pages_follow_one_another_by_their_cursors(platform: RunningPlatform) -> None:
    member = await platform.member()
    mark = uuid4().hex[:8]
    for letter in "abc":
        await published(member, f"{letter}-{mark}", "1.0.0", "1.1.0")
    everything = await listed(member, search=mark)
    found: list[tuple[str, str]] = []
    params: dict[str, Any] = {"search": mark, "limit": 4}
    while True:
        answer = (await member.get(SERVERS, params=params)).json()
        found += [(each["server"]["name"], each["server"]["version"]) for each in answer["servers"]]
        assert answer["metadata"]["count"] == len(answer["servers"])
        if "nextCursor" not in answer["metadata"]:
            break
        params["cursor"] = answer["metadata"]["nextCursor"]
    assert found == everything
    assert len(found) == 6
    assert (await member.get(SERVERS, params={"cursor": "nonsense"})).status_code == 422


async def test_what_changed_since_a_moment_is_listed(platform: RunningPlatform) -> None:
    member = await platform.member()
    slug = f"since-{uuid4().hex[:8]}"
    await published(member, slug, "1.0.0")
    now = datetime.now(UTC)
    assert len(await listed(member, search=slug, updated_since=(now - timedelta(hours=1)).isoformat())) == 1
    assert await listed(member, search=slug, updated_since=(now + timedelta(hours=1)).isoformat()) == []


async def test_one_servers_versions_are_found_by_its_name(platform: RunningPlatform) -> None:
    member = await platform.member()
    slug = f"one-{uuid4().hex[:8]}"
    await published(member, slug, "1.0.0", "1.1.0")
    for name in (f"local.mcp-platform/{slug}", quote(f"local.mcp-platform/{slug}", safe="")):
        versions = (await member.get(f"{SERVERS}/{name}/versions")).json()["servers"]
        assert [each["server"]["version"] for each in versions] == ["1.1.0", "1.0.0"]
        first = (await member.get(f"{SERVERS}/{name}/versions/1.0.0")).json()
        assert first["server"]["version"] == "1.0.0"
        latest = (await member.get(f"{SERVERS}/{name}/versions/latest")).json()
        assert latest["server"]["version"] == "1.1.0"
        assert (await member.get(f"{SERVERS}/{name}/versions/9.9.9")).status_code == 404
    for name in (f"other.namespace/{slug}", "local.mcp-platform/no-such", slug):
        assert (await member.get(f"{SERVERS}/{name}/versions")).status_code == 404


async def test_the_registry_is_not_public(platform: RunningPlatform) -> None:
    assert (await platform.caller().get(SERVERS)).status_code == 401
