"""What an account's keys, and an account, may do with connections."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.github.connecting import CONFIG, connect, connected, connections
from tests.github.double import GitHubDouble, Repository
from tests.platform import Caller, RunningPlatform


@pytest.fixture
async def repository(github: GitHubDouble) -> Repository:
    return await github.repository(f"acme/tools-{uuid4().hex[:8]}", {"mcp.json": CONFIG})


async def with_key(platform: RunningPlatform, member: Caller, *scopes: str) -> Caller:
    """Give a caller with an API key of the member's that may do no more than this."""
    answer = await member.post("/api/v1/auth/api-keys", json={"name": "narrow", "scopes": list(scopes)})
    assert answer.status_code == 201, answer.text
    caller = platform.caller()
    caller.headers["X-API-Key"] = answer.json()["key"]
    return caller


def refusal(answer: httpx.Response) -> tuple[int, Any]:
    """Give the status, and the permission that is missing."""
    return answer.status_code, answer.json().get("required_permission")


async def test_a_key_without_the_right_to_mcps_neither_syncs_nor_changes_a_connection(
    platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    member = await platform.member()
    made = await connected(member, repository, github.token("mona", {repository.full_name: "admin"}))
    key = await with_key(platform, member, "github:read", "github:write")
    number = made["connection_id"]
    assert refusal(await key.post(f"/api/v1/github/sync/{number}")) == (403, "mcps:write")
    answer = await key.patch(f"/api/v1/github/connections/{number}", json={"path": "elsewhere"})
    assert refusal(answer) == (403, "mcps:write")
    assert (await member.get("/api/v1/mcps?mine=true")).json()["total"] == 0
    wider = await with_key(platform, member, "github:read", "github:write", "mcps:write")
    assert (await wider.post(f"/api/v1/github/sync/{number}")).status_code == 202


async def test_what_is_rolled_out_is_changed_by_who_may_deploy_alone(
    platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    member = await platform.member()
    token = github.token("mona", {repository.full_name: "admin"})
    made = await connected(member, repository, token)
    path = f"/api/v1/github/connections/{made['connection_id']}"
    key = await with_key(platform, member, "github:read", "github:write", "mcps:write")
    assert refusal(await key.patch(path, json={"deploy": True})) == (403, "deployments:write")
    assert (await key.patch(path, json={"path": "one"})).status_code == 200, "nothing is rolled out yet"
    assert (await member.patch(path, json={"deploy": True})).status_code == 200
    for change in ({"path": "two"}, {"branch": "next"}):
        assert refusal(await key.patch(path, json=change)) == (403, "deployments:write")
    assert (await key.patch(path, json={"deploy": False, "path": "two"})).status_code == 200


async def test_an_account_has_no_more_connections_than_it_may(
    platform: RunningPlatform,
    github: GitHubDouble,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform.parts.settings.github, "most_connections", 1)
    member = await platform.member()
    token = github.token("mona", {repository.full_name: "admin"})
    made = await connected(member, repository, token, path="one")
    refused = await connect(member, repository, token, path="two")
    assert (refused.status_code, refused.json()["limit"]) == (409, 1)
    assert len(await connections(member)) == 1
    assert (await connect(await platform.member(), repository, token)).status_code == 201
    change = await member.patch(
        f"/api/v1/github/connections/{made['connection_id']}", json={"access_token": token}
    )
    assert change.status_code == 200, "changing one makes none"


async def test_a_connection_follows_no_other_repository_that_takes_the_name(
    platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    member = await platform.member()
    token = github.token("mona", {repository.full_name: "admin"})
    made = await connected(member, repository, token)
    async with platform.parts.stores.read() as rows:
        kept = await rows.connections.get(UUID(made["connection_id"]))
    assert kept is not None
    assert kept.repository_id == repository.number
    repository.number += 1_000_000
    path = f"/api/v1/github/connections/{made['connection_id']}"
    asked = await member.post(f"/api/v1/github/sync/{made['connection_id']}")
    await member.task_is(asked.json()["task_id"], "failed")
    seen = (await member.get(path)).json()
    assert seen["status"] == "refused"
    assert seen["reason"].startswith("Another repository has taken this name")
    assert (await member.get("/api/v1/mcps?mine=true")).json()["total"] == 0
    answer = await member.patch(path, json={"access_token": token})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "GITHUB_REPOSITORY_NOT_FOUND")
