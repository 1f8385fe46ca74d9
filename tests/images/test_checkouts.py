"""Repositories are fetched over HTTP only, one commit of them, and their tokens go nowhere else."""

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest

from activities.building import BuildFailed
from activities.clients import checkouts
from activities.clients.checkouts import GitCheckouts
from mcp_platform.contracts.images import GitSource
from tests.images.git_server import GitServer, git_server

TOKEN = "a-token-that-nobody-may-see"


async def fetch(folder: Path, url: str, token: str | None = None, **more: Any) -> str:
    """Fetch into a folder of the test's own."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    return await GitCheckouts().fetch(GitSource(url=url, **more), token, folder)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Give where the files go."""
    return tmp_path / "tree"


async def test_a_branch_a_tag_and_a_commit_can_be_fetched(repositories: GitServer, tmp_path: Path) -> None:
    url = repositories.add("a.git", {"number": "one"})
    first = repositories.git(repositories.folder / "a.git", "rev-parse", "HEAD").strip()
    repositories.git(repositories.folder / "a.git", "tag", "v1")
    second = repositories.commit("a.git", {"number": "two"})
    for ref, commit, number in (
        ("HEAD", second, "two"),
        ("main", second, "two"),
        ("v1", first, "one"),
        (first, first, "one"),
    ):
        folder = tmp_path / f"at-{ref}"
        assert await fetch(folder, url, ref=ref) == commit
        assert (folder / "number").read_text() == number
        assert [path.name for path in folder.iterdir()] == ["number"]


async def test_a_private_repository_is_read_with_its_token_only(
    repositories: GitServer, target: Path
) -> None:
    url = repositories.add("private.git", {"number": "one"})
    repositories.token = TOKEN
    with pytest.raises(BuildFailed, match="cannot be fetched"):
        await fetch(target, url)
    with pytest.raises(BuildFailed) as refused:
        await fetch(target, url, "another-token-of-somebody")
    assert "another-token-of-somebody" not in str(refused.value)
    await fetch(target, url, TOKEN)
    assert (target / "number").read_text() == "one"


async def test_a_token_does_not_follow_to_where_a_server_sends_us(
    repositories: GitServer, tmp_path: Path, target: Path
) -> None:
    async with git_server(tmp_path / "other") as other:
        other.add("a.git", {"number": "one"})
        url = repositories.add("a.git", {"number": "one"})
        repositories.redirect = other.url
        with pytest.raises(BuildFailed, match="cannot be fetched"):
            await fetch(target, url, TOKEN)
        assert repositories.seen == [f"Basic {base64.b64encode(f'x-access-token:{TOKEN}'.encode()).decode()}"]
        assert other.seen == []


async def test_a_submodule_and_a_link_to_the_machines_files_bring_nothing_in(
    repositories: GitServer, target: Path
) -> None:
    inner = repositories.add("inner.git", {"secret": "one"})
    url = repositories.add("outer.git", {"number": "one"})
    folder = repositories.folder / "outer.git"
    # Added by its folder: who serves its address waits for this test.
    by_folder = ("-c", "protocol.file.allow=always", "submodule", "add", "--quiet")
    repositories.git(folder, *by_folder, str(repositories.folder / "inner.git"), "inner")
    (folder / ".gitmodules").write_text(f'[submodule "inner"]\n  path = inner\n  url = {inner}\n')
    (folder / "link").symlink_to("/etc/hostname")
    repositories.commit("outer.git", {"number": "two"})
    await fetch(target, url)
    assert list((target / "inner").iterdir()) == []
    assert (target / "link").is_symlink()


async def test_what_a_repository_or_this_machine_configures_is_not_run(
    repositories: GitServer, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = repositories.add("a.git", {"number": "one", ".gitattributes": "* filter=evil\n"})
    ran = tmp_path / "ran"
    home = tmp_path / "home"
    (home / "hooks").mkdir(parents=True)
    hook = home / "hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[core]\n  hooksPath = {home / "hooks"}\n[filter "evil"]\n  smudge = touch {ran}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.hooksPath'='{home / 'hooks'}'")
    await fetch(target, url)
    assert not ran.exists()


async def test_a_repository_that_is_too_large_is_given_up(
    repositories: GitServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = repositories.add("large.git", {"noise": base64.b64encode(os.urandom(300_000)).decode()})
    monkeypatch.setattr(checkouts, "_LARGEST_TREE", 100_000)
    with pytest.raises(BuildFailed, match="is too large to build from"):
        await fetch(target, url)


async def test_a_few_bytes_that_stand_for_millions_of_paths_do_not_take_the_workers_memory(
    repositories: GitServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = repositories.add("bomb.git", {"number": "one"})
    folder = repositories.folder / "bomb.git"
    entry = "100644 blob " + repositories.git(folder, "rev-parse", "HEAD:number").strip()
    for _ in range(7):
        level = "".join(f"{entry}\t{number}\n" for number in range(10))
        tree = repositories.git(folder, "mktree", given=level).strip()
        entry = f"040000 tree {tree}"
    commit = repositories.git(folder, "commit-tree", "-m", "Bomb", tree).strip()
    repositories.git(folder, "update-ref", "refs/heads/main", commit)
    monkeypatch.setattr(checkouts, "_MOST_MEMORY", 200 * 2**20)
    with pytest.raises(BuildFailed, match="is too large to build from: git needed more than 200 MiB"):
        await fetch(target, url)


async def test_what_a_server_says_of_itself_is_not_repeated(repositories: GitServer, target: Path) -> None:
    repositories.page = "the page of a service inside"
    with pytest.raises(BuildFailed) as refused:
        await fetch(target, f"{repositories.url}/latest/meta-data")
    assert "403" in str(refused.value)
    assert "service inside" not in str(refused.value)


@pytest.mark.parametrize(("name", "ref"), [("a.git", "no-such-branch"), ("no-such.git", "HEAD")])
async def test_what_is_not_there_is_named(repositories: GitServer, target: Path, name: str, ref: str) -> None:
    url = repositories.add("a.git", {"number": "one"}).replace("a.git", name)
    with pytest.raises(BuildFailed) as failed:
        await fetch(target, url, ref=ref)
    assert f"the repository {url} at {ref} cannot be fetched: " in str(failed.value)
