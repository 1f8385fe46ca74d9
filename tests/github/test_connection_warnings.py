"""What connecting a repository says of the rights that its token lacks."""

from typing import Any
from uuid import uuid4

import pytest

from tests.github.connecting import CONFIG, connected
from tests.github.double import GitHubDouble, Repository
from tests.platform import Caller, RunningPlatform


@pytest.fixture
async def repository(github: GitHubDouble) -> Repository:
    return await github.repository(f"acme/tools-{uuid4().hex[:8]}", {"mcp.json": CONFIG})


@pytest.fixture
async def member(platform: RunningPlatform) -> Caller:
    return await platform.member()


async def changed(member: Caller, connection: dict[str, Any], **change: Any) -> list[str]:
    """Change a connection; the warnings."""
    answer = await member.patch(f"/api/v1/github/connections/{connection['connection_id']}", json=change)
    assert answer.status_code == 200, answer.text
    warnings: list[str] = answer.json()["warnings"]
    return warnings


async def test_a_token_that_may_not_push_is_connected_with_a_warning(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    full_name = repository.full_name
    tokens = [
        github.token("reader", {full_name: "pull"}),
        github.token("fine", {full_name: "pull"}, fine_grained=True),
        github.token("narrow", {full_name: "admin"}, scopes="public_repo, admin:repo_hook"),
    ]
    for number, token in enumerate(tokens):
        [warning] = (await connected(member, repository, token, path=f"folder-{number}"))["warnings"]
        assert "may not push" in warning
        assert "pull requests" in warning
    writer = github.token("writer", {full_name: "push"}, scopes="repo, workflow")
    assert (await connected(member, repository, writer))["warnings"] == []
    repository.private = False
    public = github.token("public", {full_name: "push"}, scopes="public_repo")
    assert (await connected(member, repository, public, path="public"))["warnings"] == []


async def test_a_roll_out_whose_commits_cannot_be_told_is_warned_of(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    reader = github.token("reader", {repository.full_name: "pull"})
    made = await connected(member, repository, reader, deploy=True, path="one")
    assert ["mcp-platform/deploy" in each for each in made["warnings"]] == [False, True]
    later = await connected(member, repository, reader)
    assert len(later["warnings"]) == 1
    assert ["mcp-platform/deploy" in each for each in await changed(member, later, deploy=True)] == [
        False,
        True,
    ]
    writer = github.token("writer", {repository.full_name: "push"})
    assert await changed(member, later, access_token=writer) == []
