"""What GitHub fails at is told apart, reliably; and where no connection is made."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from activities.clients.github import library
from activities.clients.github.faults import fault_of
from activities.github_sync.faults import failure_of
from mcp_platform.contracts.github import SealedConnection
from mcp_platform.contracts.repositories import FaultKind, GitHubFault
from tests.github.connections import app_key, github_client, sealed_connection
from tests.github.double import GitHubDouble, Repository


@pytest.fixture
async def repository(github: GitHubDouble) -> Repository:
    return await github.repository("acme/tools", {"mcp.json": "{}"})


@pytest.fixture
def token(github: GitHubDouble, repository: Repository) -> str:
    return github.token("mona", {"acme/tools": "admin"})


async def fault(sealed: SealedConnection, **settings: Any) -> GitHubFault:
    with pytest.raises(GitHubFault) as raised:
        async with github_client(**settings).opened(sealed) as client:
            await client.repository(sealed.connection.full_name)
    return raised.value


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        ({"status": 401, "message": "Bad credentials"}, FaultKind.TOKEN_EXPIRED),
        ({"status": 401, "message": "Requires authentication"}, FaultKind.TOKEN_EXPIRED),
        ({"status": 403, "message": "Resource not accessible by personal access token"}, FaultKind.NO_ACCESS),
        ({"status": 403, "message": "Repository access blocked"}, FaultKind.NO_ACCESS),
        ({"status": 451, "message": "Repository access blocked"}, FaultKind.NO_ACCESS),
        ({"status": 404, "message": "Not Found"}, FaultKind.NO_SUCH_REPOSITORY),
        ({"status": 403, "message": "API rate limit exceeded for user ID 1."}, FaultKind.RATE_LIMITED),
        ({"status": 403, "message": "You have exceeded a secondary rate limit."}, FaultKind.RATE_LIMITED),
        ({"status": 403, "message": "", "headers": {"Retry-After": "5"}}, FaultKind.RATE_LIMITED),
        ({"status": 429, "message": "Too many requests"}, FaultKind.RATE_LIMITED),
        ({"status": 422, "message": "Validation Failed"}, FaultKind.REFUSED),
        ({"status": 409, "message": "Git Repository is empty."}, FaultKind.REFUSED),
        ({"status": 500}, FaultKind.UNAVAILABLE),
        ({"status": 502}, FaultKind.UNAVAILABLE),
        ({"status": 503}, FaultKind.UNAVAILABLE),
        ({"status": 0}, FaultKind.UNAVAILABLE),
        ({"status": 302, "headers": {"Location": "https://evil.example.com/"}}, FaultKind.UNAVAILABLE),
        ({"status": 301, "headers": {"Location": "https://evil.example.com/"}}, FaultKind.UNAVAILABLE),
    ],
)
async def test_a_failure_has_its_kind(
    github: GitHubDouble, repository: Repository, token: str, trouble: dict[str, Any], kind: FaultKind
) -> None:
    github.misbehave(**trouble)
    found = await fault(sealed_connection(repository, token))
    assert found.kind is kind
    assert token not in found.message
    assert found.passing == (kind in {FaultKind.RATE_LIMITED, FaultKind.UNAVAILABLE})
    # Nobody but Temporal repeats.
    assert len(github.requests) == 1


async def test_a_used_up_rate_limit_is_waited_for_until_it_ends(
    github: GitHubDouble, repository: Repository, token: str
) -> None:
    github.use_up(600)
    found = await fault(sealed_connection(repository, token))
    assert found.reset_at is not None
    assert abs(found.reset_at.timestamp() - github.reset) < 2
    failure = failure_of(found)
    assert failure.type == "rate_limited"
    assert not failure.non_retryable
    assert failure.next_retry_delay is not None
    assert timedelta(seconds=590) < failure.next_retry_delay < timedelta(seconds=605)


async def test_a_limit_without_an_end_is_waited_for_a_minute(
    github: GitHubDouble, repository: Repository, token: str
) -> None:
    github.secondary_limit(None)
    found = await fault(sealed_connection(repository, token))
    assert found.reset_at is not None
    assert 50 < (found.reset_at - datetime.now(UTC)).total_seconds() <= 60


def test_no_wait_is_longer_than_githubs_limits_are() -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 10**7)}
    found = fault_of(403, headers, "API rate limit exceeded", None)
    assert found.reset_at is not None
    assert found.reset_at - datetime.now(UTC) < timedelta(hours=3)
    for wrong in ("soon", "-5", "nan", "1e400"):
        found = fault_of(403, {"retry-after": wrong}, "Nothing about limits", None)
        assert found.kind is FaultKind.NO_ACCESS
    past = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}
    found = fault_of(403, past, "", None)
    assert found.reset_at is not None
    assert found.reset_at > datetime.now(UTC)


def test_what_github_says_is_one_line_without_control_characters() -> None:
    found = fault_of(403, {}, "no\n\x1b[31m entry \u202e here" + "x" * 10_000, None)
    assert found.message.startswith("GitHub does not allow it: no ?[31m entry ? here")
    assert len(found.message) < 400


async def test_a_missing_branch_is_told_apart_from_a_missing_repository(
    github: GitHubDouble, repository: Repository, token: str
) -> None:
    async with github_client().opened(sealed_connection(repository, token)) as client:
        with pytest.raises(GitHubFault, match="branch 'gone'") as raised:
            await client.branch_head("acme/tools", "gone")
        assert raised.value.kind is FaultKind.NOT_FOUND
        with pytest.raises(GitHubFault) as raised:
            await client.branch_head("acme/nothing", "main")
        assert raised.value.kind is FaultKind.NO_SUCH_REPOSITORY


async def test_a_slow_github_is_not_waited_for(
    github: GitHubDouble, repository: Repository, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "TIMEOUT", 1)
    github.misbehave(delay=30.0)
    found = await fault(sealed_connection(repository, token))
    assert (found.kind, "no answer within" in found.message) == (FaultKind.UNAVAILABLE, True)


async def test_a_server_that_is_no_github_is_unavailable(repository: Repository, token: str) -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<html>Welcome</html>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sealed = sealed_connection(repository, token)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v3"
        elsewhere = sealed.model_copy(
            update={"connection": sealed.connection.model_copy(update={"api_url": url})}
        )
        found = await fault(elsewhere)
    finally:
        await runner.cleanup()
    assert found.kind is FaultKind.UNAVAILABLE


@pytest.mark.parametrize(
    ("api_url", "reason"),
    [
        ("http://169.254.169.254/api/v3", "its address is a link-local address"),
        ("http://100.100.100.200/api/v3", "its address is a cloud's metadata service"),
        ("http://0.0.0.0:1/api/v3", "its address is no address of a server"),
    ],
)
async def test_no_connection_is_made_where_none_may_be(
    repository: Repository, token: str, api_url: str, reason: str
) -> None:
    sealed = sealed_connection(repository, token)
    connection = sealed.connection.model_copy(update={"api_url": api_url})
    host = api_url.split("/")[2].split(":")[0]
    async with asyncio.timeout(library.TIMEOUT - 3):
        found = await fault(sealed.model_copy(update={"connection": connection}), hosts=[host])
    assert found.kind is FaultKind.UNAVAILABLE
    assert found.message.endswith(reason)


async def test_no_token_is_sent_to_a_host_that_is_not_named_any_more(
    github: GitHubDouble, repository: Repository, token: str
) -> None:
    found = await fault(sealed_connection(repository, token), hosts=["github.com"])
    assert found.kind is FaultKind.NO_ACCESS
    assert github.requests == []


async def test_a_token_sealed_for_another_row_is_not_used(
    github: GitHubDouble, repository: Repository, token: str
) -> None:
    sealed, other = sealed_connection(repository, token), sealed_connection(repository, "ghp_other")
    found = await fault(sealed.model_copy(update={"sealed_token": other.sealed_token}))
    assert found.kind is FaultKind.TOKEN_EXPIRED
    assert github.requests == []


async def test_an_installation_of_the_app_reads_what_it_was_given(
    github: GitHubDouble, repository: Repository
) -> None:
    key, other = app_key(), app_key()
    github.apps["42"] = key["public"]
    github.installations[7] = {"acme/tools": "push"}
    settings = {"app_id": 42, "app_private_key": key["private"], "app_api_url": github.api_url}
    sealed = sealed_connection(repository, None, installation_id=7)
    async with github_client(**settings).opened(sealed) as client:
        facts = await client.repository("acme/tools")
        assert (facts.may_push, facts.may_administer) == (True, False)
        assert await client.branch_head("acme/tools", "main") == await repository.head()
        await github.repository("acme/secret", {"x": ""})
        with pytest.raises(GitHubFault) as raised:
            await client.repository("acme/secret")
        assert raised.value.kind is FaultKind.NO_SUCH_REPOSITORY
    unknown = sealed_connection(repository, None, installation_id=8)
    assert (await fault(unknown, **settings)).kind is FaultKind.NO_ACCESS
    wrong = settings | {"app_private_key": other["private"]}
    assert (await fault(sealed, **wrong)).kind is FaultKind.TOKEN_EXPIRED
    broken = settings | {"app_private_key": "no key at all"}
    assert "private key" in (await fault(sealed, **broken)).message
    asked = len(github.requests)
    for nowhere in ({"app_id": 42, "app_private_key": key["private"]}, {"app_api_url": github.api_url}):
        assert (await fault(sealed, **nowhere)).kind is FaultKind.NO_ACCESS
    assert len(github.requests) == asked
