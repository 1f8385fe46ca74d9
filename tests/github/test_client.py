"""The client of GitHub, over HTTP through PyGithub."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from activities.clients.github import GitHub
from mcp_platform.contracts.repositories import FaultKind, GitHubFault
from tests.github.connections import github_client, sealed_connection
from tests.github.double import GitHubDouble, Repository
from tests.waiting import eventually

CONFIG = '{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}'


@asynccontextmanager
async def opened(repository: Repository, token: str | None, **more: Any) -> AsyncIterator[GitHub]:
    async with github_client().opened(sealed_connection(repository, token, **more)) as client:
        yield client


async def test_a_repository_tells_what_the_token_may_do(github: GitHubDouble) -> None:
    repository = await github.repository("acme/tools", {"mcp.json": CONFIG})
    for right, push, admin in (("pull", False, False), ("push", True, False), ("admin", True, True)):
        async with opened(repository, github.token(right, {"acme/tools": right})) as client:
            facts = await client.repository("ACME/Tools")
            assert await client.login() == right
        assert (facts.full_name, facts.default_branch, facts.private) == ("acme/tools", "main", True)
        assert (facts.may_push, facts.may_administer) == (push, admin)


async def test_files_are_read_as_they_are_at_the_head(github: GitHubDouble) -> None:
    repository = await github.repository("acme/tools", {"mcp.json": CONFIG, "docs/ä b.md": "text"})
    head = await repository.commit({"mcp.json": "{}", "docs/ä b.md": None, "a/b/c.json": b"\xff\x00"})
    async with opened(repository, github.token("mona", {"acme/tools": "pull"})) as client:
        assert await client.branch_head("acme/tools", "main") == head
        tree = await client.tree("acme/tools", head)
        assert [(each.path, each.size, each.mode) for each in tree.entries] == [
            ("a/b/c.json", 2, "100644"),
            ("mcp.json", 2, "100644"),
        ]
        assert await client.blob("acme/tools", tree.entries[0].blob, 100) == b"\xff\x00"
        with pytest.raises(GitHubFault, match="more than 1") as raised:
            await client.blob("acme/tools", tree.entries[1].blob, 1)
    assert raised.value.kind is FaultKind.REFUSED


async def test_a_branch_may_have_slashes_and_other_signs_in_its_name(github: GitHubDouble) -> None:
    repository = await github.repository("acme/tools", {"mcp.json": CONFIG})
    head = await repository.commit({"x": ""}, branch="feature/ä+%20#1")
    async with opened(repository, github.token("mona", {"acme/tools": "pull"})) as client:
        assert await client.branch_head("acme/tools", "feature/ä+%20#1") == head


async def test_ten_thousand_files_are_one_request(github: GitHubDouble) -> None:
    files = {f"folder-{number % 100}/file-{number}.txt": "" for number in range(10_000)}
    repository = await github.repository("acme/large", files)
    async with opened(repository, github.token("mona", {"acme/large": "pull"})) as client:
        tree = await client.tree("acme/large", await repository.head())
    assert {entry.path for entry in tree.entries} == set(files)
    assert github.asked("GET", "/git/trees/") == [200]


async def test_a_tree_that_github_cuts_off_is_read_whole(github: GitHubDouble) -> None:
    files = {f"{top}/{middle}/{name}": "" for top in "abc" for middle in "de" for name in ("1", "2", "3")}
    repository = await github.repository("acme/large", files | {"mcp.json": CONFIG})
    repository.truncate_above = 5
    async with opened(repository, github.token("mona", {"acme/large": "pull"})) as client:
        tree = await client.tree("acme/large", await repository.head())
    assert [entry.path for entry in tree.entries] == sorted([*files, "mcp.json"])


async def test_what_has_not_changed_costs_nothing_of_the_rate_limit(github: GitHubDouble) -> None:
    repository = await github.repository("acme/tools", {"mcp.json": CONFIG})
    token = github.token("mona", {"acme/tools": "pull"})
    async with opened(repository, token) as client:
        first = await client.branch_head("acme/tools", "main")
    left = github.remaining
    async with opened(repository, token) as client:
        assert await client.branch_head("acme/tools", "main") == first
    assert (github.asked("GET", "/branches/main"), github.remaining) == ([200, 304], left)
    async with opened(repository, token) as client:
        second = await repository.commit({"more": ""})
        assert await client.branch_head("acme/tools", "main") == second
    stranger = github.token("stranger")
    async with opened(repository, stranger) as client:
        with pytest.raises(GitHubFault) as raised:
            await client.branch_head("acme/tools", "main")
    assert raised.value.kind is FaultKind.NO_SUCH_REPOSITORY


async def test_a_pull_request_tells_all_files_that_it_changes(github: GitHubDouble) -> None:
    repository = await github.repository("acme/tools", {"mcp.json": CONFIG, "old.json": "x" * 200})
    base = await repository.head()
    added = {f"many/{number:03}.json": str(number) for number in range(250)}
    changes = added | {"mcp.json": "{}", "old.json": None, "new.json": "x" * 200}
    head = await repository.commit(changes, branch="change", parent=base)
    pull = repository.open_pull("change", title="Many files")
    async with opened(repository, github.token("mona", {"acme/tools": "pull"})) as client:
        found = await client.pull_request("acme/tools", pull.number)
        files = await client.pull_request_files("acme/tools", pull.number)
    assert (found.title, found.open, found.base_branch, found.head_commit) == (
        "Many files",
        True,
        "main",
        head,
    )
    assert found.base_commit == base
    by_path = {file.path: (file.status, file.previous_path) for file in files}
    assert len(by_path) == 252
    assert by_path["mcp.json"] == ("modified", None)
    assert by_path["new.json"] == ("renamed", "old.json")
    assert by_path["many/249.json"] == ("added", None)
    assert len(github.asked("GET", "/files")) == 3


async def test_a_renamed_repository_is_found_under_its_old_name(github: GitHubDouble) -> None:
    repository = await github.repository("acme/tools", {"mcp.json": CONFIG})
    token = github.token("mona", {"acme/tools": "pull"})
    github.rename(repository, "better-tools")
    async with opened(repository, token) as client:
        assert (await client.repository("acme/tools")).full_name == "acme/better-tools"
        assert await client.branch_head("acme/tools", "main") == await repository.head()


async def test_a_webhook_is_there_once_however_often_it_is_ensured(github: GitHubDouble) -> None:
    repository = await github.repository("acme/tools", {"mcp.json": CONFIG})
    async with opened(repository, github.token("mona", {"acme/tools": "admin"})) as client:
        first = await client.ensure_hook("acme/tools", "https://platform.example.com/hook", "one")
        assert await client.ensure_hook("acme/tools", "https://platform.example.com/hook", "two") == first
        other = await client.ensure_hook("acme/tools", "https://platform.example.com/other", "three")
        assert [hook.id for hook in await client.hooks("acme/tools")] == [first, other]
        assert repository.hooks[first]["config"]["secret"] == "two"
        assert await client.delete_hooks("acme/tools", "https://platform.example.com/hook") == 1
        assert await client.delete_hooks("acme/tools", "https://platform.example.com/hook") == 0
    assert list(repository.hooks) == [other]


async def test_what_is_called_off_ends_after_what_it_asked_however_often(github: GitHubDouble) -> None:
    repository = await github.repository("acme/tools", {"mcp.json": CONFIG})
    token = github.token("mona", {"acme/tools": "admin"})
    going_on = asyncio.Event()
    held = github.misbehave(held=going_on, method="POST", path="/hooks$")

    async def ask() -> None:
        async with opened(repository, token) as client:
            await client.ensure_hook("acme/tools", "https://platform.example.com/hook", "one")

    async def under_way() -> int:
        return held.met

    asking = asyncio.create_task(ask())
    await eventually(under_way)
    for _ in range(3):
        asking.cancel()
        assert not (await asyncio.wait({asking}, timeout=0.05))[0]
    going_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert github.asked("POST", "/hooks$") == [201]
