"""Syncing MCPs with a repository, from the request to the history of each MCP."""

import json
from uuid import UUID

import pytest

from tests.github.double import GitHubDouble
from tests.github.syncs import bind, outcomes, own, servers, unique
from tests.platform import RunningPlatform


async def test_definitions_become_mcps_whose_history_names_the_commit(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    one, two, three = unique("one"), unique("two"), unique("three")
    files: dict[str, str | bytes] = {
        "README.md": "# Tools",
        "mcp.json": own(one, version="2.1.0", description="Tells the time", tags=["time"]),
        ".mcp/team.yaml": f"mcpServers:\n  {two}:\n    command: npx\n    args: [-y, some-server]\n",
        "apps/a/server.json": json.dumps(
            {
                "name": f"io.example/{three}",
                "description": "Remote",
                "version": "3.0.0",
                "remotes": [{"type": "streamable-http", "url": "https://example.com/mcp"}],
            }
        ),
    }
    bound = await bind(platform, github, files)
    report = await bound.sync()

    head = await bound.repository.head()
    assert (report["commit"], report["branch"], report["files"]) == (head, "main", 4)
    assert outcomes(report) == {one: "added", two: "added", three: "added"}
    assert (report["added"], report["changed"], report["refused"]) == (3, 0, 0)

    mcp = await bound.mcp(one)
    assert (mcp["name"], mcp["description"], mcp["version"]) == ("A tool", "Tells the time", "2.1.0")
    assert (mcp["tags"], mcp["status"]) == (["time"], "draft")
    assert mcp["config"]["servers"][0]["args"] == ["mcp-server-time"]
    assert (await bound.mcp(two))["config"]["servers"][0]["command"] == "npx"
    assert (await bound.mcp(three))["version"] == "3.0.0"
    [entry] = await bound.history(one)
    assert entry["origin"] == f"github:{bound.repository.full_name}@{head}:mcp.json"

    connection = await bound.connection()
    assert (connection.synced_commit, connection.head_commit) == (head, head)
    assert connection.synced_at is not None


async def test_a_repeated_sync_changes_nothing(platform: RunningPlatform, github: GitHubDouble) -> None:
    one, two = unique("one"), unique("two")
    bound = await bind(platform, github, {"mcp.json": own(one), ".mcp.json": servers(two)})
    await bound.sync()
    before = await bound.definitions()
    report = await bound.sync()
    assert outcomes(report) == {one: "unchanged", two: "unchanged"}
    assert len(await bound.history(one)) == len(await bound.history(two)) == 1
    assert await bound.definitions() == before


async def test_a_changed_definition_becomes_a_new_version(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    one, two = unique("one"), unique("two")
    bound = await bind(platform, github, {"mcp.json": own(one), ".mcp.json": servers(two)})
    await bound.sync()
    head = await bound.repository.commit({"mcp.json": own(one, "npx")})
    assert outcomes(await bound.sync()) == {one: "changed", two: "unchanged"}
    newest, _ = await bound.history(one)
    assert (newest["version"], newest["origin"].split("@")[1]) == ("1.0.1", f"{head}:mcp.json")

    await bound.repository.commit({"mcp.json": own(one, "docker", version="2.0.0")})
    await bound.sync()
    assert (await bound.mcp(one))["version"] == "2.0.0"
    await bound.repository.commit({"mcp.json": own(one, "node", version="1.5.0")})
    await bound.sync()
    assert (await bound.mcp(one))["version"] == "2.0.1", "a lower version than the present one does not count"


async def test_what_cannot_be_taken_is_refused_with_the_reason_and_the_rest_is_taken(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    good, plain, unreadable = unique("good"), unique("plain"), unique("unreadable")
    secret = {"mcpServers": {plain: {"command": "x", "env": {"API_KEY": "abcdef123456"}}}}
    files: dict[str, str | bytes] = {
        "mcp.json": own(good),
        ".mcp/secret.json": json.dumps(secret),
        ".mcp/broken.yaml": "a: [1\n",
        ".mcp/unreadable.json": own(unreadable, version="one"),
    }
    bound = await bind(platform, github, files)
    report = await bound.sync()
    assert outcomes(report) == {
        good: "added",
        plain: "refused",
        unreadable: "refused",
        ".mcp/broken.yaml": "refused",
    }
    reasons = {each["path"]: each["reason"] for each in report["definitions"]}
    assert "servers.0.env.API_KEY" in reasons[".mcp/secret.json"]
    assert "abcdef123456" not in json.dumps(report)
    assert "line 2" in reasons[".mcp/broken.yaml"]
    assert "version" in reasons[".mcp/unreadable.json"]


async def test_a_deleted_file_is_reported_once_and_its_mcp_stays(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    kept, lost = unique("kept"), unique("lost")
    bound = await bind(platform, github, {"mcp.json": servers(kept, lost)})
    await bound.sync()
    await bound.repository.commit({"mcp.json": servers(kept)})
    assert outcomes(await bound.sync()) == {kept: "unchanged", lost: "removed"}
    assert (await bound.mcp(lost))["version"] == "1.0.0"
    assert outcomes(await bound.sync()) == {kept: "unchanged"}
    assert {each.entry: each.gone for each in await bound.definitions()} == {kept: False, lost: True}

    await bound.repository.commit({"mcp.json": servers(kept, lost)})
    assert outcomes(await bound.sync()) == {kept: "unchanged", lost: "unchanged"}
    assert not any(each.gone for each in await bound.definitions())


async def test_a_moved_definition_stays_the_same_mcp(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("moving")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    await bound.sync()
    await bound.repository.commit({"mcp.json": None, ".mcp/moved.json": own(slug, "npx")})
    assert outcomes(await bound.sync()) == {slug: "changed"}
    [definition] = await bound.definitions()
    assert (definition.path, definition.gone) == (".mcp/moved.json", False)
    assert len(await bound.history(slug)) == 2


async def test_a_slug_that_is_defined_twice_counts_once(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("twice")
    files: dict[str, str | bytes] = {"b/.mcp.json": servers(slug), "mcp.json": servers(slug, command="npx")}
    bound = await bind(platform, github, files)
    report = await bound.sync()
    assert [(each["path"], each["outcome"]) for each in report["definitions"]] == [
        ("b/.mcp.json", "refused"),
        ("mcp.json", "added"),
    ]
    await bound.repository.commit({"a.json": "{}", "mcp.json": servers(slug)})
    assert [each["outcome"] for each in (await bound.sync())["definitions"]] == ["refused", "changed"]


async def test_an_mcp_that_only_the_platform_changed_stays(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("here")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    await bound.sync()
    mcp = await bound.mcp(slug)
    config = {"servers": [{"name": "main", "command": "deno"}]}
    assert (await bound.caller.put(f"/api/v1/mcps/{mcp['id']}", json={"config": config})).status_code == 200

    [report] = (await bound.sync())["definitions"]
    assert (report["outcome"], report["version"]) == ("unchanged", "1.0.1")
    assert "newer than the repository's" in report["reason"]
    assert (await bound.mcp(slug))["config"] == config

    [report] = (await bound.sync(force=True))["definitions"]
    assert report["outcome"] == "changed"
    assert (await bound.mcp(slug))["config"]["servers"][0]["command"] == "uvx"


async def test_an_mcp_that_both_changed_is_refused_until_somebody_decides(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("both")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    await bound.sync()
    mcp = await bound.mcp(slug)
    config = {"servers": [{"name": "main", "command": "deno"}]}
    await bound.caller.put(f"/api/v1/mcps/{mcp['id']}", json={"config": config})
    await bound.repository.commit({"mcp.json": own(slug, "npx")})
    for _ in range(2):
        [report] = (await bound.sync())["definitions"]
        assert report["outcome"] == "refused"
        assert '{"force": true}' in report["reason"]
    assert (await bound.mcp(slug))["config"] == config
    assert outcomes(await bound.sync(force=True)) == {slug: "changed"}
    assert (await bound.mcp(slug))["config"]["servers"][0]["command"] == "npx"
    assert outcomes(await bound.sync()) == {slug: "unchanged"}


async def test_what_the_platform_changed_counts_as_in_step_once_the_repository_says_it_too(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("pushed")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    await bound.sync()
    mcp = await bound.mcp(slug)
    changed = json.loads(own(slug, "npx"))
    await bound.caller.put(f"/api/v1/mcps/{mcp['id']}", json={"config": changed["config"]})
    await bound.repository.commit({"mcp.json": json.dumps(changed)})
    [report] = (await bound.sync())["definitions"]
    assert (report["outcome"], report["reason"]) == ("unchanged", None)
    [definition] = await bound.definitions()
    assert definition.revision == 2

    await bound.repository.commit({"mcp.json": own(slug, "node")})
    assert outcomes(await bound.sync()) == {slug: "changed"}


async def test_a_slug_of_somebody_else_is_refused(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("taken")
    other = await platform.member()
    await other.register_mcp({"servers": []}, slug=slug)
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    for force in (False, True):
        [report] = (await bound.sync(force=force))["definitions"]
        assert report["outcome"] == "refused"
        assert "somebody else" in report["reason"]
    assert (await bound.mcp(slug))["config"] == {"servers": []}


async def test_an_own_mcp_that_was_never_of_the_repository_is_taken_over_only_by_force(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("mine")
    caller = await platform.member()
    await caller.register_mcp({"servers": []}, slug=slug)
    bound = await bind(platform, github, {"mcp.json": own(slug)}, caller=caller)
    [report] = (await bound.sync())["definitions"]
    assert (report["outcome"], "tool_id" in report["reason"]) == ("refused", True)
    assert outcomes(await bound.sync(force=True)) == {slug: "changed"}
    assert len(await bound.history(slug)) == 2


@pytest.mark.parametrize("named", [True, False])
async def test_the_mcp_that_the_connection_names_gets_its_definition(
    platform: RunningPlatform, github: GitHubDouble, *, named: bool
) -> None:
    caller = await platform.member()
    mcp = await caller.register_mcp({"servers": []}, slug=unique("tool"))
    slug = mcp["slug"] if named else unique("another-name")
    bound = await bind(platform, github, {"mcp.json": own(slug)}, caller=caller, tool_id=UUID(mcp["id"]))
    [report] = (await bound.sync())["definitions"]
    assert (report["outcome"], report["mcp_id"]) == ("changed", mcp["id"])
    assert (await bound.mcp(mcp["slug"]))["config"]["servers"][0]["command"] == "uvx"

    more = unique("more")
    await bound.repository.commit({".mcp/more.json": own(more)})
    assert outcomes(await bound.sync()) == {slug: "unchanged", more: "added"}


async def test_only_definitions_below_the_path_count(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("inner")
    files: dict[str, str | bytes] = {"mcp.json": own(unique("outer")), "team/a/mcp.json": own(slug)}
    bound = await bind(platform, github, files, path="team")
    assert outcomes(await bound.sync()) == {slug: "added"}


async def test_a_connection_of_somebody_else_cannot_be_synced(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("mine"))})
    stranger, admin = await platform.member(), await platform.admin()
    answer = await stranger.post(f"/api/v1/github/sync/{bound.id}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "NOT_FOUND")
    answer = await bound.caller.post(f"/api/v1/github/sync/{bound.id}", json={"forced": True})
    assert answer.status_code == 422
    assert (await admin.post(f"/api/v1/github/sync/{bound.id}")).status_code == 202
    await bound.caller.task_is(bound.task_id, "completed")


async def test_the_report_and_the_task_say_in_a_few_words_what_came_of_it(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    files: dict[str, str | bytes] = {"mcp.json": servers(unique("one"), unique("two")), ".mcp/bad.json": "{"}
    bound = await bind(platform, github, files)
    await bound.ask()
    task = await bound.ended()
    assert (task["status"], task["message"]) == ("completed", "2 added, 1 refused")
    assert (task["result"]["message"], task["result"]["warnings"]) == ("2 added, 1 refused", [])


@pytest.mark.parametrize(
    ("path", "warning"),
    [
        ("", "No definition was found: looked for .mcp.json, mcp.json, mcp_settings.json, server.json"),
        ("docs", "No definition was found below 'docs': looked for .mcp.json"),
        ("doc", "Nothing lies below 'doc' in the repository"),
    ],
)
async def test_a_sync_that_finds_no_definition_says_so(
    platform: RunningPlatform, github: GitHubDouble, path: str, warning: str
) -> None:
    bound = await bind(platform, github, {"docs/README.md": "# Tools"}, path=path)
    report = await bound.sync()
    [said] = report["warnings"]
    assert said.startswith(warning)
    assert report["message"] == said
