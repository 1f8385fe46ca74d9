"""How a repository and the platform stand to each other."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp_platform.contracts.github import WebhookState
from mcp_platform.names import TaskQueue
from tests.github.double import GitHubDouble
from tests.github.syncs import Bound, bind, own, servers, unique
from tests.github.test_pushing import change, push
from tests.platform import Caller, RunningPlatform
from workflows.github_sync.watching import WatchHeadsWorkflow


async def drift(bound: Bound) -> tuple[str, dict[str, str]]:
    """Read how a connection stands, and each of its definitions."""
    answer = await bound.caller.get(f"/api/v1/github/connections/{bound.id}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["drift"], {each["slug"]: each["state"] for each in body["drifts"]}


@asynccontextmanager
async def hearing(caller: Caller) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Listen to the drift events that somebody may hear."""
    async with caller.stream("GET", "/events", timeout=30) as stream:
        assert stream.status_code == 200

        async def events() -> AsyncIterator[dict[str, Any]]:
            name = ""
            async for line in stream.aiter_lines():
                if line.startswith("event:"):
                    name = line.removeprefix("event:").strip()
                elif line.startswith("data:") and name == "github_drift":
                    yield json.loads(line.removeprefix("data:"))

        yield events()


async def test_a_change_on_the_platform_is_seen_and_told_at_once(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug, other = unique("time"), unique("other")
    bound = await bind(platform, github, {"mcp.json": servers(slug, other)})
    assert await drift(bound) == ("unknown", {})
    async with hearing(bound.caller) as events:
        await bound.sync()
        assert await drift(bound) == ("in_sync", {slug: "in_sync", other: "in_sync"})
        first = await anext(events)
        assert (first["connection_id"], first["before"], first["drift"]) == (
            str(bound.id),
            "unknown",
            "in_sync",
        )
        await change(bound, slug, "npx")
        assert (await anext(events))["drift"] == "platform_ahead"
        mcp = await bound.mcp(slug)
        back = await bound.caller.post(f"/api/v1/mcps/{mcp['id']}/rollback", json={"version": "1.0.0"})
        assert back.status_code == 200, back.text
        assert (await anext(events))["drift"] == "in_sync"
        await change(bound, slug, "npx")
        assert (await anext(events))["drift"] == "platform_ahead"
    assert await drift(bound) == ("platform_ahead", {slug: "platform_ahead", other: "in_sync"})
    details = (await bound.caller.get(f"/api/v1/github/connections/{bound.id}")).json()
    [ahead] = [each for each in details["drifts"] if each["slug"] == slug]
    assert ahead["differences"] == [
        {"op": "replace", "path": "/config/servers/0/command", "value": "npx", "old": "uvx"}
    ]
    assert ahead["version"] == "1.0.3"


async def test_what_a_definition_does_not_say_is_no_drift(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    await bound.sync()
    mcp = await bound.mcp(slug)
    answer = await bound.caller.put(f"/api/v1/mcps/{mcp['id']}", json={"status": "active", "name": "Other"})
    assert answer.status_code == 200
    assert await drift(bound) == ("in_sync", {slug: "in_sync"})


async def test_changes_on_both_sides_have_diverged_until_one_is_taken(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("own")
    path = f".mcp/{slug}.json"
    bound = await bind(platform, github, {path: own(slug)})
    await bound.sync()
    await change(bound, slug, "npx")
    await bound.repository.commit({path: own(slug, "docker")})
    report = await bound.sync()
    assert report["refused"] == 1
    assert await drift(bound) == ("diverged", {slug: "diverged"})
    [pushed] = (await push(bound))["result"]["pushed"]
    await bound.repository.set_branch("main", await bound.repository.head(pushed["branch"]))
    await bound.sync()
    assert await drift(bound) == ("in_sync", {slug: "in_sync"})


async def test_new_commits_are_noticed_without_a_webhook(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)}, webhook=WebhookState.REFUSED)
    gone = await bind(platform, github, {"mcp.json": servers(unique("x"))}, webhook=WebhookState.REFUSED)
    await bound.sync()
    await gone.sync()
    github.revoke(
        next(iter(token for token, each in github.accounts.items() if each.login in gone.repository.rights))
    )
    elsewhere = await bound.repository.commit({"README.md": "no definition"})
    await look(platform)
    seen = await bound.connection()
    assert (seen.head_commit, seen.synced_commit) == (elsewhere, elsewhere)
    assert await drift(bound) == ("in_sync", {slug: "in_sync"})
    head = await bound.repository.commit({"mcp.json": servers(slug, command="npx")})
    await look(platform)
    assert (await bound.connection()).head_commit == head
    assert await drift(bound) == ("repository_ahead", {slug: "repository_ahead"})


async def look(platform: RunningPlatform) -> None:
    """Have the platform look after repositories, as its schedule does."""
    await platform.parts.temporal.execute_workflow(
        WatchHeadsWorkflow.run, id=unique("heads"), task_queue=TaskQueue.ORCHESTRATION
    )


async def test_drift_is_told_to_nobody_else(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("time")
    bound = await bind(platform, github, {"mcp.json": servers(slug)})
    stranger, admin = await platform.member(), await platform.admin()
    async with hearing(stranger) as strangers, hearing(admin) as admins:
        await bound.sync()
        assert (await anext(admins))["connection_id"] == str(bound.id)
        theirs = await bind(platform, github, {"mcp.json": servers(unique("mine"))}, caller=stranger)
        await theirs.sync()
        assert (await anext(strangers))["connection_id"] == str(theirs.id)
    answer = await stranger.get(f"/api/v1/github/connections/{bound.id}")
    assert answer.status_code == 404
