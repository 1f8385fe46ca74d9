"""Changing connections through the API."""

from uuid import UUID

import pytest

from mcp_platform.contracts.github import ConnectionState
from tests.github.connecting import CONFIG, connect, connected, connections
from tests.github.double import GitHubDouble, Repository
from tests.platform import Caller, RunningPlatform


@pytest.fixture
async def repository(github: GitHubDouble) -> Repository:
    return await github.repository("acme/mcp-tools", {"mcp.json": CONFIG})


@pytest.fixture
async def member(platform: RunningPlatform) -> Caller:
    return await platform.member()


async def synced(platform: RunningPlatform, number: str, commit: str) -> None:
    """Let the platform believe that the connection was synced with this commit."""
    async with platform.parts.stores.write() as rows:
        connection = await rows.connections.get(UUID(number))
        assert connection is not None
        await rows.connections.update(connection.id, connection.updated_at, synced_commit=commit)


async def test_a_connection_moves_to_a_branch_that_there_is(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    made = await connected(member, repository, github.token("mona", {"acme/mcp-tools": "admin"}))
    await synced(platform, made["connection_id"], made["head_commit"])
    path = f"/api/v1/github/connections/{made['connection_id']}"
    answer = await member.patch(path, json={"branch": "next"})
    assert (answer.status_code, answer.json()["error_code"]) == (422, "VALIDATION_ERROR")
    assert (await member.get(path)).json()["branch"] == "main"
    head = await repository.commit({"mcp.json": CONFIG, "new.txt": ""}, branch="next")
    answer = await member.patch(path, json={"branch": "next", "path": "servers", "deploy": True})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert (changed["branch"], changed["path"], changed["deploy"]) == ("next", "servers", True)
    assert (changed["head_commit"], changed["synced_commit"]) == (head, None)
    assert changed["webhook_url"] == made["webhook_url"]
    assert [hook["config"]["url"] for hook in repository.hooks.values()] == [made["webhook_url"]]
    assert [each["connection_id"] for each in await connections(member)] == [made["connection_id"]]


async def test_a_new_token_takes_the_place_of_one_that_expired(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    old = github.token("mona", {"acme/mcp-tools": "push"})
    made = await connected(member, repository, old)
    assert made["webhook"] == "refused"
    await synced(platform, made["connection_id"], made["head_commit"])
    github.revoke(old)
    async with platform.parts.stores.write() as rows:
        await rows.connections.update(
            UUID(made["connection_id"]),
            (await rows.connections.list(owner_id=None, page=1, page_size=1)).items[0].updated_at,
            state=ConnectionState.REFUSED,
            reason="GitHub does not accept the credential",
        )
    path = f"/api/v1/github/connections/{made['connection_id']}"
    answer = await member.patch(path, json={"access_token": old})
    assert (answer.status_code, answer.json()["error_code"]) == (422, "GITHUB_TOKEN_REFUSED")
    assert (await member.get(path)).json()["status"] == "refused"
    new = github.token("octo", {"acme/mcp-tools": "admin"})
    answer = await member.patch(path, json={"access_token": new})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert (changed["status"], changed["reason"], changed["webhook"]) == ("connected", None, "installed")
    assert changed["synced_commit"] == made["head_commit"]
    answer = await member.patch(path, json={"branch": "nowhere"})
    assert answer.status_code == 422, "the new token is used from now on"


async def test_a_webhook_made_by_hand_is_known_by_its_secret(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    made = await connected(member, repository, github.token("mona", {"acme/mcp-tools": "push"}))
    path = f"/api/v1/github/connections/{made['connection_id']}"
    short = await member.patch(path, json={"webhook_secret": "short"})
    assert short.status_code == 422
    assert "short" not in short.json()["detail"][0]["msg"]
    secret = "a-secret-of-more-than-16"
    answer = await member.patch(path, json={"webhook_secret": secret})
    assert (answer.status_code, answer.json()["webhook"]) == (200, "by_hand")
    assert secret not in answer.text
    repository.hooks[1] = {
        "id": 1,
        "events": ["push", "pull_request"],
        "active": True,
        "config": {"url": made["webhook_url"], "secret": secret},
    }
    assert await github.deliver(repository, "ping", {"zen": "", "repository": repository.as_json(None)}) == [
        200
    ]


async def test_the_platforms_own_webhook_keeps_its_secret(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    made = await connected(member, repository, github.token("mona", {"acme/mcp-tools": "admin"}))
    path = f"/api/v1/github/connections/{made['connection_id']}"
    answer = await member.patch(path, json={"webhook_secret": "a-secret-of-more-than-16"})
    assert (answer.status_code, answer.json()["error_code"]) == (422, "VALIDATION_ERROR")
    assert await github.deliver(repository, "ping", {"zen": "", "repository": repository.as_json(None)}) == [
        200
    ]


async def test_two_connections_do_not_meet_at_one_place(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    first = await connected(member, repository, token)
    await repository.commit({"mcp.json": CONFIG}, branch="next")
    second = await connected(member, repository, token, path="servers", branch="next")
    path = f"/api/v1/github/connections/{second['connection_id']}"
    answer = await member.patch(path, json={"branch": "main", "path": ""})
    assert (answer.status_code, answer.json()["connection_id"]) == (409, first["connection_id"])
    assert (await member.patch(path, json={"path": ""})).status_code == 200
    answer = await connect(member, repository, token, branch="next")
    assert answer.json()["connection_id"] == second["connection_id"]
    assert len(repository.hooks) == 2
