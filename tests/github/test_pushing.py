"""The platform's versions of definitions, as branches and pull requests."""

import json
from typing import Any
from uuid import uuid4

from tests.github.double import GitHubDouble, Repository
from tests.github.syncs import Bound, bind, own, servers, unique
from tests.platform import RunningPlatform


async def push(bound: Bound, *states: str, **order: Any) -> dict[str, Any]:
    """Push, and give the task once it has ended."""
    answer = await bound.caller.post(f"/api/v1/github/push/{bound.id}", json=order or None)
    assert answer.status_code == 202, answer.text
    assert answer.json()["message"] == "Repository push queued for processing"
    task = await bound.caller.task_is(answer.json()["task_id"], "completed", "failed", "cancelled")
    assert task["status"] in (states or ("completed",)), task
    return task


async def change(bound: Bound, slug: str, command: str = "npx", **more: Any) -> dict[str, Any]:
    """Give an MCP another command on the platform."""
    mcp = await bound.mcp(slug)
    server = {**mcp["config"]["servers"][0], "command": command, **more}
    answer = await bound.caller.put(f"/api/v1/mcps/{mcp['id']}", json={"config": {"servers": [server]}})
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


async def content(repository: Repository, branch: str, path: str) -> str:
    """Read a file of a branch."""
    return (await repository.git.run("cat-file", "blob", f"refs/heads/{branch}:{path}")).decode()


async def test_a_version_of_the_platform_becomes_a_pull_request_that_changes_only_what_differs(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug, other = unique("time"), unique("other")
    text = (
        '{\n    "mcpServers": {\n'
        f'        "{other}": {{"command": "x", "args": ["${{env:KEY}}"]}},\n'
        f'        "{slug}": {{"args": ["a", "b"], "command": "uvx", "env": {{"K": "${{input:api-key}}"}}}}\n'
        '    },\n    "theme": "dark"\n}\n'
    )
    bound = await bind(platform, github, {"mcp.json": text})
    await bound.sync()
    changed = await change(bound, slug, "npx")
    result = (await push(bound))["result"]
    [pushed] = result["pushed"]
    assert (result["unchanged"], result["refused"]) == (1, [])
    assert pushed["branch"] == f"mcp-platform/{slug}-{changed['version']}" == f"mcp-platform/{slug}-1.0.1"
    assert await content(bound.repository, pushed["branch"], "mcp.json") == text.replace('"uvx"', '"npx"')
    [pull] = bound.repository.pulls.values()
    assert (pull.number, pull.base, pull.state) == (pushed["pull_request"], "main", "open")
    assert '"command": "uvx"' in pull.body
    assert await content(bound.repository, "main", "mcp.json") == text


async def test_pushing_again_makes_neither_a_commit_nor_a_second_pull_request(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await bound.sync()
    await change(bound, slug)
    first = (await push(bound))["result"]["pushed"][0]
    again = (await push(bound))["result"]["pushed"][0]
    assert (first["updated"], again["updated"]) == (False, True)
    assert again["commit"] == first["commit"] == await bound.repository.head(first["branch"])
    assert len(bound.repository.pulls) == 1
    titled = (await push(bound, title="Take the newer one"))["result"]["pushed"][0]
    assert titled["commit"] == first["commit"]
    assert [pull.title for pull in bound.repository.pulls.values()] == ["Take the newer one"]


async def test_a_later_version_takes_the_place_of_the_pull_request_before(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    foreign = bound.repository.open_pull(f"mcp-platform/{slug}-0.9.0", title="Somebody's own")
    await bound.repository.commit({"x": "1"}, branch=foreign.head, parent=await bound.repository.head())
    await bound.sync()
    await change(bound, slug, "npx")
    first = (await push(bound))["result"]["pushed"][0]
    await change(bound, slug, "node")
    second = (await push(bound))["result"]["pushed"][0]
    assert (second["branch"], second["closed"]) == (f"mcp-platform/{slug}-1.0.2", [first["pull_request"]])
    states = {pull.number: pull.state for pull in bound.repository.pulls.values()}
    assert states == {
        foreign.number: "open",
        first["pull_request"]: "closed",
        second["pull_request"]: "open",
    }


async def test_what_the_repository_says_already_is_not_pushed(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await bound.sync()
    result = (await push(bound))["result"]
    assert result["message"] == "Nothing to push: the repository says what the platform says"
    assert (result["unchanged"], bound.repository.pulls) == (1, {})
    mcp = await bound.mcp(slug)
    answer = await bound.caller.put(f"/api/v1/mcps/{mcp['id']}", json={"status": "active"})
    assert answer.status_code == 200
    assert (await push(bound))["result"]["unchanged"] == 1
    assert bound.repository.pulls == {}


async def test_a_commit_that_somebody_added_to_the_branch_is_kept(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await bound.sync()
    await change(bound, slug)
    first = (await push(bound))["result"]["pushed"][0]
    theirs = await bound.repository.commit(
        {"mcp.json": servers(slug, command="mine"), "notes.md": "x"}, branch=first["branch"]
    )
    again = (await push(bound))["result"]["pushed"][0]
    lines = await bound.repository.git.words("rev-list", first["branch"])
    assert lines.split()[:2] == [again["commit"], theirs]
    assert await content(bound.repository, first["branch"], "notes.md") == "x"
    assert '"npx"' in await content(bound.repository, first["branch"], "mcp.json")


async def test_an_mcp_without_a_definition_gets_a_file_in_the_platforms_format(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"README.md": "tools"})
    config = {
        "servers": [
            {"name": "a", "command": "uvx", "env": {"KEY": "${KEY}"}},
            {"name": "b", "url": "https://x.y"},
        ],
        "tools": [{"name": "t"}],
    }
    mcp = await bound.caller.register_mcp(config, slug=unique("two"), name="Two", tags=["a"])
    pushed = (await push(bound, tool_id=mcp["id"], message="Add two"))["result"]["pushed"][0]
    assert pushed["path"] == f".mcp/{mcp['slug']}.json"
    text = await content(bound.repository, pushed["branch"], pushed["path"])
    assert json.loads(text) == {
        "name": "Two",
        "slug": mcp["slug"],
        "description": "",
        "version": "1.0.0",
        "tags": ["a"],
        "config": config,
    }
    assert await bound.repository.git.words("log", "-1", "--format=%B", pushed["branch"]) == "Add two"
    await bound.repository.set_branch("main", await bound.repository.head(pushed["branch"]))
    report = await bound.sync()
    assert [each["outcome"] for each in report["definitions"]] in (["unchanged"], ["added"], ["changed"])
    assert [each["mcp_id"] for each in report["definitions"]] == [mcp["id"]]


async def test_other_formats_are_written_as_they_are(platform: RunningPlatform, github: GitHubDouble) -> None:
    mine, registry = unique("mine"), unique("registry")
    yaml = (
        f"# ours\nname: Mine\nslug: {mine}\nversion: 1.0.0  # raised by hand\nconfig:\n  servers:\n"
        "    - name: main\n      command: uvx\n"
    )
    server = {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": f"io.github.acme/{registry}",
        "description": "Tells the time",
        "version": "1.0.0",
        "packages": [
            {
                "registryType": "pypi",
                "identifier": "mcp-server-time",
                "version": "1.0.0",
                "fileSha256": "ab" * 32,
                "transport": {"type": "stdio"},
            }
        ],
    }
    files: dict[str, str | bytes] = {".mcp/mine.yaml": yaml, "server.json": json.dumps(server, indent=2)}
    bound = await bind(platform, github, files)
    await bound.sync()
    await change(bound, mine, "npx")
    await change(bound, registry, "uvx", args=["mcp-server-time@2.0.0"])
    result = (await push(bound))["result"]
    assert result["refused"] == []
    branches = {each["slug"]: each["branch"] for each in result["pushed"]}
    written = await content(bound.repository, branches[mine], ".mcp/mine.yaml")
    assert written == yaml.replace("1.0.0  #", '"1.0.1"  #').replace("uvx", '"npx"')
    described = json.loads(await content(bound.repository, branches[registry], "server.json"))
    assert list(described) == list(server)
    assert described["version"] == "1.0.1"
    assert described["packages"][0]["version"] == "2.0.0"
    assert described["packages"][0]["fileSha256"] == "ab" * 32


async def test_what_its_file_cannot_say_is_refused_with_the_reason(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    several, plain = unique("several"), unique("plain")
    bound = await bind(platform, github, {"mcp.json": servers(several, plain)})
    await bound.sync()
    mcp = await bound.mcp(several)
    two = {"servers": [{"name": "a", "command": "x"}, {"name": "b", "command": "y"}]}
    assert (await bound.caller.put(f"/api/v1/mcps/{mcp['id']}", json={"config": two})).status_code == 200
    await change(bound, plain, env={"API_KEY": "a-very-secret-value"})
    task = await push(bound)
    reasons = {each["slug"]: each["reason"] for each in task["result"]["refused"]}
    assert "2 servers" in reasons[several]
    assert "servers.0.env.API_KEY" in reasons[plain]
    assert "a-very-secret-value" not in json.dumps(task)
    assert bound.repository.pulls == {}


async def test_a_branch_that_may_not_be_made_fails_the_push_clearly(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await bound.sync()
    await change(bound, slug)
    bound.repository.protected = "mcp-platform/.*"
    assert "rule violations" in (await push(bound, "failed"))["error"]
    bound.repository.protected = ""
    for login in list(bound.repository.rights):
        bound.repository.rights[login] = "pull"
    assert "Must have push access" in (await push(bound, "failed"))["error"]


async def test_a_push_goes_on_where_it_was_when_github_was_away(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await bound.sync()
    await change(bound, slug)
    github.misbehave(status=0, method="POST", path="/git/refs$", times=1)
    github.misbehave(status=502, method="POST", path="/pulls$", times=1)
    [pushed] = (await push(bound))["result"]["pushed"]
    assert await bound.repository.head(pushed["branch"]) == pushed["commit"]
    assert [pull.state for pull in bound.repository.pulls.values()] == ["open"]


async def test_a_push_can_be_cancelled(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await bound.sync()
    await change(bound, slug)
    github.use_up(3000)
    answer = await bound.caller.post(f"/api/v1/github/push/{bound.id}")
    task_id = answer.json()["task_id"]
    await bound.caller.task_is(task_id, "running")
    assert (await bound.caller.post(f"/api/v1/tasks/{task_id}/cancel")).status_code == 202
    await bound.caller.task_is(task_id, "cancelled")
    assert bound.repository.pulls == {}


async def test_only_who_owns_the_connection_may_push_and_only_what_is_theirs(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": servers(unique("time"))})
    other = await platform.member()
    assert (await other.post(f"/api/v1/github/push/{bound.id}")).status_code == 404
    assert (await other.post(f"/api/v1/github/push/{uuid4()}")).status_code == 404
    theirs = await other.register_mcp({"servers": [{"name": "a", "command": "x"}]})
    answer = await bound.caller.post(f"/api/v1/github/push/{bound.id}", json={"tool_id": theirs["id"]})
    assert (answer.status_code, answer.json()["resource_type"]) == (404, "mcp_tool")
    viewer = await platform.member("viewer")
    assert (await viewer.post(f"/api/v1/github/push/{bound.id}")).status_code == 403


async def test_own_definitions_round_trip(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("own")
    bound = await bind(platform, github, {f".mcp/{slug}.json": own(slug)})
    await bound.sync()
    await change(bound, slug, "npx")
    [pushed] = (await push(bound))["result"]["pushed"]
    await bound.repository.set_branch("main", await bound.repository.head(pushed["branch"]))
    report = await bound.sync()
    assert [each["outcome"] for each in report["definitions"]] == ["unchanged"]
    assert (await bound.mcp(slug))["version"] == "1.0.1"
    assert (await push(bound))["result"]["message"].startswith("Nothing to push")
