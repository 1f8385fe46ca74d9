"""Syncing while GitHub, the branch or the worker fails in the middle."""

import asyncio
import time

import pytest
from temporalio.client import WorkflowFailureError

from activities.github_sync.syncing import SyncActivities
from mcp_platform.contracts.github import ConnectionState
from tests.github.double import GitHubDouble
from tests.github.syncs import bind, outcomes, own, servers, unique
from tests.platform import RunningPlatform
from tests.waiting import eventually


async def test_a_branch_that_was_moved_by_force_is_followed(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug, gone = unique("moved"), unique("gone")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    first = await bound.repository.head()
    await bound.repository.commit({"mcp.json": own(slug, "npx"), ".mcp/gone.json": own(gone)})
    await bound.sync()
    # Another history, which knows nothing of the second commit.
    await bound.repository.commit({"mcp.json": own(slug, "node")}, parent=first)
    assert outcomes(await bound.sync()) == {slug: "changed", gone: "removed"}
    assert (await bound.mcp(slug))["config"]["servers"][0]["command"] == "node"
    await bound.repository.set_branch("main", first)
    assert outcomes(await bound.sync()) == {slug: "changed"}
    assert (await bound.mcp(slug))["version"] == "1.0.2"


async def test_a_branch_that_is_gone_fails_the_sync_and_changes_nothing(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("kept")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    await bound.sync()
    head = await bound.repository.head()
    await bound.repository.set_branch("main", None)
    await bound.ask()
    task = await bound.ended()
    assert (task["status"], task["error"]) == ("failed", "GitHub has no branch 'main'")
    connection = await bound.connection()
    assert (connection.synced_commit, connection.reason) == (head, task["error"])
    assert [each.gone for each in await bound.definitions()] == [False]
    await bound.repository.set_branch("main", head)
    assert outcomes(await bound.sync()) == {slug: "unchanged"}
    assert (await bound.connection()).reason is None


async def test_a_large_repository_whose_tree_is_cut_off_is_read_wholly(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slugs = [unique("deep") for _ in range(3)]
    files: dict[str, str | bytes] = {f"src/{n % 40}/file{n}.txt": "x" for n in range(10_000)}
    for number, slug in enumerate(slugs):
        files[f"src/{number}/mcp.json"] = own(slug)
    bound = await bind(platform, github, files)
    bound.repository.truncate_above = 2_000
    report = await bound.sync()
    assert outcomes(report) == dict.fromkeys(slugs, "added")
    assert report["files"] == 10_003


async def test_more_definitions_than_there_may_be_change_nothing(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("some")
    many = servers(*(f"{slug}-{number}" for number in range(100)))
    files: dict[str, str | bytes] = {f"{folder}/mcp.json": many for folder in "abc"}
    bound = await bind(platform, github, files)
    await bound.ask()
    task = await bound.ended()
    assert "more than 200 definitions" in task["error"]
    listed = await bound.caller.get("/api/v1/mcps", params={"search": slug})
    assert listed.json()["total"] == 0


async def test_a_rate_limit_is_waited_for_and_the_progress_says_until_when(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("patient")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    # Long enough to be seen, also where this machine stands still for a while.
    github.use_up(seconds=8)
    reset = time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(github.reset))
    await bound.ask()
    task = await eventually(
        lambda: bound.caller.task_is(bound.task_id, "running", "completed"),
        lambda seen: "rate limit" in seen["message"] or seen["status"] == "completed",
    )
    assert reset in task["message"]
    await eventually(lambda: asyncio.sleep(0.05, time.time()), lambda now: now > github.reset)
    github.behave()
    task = await bound.ended()
    assert outcomes(task["result"]) == {slug: "added"}


async def test_a_sync_that_waits_for_a_rate_limit_can_be_cancelled(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("never"))})
    github.use_up(seconds=3000)
    await bound.ask()
    await eventually(
        lambda: bound.caller.task_is(bound.task_id, "running"), lambda seen: "rate limit" in seen["message"]
    )
    assert (await bound.caller.post(f"/api/v1/tasks/{bound.task_id}/cancel")).status_code == 202
    await bound.caller.task_is(bound.task_id, "cancelled")
    github.behave()
    assert len((await bound.sync())["definitions"]) == 1, "a cancelled sync can be asked for again"


async def test_an_outage_in_the_middle_is_waited_out(platform: RunningPlatform, github: GitHubDouble) -> None:
    one, two = unique("one"), unique("two")
    bound = await bind(platform, github, {"a/mcp.json": own(one), "b/mcp.json": own(two)})
    github.misbehave(status=502, path="/git/blobs/", after=1, times=1)
    github.misbehave(status=0, path="/git/trees/", times=1)
    assert outcomes(await bound.sync()) == {one: "added", two: "added"}
    assert 502 in github.asked("GET", "/git/blobs/")


async def test_while_github_is_away_the_progress_says_so_and_when_it_is_asked_again(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("away")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    github.misbehave(status=502, message="Bad Gateway")
    await bound.ask()
    task = await eventually(
        lambda: bound.caller.task_is(bound.task_id, "running"),
        lambda seen: "it is asked again at" in seen["message"],
    )
    assert task["message"].startswith("GitHub answers with status 502: Bad Gateway; it is asked again at 20")
    assert task["progress"] == 5
    github.behave()
    assert outcomes((await bound.ended())["result"]) == {slug: "added"}


async def test_a_credential_that_github_refuses_is_said_on_the_connection_until_it_holds_again(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("one"))})
    [token] = github.accounts
    github.revoke(token)
    await bound.ask()
    task = await bound.ended()
    assert "does not accept the credential" in task["error"]
    connection = await bound.connection()
    assert (connection.state, connection.reason) == (ConnectionState.REFUSED, task["error"])
    github.accounts[token].revoked = False
    await bound.sync()
    connection = await bound.connection()
    assert (connection.state, connection.reason) == (ConnectionState.CONNECTED, None)


async def test_an_owner_who_may_not_write_mcps_any_more_changes_none(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("former")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    admin = await platform.admin()
    owner = bound.sealed.connection.owner_id
    for change, reason in ({"role": "viewer"}, "mcps:write"), ({"is_active": False}, "disabled"):
        assert (await admin.patch(f"/api/v1/users/{owner}", json=change)).status_code == 200
        answer = await admin.post(f"/api/v1/github/sync/{bound.id}")
        assert answer.status_code == 202
        with pytest.raises(WorkflowFailureError):
            await platform.parts.temporal.get_workflow_handle(bound.task_id).result()
        assert reason in (await admin.get(f"/api/v1/tasks/{bound.task_id}")).json()["error"]
    assert (await admin.get("/api/v1/mcps", params={"search": slug})).json()["total"] == 0


async def test_a_repository_that_was_renamed_is_followed(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("renamed")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    github.rename(bound.repository, unique("new-name"))
    assert outcomes(await bound.sync()) == {slug: "added"}
    assert (await bound.connection()).full_name == bound.repository.full_name


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let each write of a definition fail once after it is done, as if its worker had died then."""
    failed: list[str] = []
    write = SyncActivities._carried_out

    async def dying(self: SyncActivities, *arguments: object) -> object:
        mcp = await write(self, *arguments)  # type: ignore[arg-type]
        place = str(arguments[1])
        if place not in failed:
            failed.append(place)
            raise RuntimeError("the worker died")
        return mcp

    monkeypatch.setattr(SyncActivities, "_carried_out", dying)
    return failed


async def test_a_worker_that_dies_between_writes_loses_and_repeats_nothing(
    platform: RunningPlatform, github: GitHubDouble, interrupted: list[str]
) -> None:
    one, two = unique("one"), unique("two")
    bound = await bind(platform, github, {"mcp.json": servers(one, two)})
    assert outcomes(await bound.sync()) == {one: "added", two: "added"}
    await bound.repository.commit({"mcp.json": servers(one, two, command="npx")})
    assert outcomes(await bound.sync()) == {one: "changed", two: "changed"}
    assert len(interrupted) == 4
    assert len(await bound.history(one)) == len(await bound.history(two)) == 2


async def test_a_request_during_a_sync_makes_it_end_with_the_newest_commit(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("newest")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    slow = github.misbehave(delay=1.0, path="/git/blobs/", times=1)
    await bound.ask()
    await eventually(lambda: asyncio.sleep(0.02, slow.times), lambda left: left == 0)
    head = await bound.repository.commit({"mcp.json": own(slug, "npx")})
    for _ in range(3):
        await bound.ask()

    assert (await bound.ended())["result"]["commit"] == head
    assert (await bound.mcp(slug))["config"]["servers"][0]["command"] == "npx"
    assert [each["version"] for each in await bound.history(slug)] == ["1.0.1", "1.0.0"]
