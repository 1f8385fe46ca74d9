"""Ending connections through the API."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from temporalio.client import WorkflowExecutionStatus

from mcp_platform.contracts.github import Definition
from mcp_platform.names import sync_workflow_id
from storage.sql.connections import ConnectionRepository
from tests.github.connecting import CONFIG, SERVER, connect, connected, connections
from tests.github.double import GitHubDouble, Repository
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually


@pytest.fixture
async def repository(github: GitHubDouble) -> Repository:
    return await github.repository("acme/mcp-tools", {"mcp.json": CONFIG})


@pytest.fixture
async def member(platform: RunningPlatform) -> Caller:
    return await platform.member()


async def forgotten(platform: RunningPlatform, number: str) -> bool:
    async with platform.parts.stores.read() as rows:
        found = await rows.connections.sealed(UUID(number))
        return found is None and await rows.connections.definitions(UUID(number)) == []


async def add_definition(platform: RunningPlatform, number: str, mcp_id: str) -> None:
    definition = Definition(
        connection_id=UUID(number),
        path="mcp.json",
        entry="time",
        mcp_id=UUID(mcp_id),
        blob="0" * 40,
        revision=1,
        config_key="none",
    )
    async with platform.parts.stores.write() as rows:
        await rows.connections.put_definition(definition)


async def test_a_connection_ends_with_its_webhook_and_token_and_the_mcps_stay(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    mcp = await member.register_mcp({"servers": [SERVER]})
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token, tool_id=mcp["id"])
    kept = await connected(member, repository, token, path="kept")
    await add_definition(platform, made["connection_id"], mcp["id"])
    answer = await member.delete(f"/api/v1/github/disconnect/{made['connection_id']}")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "message": "Repository disconnected successfully",
        "connection_id": made["connection_id"],
    }
    assert await forgotten(platform, made["connection_id"])
    assert [hook["config"]["url"] for hook in repository.hooks.values()] == [kept["webhook_url"]]
    assert (await member.get(f"/api/v1/mcps/{mcp['id']}")).status_code == 200
    again = await member.delete(f"/api/v1/github/disconnect/{made['connection_id']}")
    assert again.status_code == 404
    assert [each["connection_id"] for each in await connections(member)] == [kept["connection_id"]]
    task = await member.task_is(f"github-disconnect-{made['connection_id']}", "completed")
    assert task["result"] == {"connection_id": made["connection_id"], "left": None}
    assert (await connect(member, repository, token)).status_code == 201


async def test_a_github_that_refuses_does_not_keep_the_token_here(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token)
    github.revoke(token)
    answer = await member.delete(f"/api/v1/github/disconnect/{made['connection_id']}")
    assert answer.status_code == 200, answer.text
    assert made["webhook_url"] in answer.json()["left"]
    assert f"{repository.url}/settings/hooks" in answer.json()["left"]
    assert await forgotten(platform, made["connection_id"])


async def test_a_github_that_is_away_does_not_keep_the_token_here(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token)
    away = github.misbehave(status=0)
    answer = await member.delete(f"/api/v1/github/disconnect/{made['connection_id']}")
    assert answer.status_code == 200, answer.text
    assert made["webhook_url"] in answer.json()["left"]
    assert away.met > 1, "it is asked more than once"
    assert await forgotten(platform, made["connection_id"])


async def test_a_webhook_that_is_gone_already_is_no_trouble(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token)
    repository.hooks.clear()
    answer = await member.delete(f"/api/v1/github/disconnect/{made['connection_id']}")
    assert answer.json().get("left") is None


async def test_the_sync_that_runs_is_cancelled(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token)
    # The sync waits for a GitHub that is away, and would for an hour.
    away = github.misbehave(status=503, path="^/repos/.*/(branches|git|commits)")
    answer = await member.post(f"/api/v1/github/sync/{made['connection_id']}")
    assert answer.status_code == 202, answer.text

    async def met() -> int:
        return away.met

    await eventually(met)
    answer = await member.delete(f"/api/v1/github/disconnect/{made['connection_id']}")
    assert answer.status_code == 200, answer.text
    handle = platform.parts.temporal.get_workflow_handle(sync_workflow_id(UUID(made["connection_id"])))
    described = await handle.describe()
    assert described.status is WorkflowExecutionStatus.CANCELED
    assert await forgotten(platform, made["connection_id"])
    assert repository.hooks == {}


async def test_a_connection_outlives_the_mcp_that_was_named(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    mcp = await member.register_mcp({"servers": [SERVER]})
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token, tool_id=mcp["id"])
    await add_definition(platform, made["connection_id"], mcp["id"])
    assert (await member.delete(f"/api/v1/mcps/{mcp['id']}")).status_code == 200
    details = (await member.get(f"/api/v1/github/connections/{made['connection_id']}")).json()
    assert (details["tool_id"], details["definitions"], details["status"]) == (None, [], "connected")


async def test_an_account_with_connections_is_not_deleted(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token)
    admin = await platform.admin()
    account = f"/api/v1/users/{made['owner_id']}"
    answer = await admin.delete(account)
    assert (answer.status_code, answer.json()["connections"]) == (409, 1)
    assert "connections to repositories" in answer.json()["detail"]
    assert (await admin.delete(f"/api/v1/github/disconnect/{made['connection_id']}")).status_code == 200
    assert (await admin.delete(account)).status_code == 200


async def test_a_disconnection_that_is_cancelled_forgets_the_token_all_the_same(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token)
    going_on = asyncio.Event()
    held = github.misbehave(held=going_on)
    ending = asyncio.create_task(member.delete(f"/api/v1/github/disconnect/{made['connection_id']}"))

    async def met() -> int:
        return held.met

    await eventually(met)
    details = await member.get(f"/api/v1/github/connections/{made['connection_id']}")
    assert details.json()["status"] == "disconnecting"
    patch = await member.patch(f"/api/v1/github/connections/{made['connection_id']}", json={"deploy": True})
    assert patch.status_code == 409
    task_id = f"github-disconnect-{made['connection_id']}"
    assert (await member.post(f"/api/v1/tasks/{task_id}/cancel")).status_code == 202
    assert (await ending).status_code == 503
    await member.task_is(task_id, "cancelled")
    assert await forgotten(platform, made["connection_id"])
    going_on.set()


async def test_a_crash_in_the_middle_is_gone_on_from(
    platform: RunningPlatform,
    member: Caller,
    github: GitHubDouble,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    made = await connected(member, repository, token)
    delete, crashes = ConnectionRepository.delete, [1]

    async def crashing(rows: Any, connection_id: UUID) -> bool:
        if crashes:
            crashes.pop()
            raise RuntimeError("the worker ends here")
        return await delete(rows, connection_id)

    monkeypatch.setattr(ConnectionRepository, "delete", crashing)
    answer = await member.delete(f"/api/v1/github/disconnect/{made['connection_id']}")
    assert answer.status_code == 200, answer.text
    assert crashes == []
    assert repository.hooks == {}
    assert await forgotten(platform, made["connection_id"])
