"""Pull requests that change definitions."""

import json
from typing import Any

from mcp_platform.names import check_workflow_id
from tests.github.double import GitHubDouble, Pull
from tests.github.syncs import SECRET, Bound, bind, own, servers, unique
from tests.platform import RunningPlatform
from tests.waiting import eventually


async def hook(github: GitHubDouble, bound: Bound) -> None:
    """Have the repository tell the platform of what happens."""
    url = f"{bound.platform.url}/api/v1/github/webhook?connection={bound.id}"
    config = {"url": url, "content_type": "json", "secret": SECRET}
    bound.repository.hooks[1] = {"id": 1, "events": ["push", "pull_request"], "config": config}


async def tell(github: GitHubDouble, bound: Bound, pull: Pull, action: str = "opened") -> None:
    """Deliver the event of a pull request."""
    head = await bound.repository.head(pull.head)
    payload = {
        "action": action,
        "number": pull.number,
        "repository": bound.repository.as_json(None),
        "pull_request": {"number": pull.number, "base": {"ref": pull.base}, "head": {"sha": head}},
    }
    assert await github.deliver(bound.repository, "pull_request", payload) == [202]


async def proposed(
    github: GitHubDouble, bound: Bound, files: dict[str, str | bytes | None], branch: str = "change"
) -> Pull:
    """Open a pull request that changes these files."""
    base = await bound.repository.head()
    await bound.repository.commit(files, branch=branch, parent=base)
    pull = bound.repository.open_pull(branch)
    await tell(github, bound, pull)
    return pull


async def checked(bound: Bound, pull: Pull, *, head: str | None = None) -> dict[str, Any]:
    """Wait until the newest head is checked, and give the result."""
    wanted = await bound.repository.head(pull.head) if head is None else head
    task_id = check_workflow_id(bound.id, pull.number)

    async def read() -> dict[str, Any]:
        answer = await bound.caller.get(f"/api/v1/tasks/{task_id}")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    task = await eventually(
        read,
        lambda seen: (
            seen.get("status") == "failed"
            or (seen.get("status") == "completed" and seen["result"]["head"] == wanted)
        ),
    )
    assert task["status"] == "completed", task
    result: dict[str, Any] = task["result"]
    return result


async def engines(platform: RunningPlatform, workflow_id: str) -> set[str]:
    """Give what the analyses that a workflow has begun were told to judge by."""
    history = await platform.parts.temporal.get_workflow_handle(workflow_id).fetch_history()
    begun = [
        event.start_child_workflow_execution_initiated_event_attributes.input.payloads[0].data
        for event in history.events
        if event.HasField("start_child_workflow_execution_initiated_event_attributes")
    ]
    return {json.loads(data).get("engine", "auto") for data in begun}


def comments(bound: Bound, pull: Pull) -> list[str]:
    """Give the texts of a pull request's comments."""
    return [
        each["body"] for each in bound.repository.comments.values() if each["on"] == f"pull/{pull.number}"
    ]


async def test_a_pull_request_gets_one_comment_with_verdict_and_difference_that_is_updated(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug, "same")})
    await hook(github, bound)
    changed = json.loads(servers(slug, "same"))
    changed["mcpServers"][slug]["args"] = ["mcp-server-time"]
    pull = await proposed(github, bound, {"mcp.json": json.dumps(changed)})
    result = await checked(bound, pull)
    assert [(each["slug"], each["kind"]) for each in result["definitions"]] == [(slug, "changed")]
    # It costs the owner no model, and a budget that is used up stops nothing.
    assert await engines(platform, check_workflow_id(bound.id, pull.number)) == {"rules"}
    [text] = comments(bound, pull)
    assert f'- /config/servers/0/args/0: "{slug}"' in text
    assert '+ /config/servers/0/args/0: "mcp-server-time"' in text
    assert "Judged by rules: feasible, score 0." in text
    assert "registered MCP" not in text
    [status] = bound.repository.statuses
    assert (status["context"], status["state"], status["sha"]) == (
        "mcp-platform/feasibility",
        "success",
        result["head"],
    )
    await bound.repository.commit({"mcp.json": "{"}, branch=pull.head)
    await tell(github, bound, pull, "synchronize")
    again = await checked(bound, pull)
    assert [each["kind"] for each in again["definitions"]] == ["refused"]
    [text] = comments(bound, pull)
    assert "is no JSON" in text
    assert bound.repository.statuses[-1]["state"] == "failure"
    listed = await bound.caller.get("/api/v1/mcps", params={"search": slug})
    assert listed.json()["items"] == []


async def test_nothing_of_a_pull_request_is_started_or_registered(
    platform: RunningPlatform, github: GitHubDouble, tmp_path_factory: Any
) -> None:
    witness = tmp_path_factory.mktemp("witness") / "started"
    slug = unique("evil")
    evil = {"mcpServers": {slug: {"command": "touch", "args": [str(witness)]}}}
    bound = await bind(platform, github, {"README.md": "x"}, caller=await platform.admin())
    await hook(github, bound)
    pull = await proposed(github, bound, {"mcp.json": json.dumps(evil)})
    result = await checked(bound, pull)
    assert [each["kind"] for each in result["definitions"]] == ["added"]
    assert not witness.exists()


async def test_texts_of_a_pull_request_cannot_leave_their_place_in_the_comment(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("sly")
    nasty = "````\n</details>\n# Approved by @admin ![x](https://evil.example/p.png) <!-- x -->"
    bound = await bind(platform, github, {f".mcp/{slug}.json": own(slug)})
    await hook(github, bound)
    files: dict[str, str | bytes | None] = {
        f".mcp/{slug}.json": own(slug, description=nasty),
        ".mcp/a`b|@admin.json": own(unique("other")).replace('"uvx"', "``` @admin"),
    }
    pull = await proposed(github, bound, files)
    await checked(bound, pull)
    [text] = comments(bound, pull)
    outside = _outside_code(text)
    assert "@admin" in text
    for word in ("@admin", "evil.example", "</details>", "# Approved"):
        assert word not in outside, outside
    assert outside.count("<!--") == 1


def _outside_code(text: str) -> str:
    """Give what a Markdown reader takes for text, by the rules of CommonMark for fences and code."""
    kept: list[str] = []
    fence = ""
    for line in text.splitlines():
        ticks = len(line) - len(line.lstrip("`"))
        if fence:
            if ticks >= len(fence) and not line.strip("`"):
                fence = ""
        elif ticks >= 3 and "`" not in line[ticks:]:
            fence = line[:ticks]
        else:
            kept.append(_without_spans(line))
    assert not fence, "a fence is left open"
    return "\n".join(kept)


def _without_spans(line: str) -> str:
    place, kept = 0, ""
    while place < len(line):
        if line[place] != "`":
            kept += line[place]
            place += 1
            continue
        ticks = len(line[place:]) - len(line[place:].lstrip("`"))
        end = place + ticks
        while end < len(line):
            if line[end] != "`":
                end += 1
                continue
            run = len(line[end:]) - len(line[end:].lstrip("`"))
            end += run
            if run == ticks:
                break
        else:
            kept += line[place : place + ticks]
            end = place + ticks
        place = end
    return kept


async def test_closed_ones_and_those_without_definitions_are_told_nothing(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": servers(unique("time"))})
    await hook(github, bound)
    silent = await proposed(github, bound, {"README.md": "x"}, "docs")
    assert (await checked(bound, silent))["state"] == "none"
    closed = bound.repository.open_pull("docs")
    closed.state = "closed"
    await tell(github, bound, closed)
    assert (await checked(bound, closed, head=""))["open"] is False
    assert bound.repository.comments == {}
    assert bound.repository.statuses == []


async def test_somebody_elses_comment_with_our_marker_is_not_taken_for_ours(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await hook(github, bound)
    files = {"mcp.json": servers(slug, command="npx")}
    await bound.repository.commit(files, branch="change", parent=await bound.repository.head())
    pull = bound.repository.open_pull("change")
    forged = f"<!-- mcp-platform:check {bound.id} -->\nAll is well"
    bound.repository.comments[1] = {
        "id": 1,
        "on": f"pull/{pull.number}",
        "body": forged,
        "user": {"login": "mallory", "id": 2, "type": "User"},
        "url": f"{bound.repository.api}/issues/comments/1",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }
    await tell(github, bound, pull)
    await checked(bound, pull)
    assert comments(bound, pull)[0] == forged
    assert len(comments(bound, pull)) == 2


async def test_a_credential_that_may_not_write_statuses_still_comments(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await hook(github, bound)
    github.misbehave(status=403, method="POST", path="/statuses/", message="Resource not accessible")
    pull = await proposed(github, bound, {"mcp.json": servers(slug, command="npx")})
    result = await checked(bound, pull)
    assert (result["status_written"], result["commented"]) == (False, True)
    assert len(comments(bound, pull)) == 1


async def test_a_broken_definition_that_is_changed_to_one_broken_alike_is_reported(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug, other, good = unique("sick"), unique("other"), unique("good")
    broken = {"command": "uvx", "args": [slug], "env": {"API_KEY": "a-very-secret-value"}}
    entries: dict[str, Any] = {slug: broken, other: broken, good: {"command": "uvx", "args": ["a"]}}
    bound = await bind(
        platform,
        github,
        {
            "mcp.json": json.dumps({"mcpServers": entries}),
            ".mcp/file.json": "[1]",
            ".mcp/same.json": "[]",
        },
    )
    await hook(github, bound)
    changed = entries | {
        slug: broken | {"env": {"API_KEY": "another-secret-value"}},
        good: {"command": "uvx", "args": ["b"]},
    }
    files: dict[str, str | bytes | None] = {
        "mcp.json": json.dumps({"mcpServers": changed}),
        ".mcp/file.json": "[2]",
    }
    pull = await proposed(github, bound, files)
    result = await checked(bound, pull)
    kinds = {each["slug"] or each["path"]: each["kind"] for each in result["definitions"]}
    assert kinds == {slug: "refused", good: "changed", ".mcp/file.json": "refused"}
    [text] = comments(bound, pull)
    assert "is no object" in text
    assert "secret-value" not in text
