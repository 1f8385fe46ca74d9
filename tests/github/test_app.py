"""Connections by an installation of the platform's App, through the API."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from mcp_platform.contracts.github import SealedConnection
from tests.github.connections import app_key
from tests.github.deliveries import deliver
from tests.github.double import GitHubDouble, Repository
from tests.github.syncs import Bound, own, unique
from tests.github.test_pushing import change, push
from tests.platform import RunningPlatform
from tests.waiting import eventually

INSTALLATION = 7
SECRET = "the App's own secret"
KEY = app_key()


@pytest.fixture
def _app(platform: RunningPlatform, github: GitHubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the platform have an App at the double."""
    settings = platform.parts.settings.github
    monkeypatch.setattr(settings, "app_id", 42)
    monkeypatch.setattr(settings, "app_private_key", SecretStr(KEY["private"]))
    monkeypatch.setattr(settings, "app_webhook_secret", SecretStr(SECRET))
    monkeypatch.setattr(settings, "app_api_url", github.api_url)
    github.apps["42"] = KEY["public"]


@pytest.fixture
async def repository(_app: None, github: GitHubDouble) -> Repository:
    """Give a repository that the App is installed at."""
    made = await github.repository(f"acme/{unique('tools')}", {"README.md": "tools"})
    github.installations[INSTALLATION] = {made.full_name: "push"}
    return made


async def connect(platform: RunningPlatform, repository: Repository, **more: Any) -> httpx.Response:
    """Ask for a connection by the installation."""
    order = {"repository_url": repository.url, "installation_id": INSTALLATION} | more
    return await (await platform.admin()).post("/api/v1/github/connect", json=order)


async def connected(platform: RunningPlatform, repository: Repository) -> Bound:
    """Connect the repository."""
    answer = await connect(platform, repository)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["credential"], made["webhook"], made["webhook_url"]) == ("app", "by_app", None)
    async with platform.parts.stores.read() as rows:
        sealed = await rows.connections.sealed(UUID(made["connection_id"]))
    assert isinstance(sealed, SealedConnection)
    assert sealed.sealed_token is None
    return Bound(platform, await platform.admin(), repository, sealed)


async def test_an_installation_is_connected_synced_by_the_apps_webhook_and_pushed_to(
    platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    slug = unique("app")
    bound = await connected(platform, repository)
    assert repository.hooks == {}
    head = await repository.commit({"mcp.json": own(slug)})
    payload = repository.push_payload("0" * 40, head) | {"installation": {"id": INSTALLATION}}
    answer = await deliver(platform, "push", payload, secret=SECRET)
    assert answer.status_code == 202, answer.text
    await eventually(bound.connection, lambda seen: seen.synced_commit == head)
    await bound.ended()
    await change(bound, slug)
    [pushed] = (await push(bound))["result"]["pushed"]
    pull = repository.pulls[pushed["pull_request"]]
    assert (pull.state, pull.head) == ("open", f"mcp-platform/{slug}-1.0.1")
    answer = await bound.caller.delete(f"/api/v1/github/disconnect/{bound.id}")
    assert (answer.status_code, "left" in answer.json()) == (200, False)


async def test_a_pull_request_is_checked_by_the_app_with_one_comment(
    platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    await connected(platform, repository)
    await repository.commit({"mcp.json": own(unique("app"))}, branch="change", parent=await repository.head())
    pull = repository.open_pull("change")
    for count in (1, 2):
        head = await repository.commit({"mcp.json": own(unique("app"))}, branch="change")
        payload = {
            "action": "synchronize",
            "number": pull.number,
            "repository": repository.as_json(None),
            "pull_request": {"number": pull.number, "base": {"ref": "main"}, "head": {"sha": head}},
            "installation": {"id": INSTALLATION},
        }
        assert (await deliver(platform, "pull_request", payload, secret=SECRET)).status_code == 202

        async def judged(commit: str = head) -> list[str]:
            return [each["body"] for each in repository.comments.values() if commit in each["body"]]

        await eventually(judged)
        assert len(repository.comments) == 1, count


@pytest.mark.parametrize("path", ["/git/trees/", "/branches/"])
async def test_a_token_of_the_installation_that_ends_in_the_middle_of_a_sync_is_renewed(
    platform: RunningPlatform, github: GitHubDouble, repository: Repository, path: str
) -> None:
    slug = unique("renewed")
    await repository.commit({"mcp.json": own(slug)})
    bound = await connected(platform, repository)
    going_on = asyncio.Event()
    held = github.misbehave(held=going_on, method="GET", path=path, times=1)
    await bound.ask()

    async def under_way() -> int:
        return held.met

    await eventually(under_way)
    issued = len(github.asked("POST", "/access_tokens$"))
    github.expire_installations()
    going_on.set()
    task = await bound.ended()
    assert task["status"] == "completed", task
    assert (await bound.mcp(slug))["version"] == "1.0.0"
    assert len(github.asked("POST", "/access_tokens$")) == issued + 1
    assert 401 in github.asked("GET", path)
    assert (await bound.connection()).reason is None


async def test_a_token_of_the_installation_that_ends_in_the_middle_of_a_push_is_renewed(
    platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    slug = unique("renewed")
    await repository.commit({"mcp.json": own(slug)})
    bound = await connected(platform, repository)
    await bound.sync()
    await change(bound, slug)
    going_on = asyncio.Event()
    held = github.misbehave(held=going_on, method="POST", path="/git/trees$", times=1)
    pushing = asyncio.create_task(push(bound))

    async def under_way() -> int:
        return held.met

    await eventually(under_way)
    github.expire_installations()
    going_on.set()
    [pushed] = (await pushing)["result"]["pushed"]
    assert github.asked("POST", "/git/trees$") == [401, 201]
    assert [pull.number for pull in repository.pulls.values()] == [pushed["pull_request"]]


async def refused(platform: RunningPlatform, repository: Repository, **more: Any) -> tuple[int, str, str]:
    """Be refused a connection."""
    answer = await connect(platform, repository, **more)
    body = answer.json()
    return answer.status_code, body["error_code"], str(body["detail"])


async def test_what_is_wrong_with_the_app_is_told_apart(
    platform: RunningPlatform,
    github: GitHubDouble,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, kind, said = await refused(platform, repository, installation_id=8)
    assert (code, kind) == (403, "GITHUB_ACCESS_DENIED")
    assert said.startswith("The installation 8 of the platform's GitHub App is not there")
    github.suspended.add(INSTALLATION)
    code, kind, said = await refused(platform, repository)
    assert (code, kind) == (403, "GITHUB_ACCESS_DENIED")
    assert said.startswith(f"The installation {INSTALLATION} of the platform's GitHub App is suspended")
    github.suspended.clear()
    elsewhere = await github.repository(f"acme/{unique('other')}", {"x": ""})
    assert (await refused(platform, elsewhere))[:2] == (404, "GITHUB_REPOSITORY_NOT_FOUND")
    settings = platform.parts.settings.github
    for key, reason in (
        (app_key()["private"], "does not accept the private key of the platform's App 42"),
        ("no key at all", "private key of the platform's GitHub App cannot be used"),
    ):
        monkeypatch.setattr(settings, "app_private_key", SecretStr(key))
        code, kind, said = await refused(platform, repository)
        assert (code, kind) == (422, "GITHUB_TOKEN_REFUSED")
        assert reason in said
        assert key not in said
    monkeypatch.setattr(settings, "app_private_key", SecretStr(KEY["private"]))
    github.use_up(600)
    assert (await refused(platform, repository))[:2] == (429, "GITHUB_RATE_LIMITED")


async def test_an_installation_that_is_suspended_or_removed_is_said_on_its_connection_until_it_is_back(
    platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    slug = unique("suspended")
    await repository.commit({"mcp.json": own(slug)})
    bound = await connected(platform, repository)
    await bound.sync()
    await change(bound, slug)
    rights = github.installations[INSTALLATION]
    for reason in ("is suspended", "is not there (any more)"):
        if reason == "is suspended":
            github.suspended.add(INSTALLATION)
        else:
            del github.installations[INSTALLATION]
        await bound.ask()
        task = await bound.ended()
        assert (task["status"], reason in task["error"]) == ("failed", True), task
        seen = await bound.connection()
        assert seen.state.value == "refused"
        assert reason in (seen.reason or "")
        assert reason in (await push(bound, "failed"))["error"]
        github.suspended.clear()
        github.installations[INSTALLATION] = rights
        assert (await bound.sync())["message"] == "1 unchanged"
        seen = await bound.connection()
        assert (seen.state.value, seen.reason) == ("connected", None)
