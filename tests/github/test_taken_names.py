"""Repositories whose names somebody else's have taken: nothing is written there, or read from them."""

from typing import Any

from mcp_platform.contracts.github import Connection, WebhookState
from mcp_platform.names import check_workflow_id
from tests.github.connecting import CONFIG, connected
from tests.github.deliveries import deliver
from tests.github.double import GitHubDouble, Repository
from tests.github.syncs import Bound, bind, own, servers, unique
from tests.github.test_drift import look
from tests.github.test_pushing import change, push
from tests.platform import RunningPlatform
from tests.waiting import eventually

TAKEN = "Another repository has taken this name at GitHub"


async def taken(github: GitHubDouble, repository: Repository, **files: str) -> Repository:
    """Rename a repository, and let another one have its name, where the same people may all."""
    full_name, rights = repository.full_name, repository.rights
    github.rename(repository, unique("renamed"))
    other = await github.repository(full_name, {"README.md": "another one", **files})
    other.rights = dict.fromkeys(rights, "admin")
    return other


async def known(bound: Bound) -> None:
    """Note GitHub's number of the repository, as connecting does."""
    async with bound.platform.parts.stores.write() as rows:
        now = bound.sealed.connection.updated_at
        await rows.connections.update(bound.id, now, repository_id=bound.repository.number)


async def test_nothing_is_pushed_to_it(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    await bound.sync()
    await known(bound)
    await change(bound, slug)
    other = await taken(github, bound.repository, **{"mcp.json": own(slug)})
    assert TAKEN in (await push(bound, "failed"))["error"]
    assert (other.pulls, list(await other.git.branches())) == ({}, ["main"])
    assert bound.repository.pulls == {}


async def test_one_that_was_only_renamed_is_pushed_to(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    await bound.sync()
    await known(bound)
    await change(bound, slug)
    github.rename(bound.repository, unique("renamed"))
    [pushed] = (await push(bound))["result"]["pushed"]
    assert list(bound.repository.pulls) == [pushed["pull_request"]]


async def test_its_pull_requests_are_not_checked(platform: RunningPlatform, github: GitHubDouble) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("time"))})
    await known(bound)
    other = await taken(github, bound.repository)
    await other.commit({"mcp.json": own(unique("x"))}, branch="change", parent=await other.head())
    pull = other.open_pull("change")
    event: dict[str, Any] = {
        "action": "opened",
        "number": pull.number,
        "repository": other.as_json(None),
        "pull_request": {"number": 1, "base": {"ref": "main"}, "head": {"sha": await other.head("change")}},
    }
    query = f"?connection={bound.id}"
    answer = await deliver(platform, "pull_request", event, query=query)
    assert (answer.status_code, answer.json()["message"]) == (
        200,
        "Ignored: it is about another repository, which has this name now",
    )
    # One that does not say which: GitHub is asked.
    nameless = event | {"repository": {"full_name": other.full_name}}
    assert (await deliver(platform, "pull_request", nameless, query=query)).status_code == 202

    async def task() -> dict[str, Any]:
        found = await bound.caller.get(f"/api/v1/tasks/{check_workflow_id(bound.id, pull.number)}")
        body: dict[str, Any] = found.json()
        return body

    ended = await eventually(task, lambda seen: seen.get("status") in {"completed", "failed"})
    assert (ended["status"], TAKEN in ended["error"]) == ("failed", True), ended
    assert (other.comments, other.statuses) == ({}, [])


async def test_its_commits_are_not_noticed(platform: RunningPlatform, github: GitHubDouble) -> None:
    bound = await bind(platform, github, {"mcp.json": servers(unique("time"))}, webhook=WebhookState.REFUSED)
    await bound.sync()
    await known(bound)
    before = await bound.connection()
    await taken(github, bound.repository)
    await look(platform)

    def facts(seen: Connection) -> tuple[str | None, str | None, str]:
        return seen.head_commit, seen.synced_commit, seen.drift

    assert facts(await bound.connection()) == facts(before)
    github.repositories[before.full_name.lower()] = bound.repository
    head = await bound.repository.commit({"mcp.json": servers(unique("other"))})
    await look(platform)
    assert (await bound.connection()).head_commit == head, "it would have been"


async def test_a_webhook_of_ours_that_stays_behind_is_told(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    member = await platform.member()
    repository = await github.repository(f"acme/{unique('tools')}", {"mcp.json": CONFIG})
    token = github.token("mona", {repository.full_name: "admin"})
    made = await connected(member, repository, token)
    other = await taken(github, repository)
    path = f"/api/v1/github/connections/{made['connection_id']}"
    answer = await member.patch(path, json={"access_token": token})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "GITHUB_REPOSITORY_NOT_FOUND")
    answer = await member.delete(f"/api/v1/github/disconnect/{made['connection_id']}")
    assert answer.status_code == 200, answer.text
    assert TAKEN in answer.json()["left"]
    assert (len(repository.hooks), other.hooks) == (1, {})
