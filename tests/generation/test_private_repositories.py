"""Private repositories are read with their owner's connection, and addresses are held against the rules."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from activities.building import BuildFailed
from activities.clients.checkouts import GitCheckouts
from activities.clients.repository_tokens import ConnectionTokens
from mcp_platform.contracts.access import Permission, Role
from mcp_platform.contracts.github import (
    Connection,
    CredentialKind,
    SealedConnection,
    WebhookState,
    connection_purpose,
)
from mcp_platform.contracts.images import GitSource
from mcp_platform.github_settings import GitHubSettings
from mcp_platform.security.permissions import ROLE_PERMISSIONS
from tests.access.people import appoint, person
from tests.generation.asking import TINY_PROJECT, UNTRIED, Generating
from tests.images.git_server import git_server
from tests.platform import Caller

TOKEN = "a-token-for-one-repository"


async def connect(generating: Generating, caller: Caller, url: str, api_url: str | None = None) -> Connection:
    """Record a connection of this account to a repository."""
    owner = (await caller.get("/api/v1/auth/me")).json()["id"]
    now = datetime.now(UTC)
    connection = Connection(
        id=uuid4(),
        owner_id=owner,
        repository_url=url,
        api_url=api_url or generating.git.url,
        full_name=url.removeprefix(f"{generating.git.url}/").removesuffix(".git"),
        branch="main",
        credential=CredentialKind.TOKEN,
        webhook=WebhookState.REFUSED,
        created_at=now,
        updated_at=now,
    )
    parts = generating.platform.parts
    sealed = parts.sealer.seal(TOKEN.encode(), connection_purpose(connection.id, "token"))
    async with parts.stores.write() as rows:
        await rows.connections.add(SealedConnection(connection=connection, sealed_token=sealed))
    return connection


async def test_a_private_repository_is_read_by_who_is_connected_to_it_alone(
    generating: Generating, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = generating.git.add(f"team/private-{uuid4().hex[:8]}.git", TINY_PROJECT)
    owner, stranger = await generating.platform.member(), await generating.platform.member()
    await connect(generating, owner, url)
    monkeypatch.setattr(generating.git, "token", TOKEN)
    error = await generating.error(stranger, repository_url=url, engine="rules")
    assert "cannot be fetched" in error
    result = await generating.result(owner, repository_url=url, engine="rules", **UNTRIED)
    (server,) = result["config"]["servers"]
    assert server["build"]["git"]["token"] == "${GIT_TOKEN}"
    assert [each["name"] for each in result["secrets"]] == ["GIT_TOKEN"]
    assert any("The repository is private" in warning for warning in result["warnings"])


async def test_a_token_goes_to_the_host_of_its_api_and_only_where_tokens_may_go(
    generating: Generating,
) -> None:
    parts, owner = generating.platform.parts, await generating.platform.member()
    url, other = (f"{generating.git.url}/team/token-{uuid4().hex[:8]}" for _ in range(2))
    connection = await connect(generating, owner, url)
    await connect(generating, owner, other, api_url="https://api.github.com")
    hosts = GitHubSettings(hosts=["github.com", "127.0.0.1"])
    tokens = ConnectionTokens(parts.stores, parts.sealer, hosts)
    assert await tokens.token(connection.owner_id, url) == TOKEN
    assert await tokens.token(connection.owner_id, other) is None, "its API is at another host"
    tokens = ConnectionTokens(parts.stores, parts.sealer, GitHubSettings())
    assert await tokens.token(connection.owner_id, url) is None, "the host is allowed no more"


async def test_without_the_right_to_read_from_github_no_connection_is_used(
    generating: Generating, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = generating.git.add(f"team/private-{uuid4().hex[:8]}.git", TINY_PROJECT)
    platform, owner = generating.platform, await person(generating.platform)
    name = f"no-github-{uuid4().hex[:8]}"
    permissions = sorted(ROLE_PERMISSIONS[Role.DEVELOPER] - {Permission.GITHUB_READ})
    answer = await generating.admin.post("/api/v1/roles", json={"name": name, "permissions": permissions})
    assert answer.status_code == 201, answer.text
    await appoint(platform, owner, name)
    await connect(generating, owner.caller, url)
    monkeypatch.setattr(generating.git, "token", TOKEN)
    error = await generating.error(owner.caller, repository_url=url, engine="rules")
    assert "cannot be fetched" in error


async def test_private_addresses_are_not_connected_to_where_the_rules_forbid_them(tmp_path: Path) -> None:
    async with git_server(tmp_path / "repositories") as server:
        (tmp_path / "tree").mkdir()
        url = server.add("a.git", {"number": "one"})
        source = GitSource(url=url)
        with pytest.raises(BuildFailed, match=r"does not connect to 127\.0\.0\.1: .* loopback"):
            await GitCheckouts(private=False).fetch(source, None, tmp_path / "tree")
        named = GitSource(url=url.replace("127.0.0.1", "localhost"))
        with pytest.raises(BuildFailed, match="does not connect to localhost"):
            await GitCheckouts(private=False).fetch(named, None, tmp_path / "tree")
        await GitCheckouts(private=True).fetch(named, None, tmp_path / "tree")
        assert (tmp_path / "tree" / "number").read_text() == "one"


async def test_a_redirect_leads_nowhere_where_addresses_are_looked_at(tmp_path: Path) -> None:
    async with git_server(tmp_path / "one") as server, git_server(tmp_path / "two") as other:
        (tmp_path / "tree").mkdir()
        url = server.add("a.git", {"number": "one"})
        other.add("a.git", {"number": "two"})
        server.redirect = other.url
        with pytest.raises(BuildFailed, match="cannot be fetched"):
            await GitCheckouts(private=True).fetch(GitSource(url=url), None, tmp_path / "tree")


async def test_the_metadata_service_of_a_cloud_is_never_connected_to(tmp_path: Path) -> None:
    source = GitSource(url="http://169.254.169.254/latest.git")
    with pytest.raises(BuildFailed, match="is a link-local address"):
        await GitCheckouts(private=True).fetch(source, None, tmp_path)
