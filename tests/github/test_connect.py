"""Connecting repositories through the API."""

import asyncio
import base64
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from temporalio.client import WorkflowFailureError

from activities.github_sync.connections import ConnectionActivities
from storage.sql.tables import ConnectionRow
from tests.github.connecting import CONFIG, SERVER, connect, connections
from tests.github.double import GitHubDouble, Repository
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually


@pytest.fixture
async def repository(github: GitHubDouble) -> Repository:
    return await github.repository("acme/mcp-tools", {"mcp.json": CONFIG})


@pytest.fixture
async def member(platform: RunningPlatform) -> Caller:
    return await platform.member()


async def test_a_repository_is_connected_and_tells_of_its_pushes(
    platform: RunningPlatform, member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    mcp = await member.register_mcp({"servers": [SERVER]})
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    answer = await connect(member, repository, token, tool_id=mcp["id"])
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["repository_url"] == repository.url
    assert (made["tool_id"], made["status"], made["branch"]) == (mcp["id"], "connected", "main")
    assert (made["webhook"], made["webhook_reason"], made["full_name"]) == (
        "installed",
        None,
        "acme/mcp-tools",
    )
    assert made["head_commit"] == await repository.head()
    [hook] = repository.hooks.values()
    assert hook["config"]["url"] == made["webhook_url"]
    assert made["webhook_url"] == f"{platform.url}/api/v1/github/webhook?connection={made['connection_id']}"
    assert hook["config"]["content_type"] == "json"
    assert len(hook["config"]["secret"]) == 64
    assert set(hook["events"]) == {"push", "pull_request"}
    details = await member.get(f"/api/v1/github/connections/{made['connection_id']}")
    assert details.json()["definitions"] == []
    for text in (answer.text, details.text):
        assert token not in text
        assert hook["config"]["secret"] not in text
    assert [each["connection_id"] for each in await connections(member)] == [made["connection_id"]]


async def test_without_the_right_to_it_the_webhook_is_left_out_and_said_so(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    for number, token in enumerate(
        (
            github.token("classic", {"acme/mcp-tools": "push"}),
            github.token("fine", {"acme/mcp-tools": "push"}, fine_grained=True),
            github.token("unscoped", {"acme/mcp-tools": "admin"}, hooks=False),
        )
    ):
        answer = await connect(member, repository, token, path=f"folder-{number}")
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["status"], made["webhook"]) == ("connected", "refused")
        assert made["webhook_url"] in made["webhook_reason"]
        assert "webhook_secret" in made["webhook_reason"]
    assert repository.hooks == {}


async def test_what_is_wrong_at_github_is_told_apart(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    expired = github.token("late", {"acme/mcp-tools": "admin"})
    github.expire(expired)
    stranger = github.token("stranger")
    missing = repository.url.replace("mcp-tools", "nothing-here")

    async def refused(token: str, **more: Any) -> tuple[int, str]:
        answer = await connect(member, repository, token, **more)
        assert token not in answer.text
        return answer.status_code, answer.json()["error_code"]

    assert await refused(token, repository_url=missing) == (404, "GITHUB_REPOSITORY_NOT_FOUND")
    assert await refused(stranger) == (404, "GITHUB_REPOSITORY_NOT_FOUND")
    assert await refused(expired) == (422, "GITHUB_TOKEN_REFUSED")
    assert await refused("ghp_never_issued") == (422, "GITHUB_TOKEN_REFUSED")
    assert await refused(token, branch="nowhere") == (422, "VALIDATION_ERROR")
    github.misbehave(status=403, message="Resource protected by organization SAML enforcement.")
    assert await refused(token) == (403, "GITHUB_ACCESS_DENIED")
    github.behave()
    github.misbehave(status=502)
    assert await refused(token) == (503, "GITHUB_UNAVAILABLE")
    github.behave()
    github.misbehave(status=0)
    assert await refused(token) == (503, "GITHUB_UNAVAILABLE")
    github.behave()
    assert await connections(member) == []
    assert repository.hooks == {}


async def test_a_rate_limit_says_when_it_ends(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    github.use_up(900)
    answer = await connect(member, repository, token)
    assert (answer.status_code, answer.json()["error_code"]) == (429, "GITHUB_RATE_LIMITED")
    assert 870 <= int(answer.headers["Retry-After"]) <= 900
    reset = datetime.fromisoformat(answer.json()["reset_at"])
    assert abs(reset.timestamp() - github.reset) <= 1
    github.behave()
    github.secondary_limit(45)
    answer = await connect(member, repository, token)
    assert (answer.status_code, answer.json()["error_code"]) == (429, "GITHUB_RATE_LIMITED")
    assert 25 <= int(answer.headers["Retry-After"]) <= 45


async def test_a_webhook_whose_answer_was_lost_is_not_made_twice(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    github.misbehave(status=0, method="POST", path="/hooks$", late=True, times=1)
    answer = await connect(member, repository, token)
    assert (answer.status_code, answer.json()["webhook"]) == (201, "installed")
    assert len(repository.hooks) == 1
    assert github.asked("POST", "/hooks$") == [0]


async def test_a_github_that_fails_in_the_middle_leaves_no_webhook(
    member: Caller, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    # The webhook is made, its answer is lost, and GitHub is away for as long as it is asked again.
    github.misbehave(status=502, method="POST", path="/hooks$", late=True)
    away = github.misbehave(status=502, method="GET", path="/hooks", after=1, times=3)
    answer = await connect(member, repository, token)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "GITHUB_UNAVAILABLE")
    assert away.met == 3
    assert github.asked("POST", "/hooks$") == [502]

    async def hooks() -> int:
        return len(repository.hooks)

    await eventually(hooks, lambda count: count == 0)
    assert await connections(member) == []


async def test_the_same_place_is_connected_once(
    member: Caller, platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    first = (await connect(member, repository, token)).json()
    again = await connect(
        member, repository, token, repository_url=repository.url.upper().replace("HTTP", "http") + ".git"
    )
    assert again.status_code == 409, again.text
    assert again.json()["connection_id"] == first["connection_id"]
    assert len(repository.hooks) == 1
    await repository.commit({"mcp.json": CONFIG}, branch="next")
    assert (await connect(member, repository, token, branch="next")).status_code == 201
    assert (await connect(member, repository, token, path="/servers/")).json()["path"] == "servers"
    other = await platform.member()
    assert (await connect(other, repository, token)).status_code == 201
    assert len({hook["config"]["url"] for hook in repository.hooks.values()}) == 4


async def test_tokens_are_sent_to_no_host_that_nobody_named(member: Caller, github: GitHubDouble) -> None:
    token = github.token("mona")
    for order in (
        {"repository_url": "https://evil.example.com/acme/tools"},
        {"repository_url": "https://github.com/acme/tools", "base_url": "https://evil.example.com/api/v3"},
        {"repository_url": "https://evil.example.com/acme/tools", "base_url": github.api_url},
        {"repository_url": "https://evil.example.com/acme/tools", "base_url": "https://api.github.com"},
        {"repository_url": "http://127.0.0.1:9/acme/tools", "base_url": github.api_url},
        {"repository_url": "https://github.com@evil.example.com/acme/tools"},
        {"repository_url": "https://github.com.evil.example.com/acme/tools"},
        {"repository_url": "ssh://github.com/acme/tools"},
        {"repository_url": "https://github.com/acme"},
        {"repository_url": "https://github.com/acme/tools/tree/main"},
        {"repository_url": "https://github.com/acme/.."},
        {"repository_url": f"{github.address}/acme/tools", "base_url": f"{github.address}/api/../v3"},
    ):
        answer = await member.post("/api/v1/github/connect", json={"access_token": token} | order)
        assert (answer.status_code, answer.json()["error_code"]) == (422, "VALIDATION_ERROR"), order
    assert github.requests == []


async def test_an_mcp_of_somebody_else_is_not_connected(
    member: Caller, platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    other = await platform.member()
    theirs = await other.register_mcp({"servers": [SERVER]})
    assert (await connect(member, repository, token, tool_id=theirs["id"])).status_code == 403
    assert (await connect(member, repository, token, tool_id=str(uuid4()))).status_code == 404
    viewer = await platform.member("viewer")
    assert (await connect(viewer, repository, token)).status_code == 403
    assert github.requests == []


async def test_a_connection_is_nobody_elses_business(
    member: Caller, platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    number = (await connect(member, repository, token)).json()["connection_id"]
    other = await platform.member()
    assert await connections(other) == []
    path = f"/api/v1/github/connections/{number}"
    assert (await other.get(path)).status_code == 404
    assert (await other.patch(path, json={"deploy": True})).status_code == 404
    assert (await other.delete(f"/api/v1/github/disconnect/{number}")).status_code == 404
    admin = await platform.admin()
    assert (await admin.get(path)).status_code == 200


async def test_an_installation_of_the_app_is_named_by_administrators_alone(
    member: Caller, platform: RunningPlatform, repository: Repository
) -> None:
    order = {"repository_url": repository.url, "installation_id": 7}
    answer = await member.post("/api/v1/github/connect", json=order)
    assert (answer.status_code, answer.json()["required_permission"]) == (403, "github:all")
    admin = await platform.admin()
    answer = await admin.post("/api/v1/github/connect", json=order)
    assert answer.status_code == 422
    assert "no GitHub App" in answer.text
    both = await admin.post("/api/v1/github/connect", json=order | {"access_token": "ghp_x"})
    assert "exactly one" in both.text


async def test_neither_history_nor_rows_show_the_token(
    member: Caller, platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    number = (await connect(member, repository, token)).json()["connection_id"]
    [hook] = repository.hooks.values()
    history = await platform.parts.temporal.get_workflow_handle(f"github-connect-{number}").fetch_history()
    async with platform.parts.stores.database.read() as session:
        rows = (await session.execute(select(ConnectionRow.__table__))).all()
    seen = history.to_json() + repr(rows)
    assert number in seen
    for secret in (token, hook["config"]["secret"]):
        assert secret not in seen
        assert base64.b64encode(secret.encode()).decode() not in seen


async def test_what_is_called_off_in_the_middle_is_taken_back(
    member: Caller, platform: RunningPlatform, github: GitHubDouble, repository: Repository
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    called_off = asyncio.Event()
    held = github.misbehave(held=called_off, method="POST", path="/hooks$")
    asking = asyncio.create_task(connect(member, repository, token))

    async def begun() -> list[str]:
        async with platform.parts.stores.database.read() as session:
            row = ConnectionRow
            query = select(row.id).where(row.repository_url == repository.url, row.head_commit.is_not(None))
            return [f"github-connect-{number}" for number in await session.scalars(query)]

    async def under_way() -> int:
        return held.met

    await eventually(under_way)
    [number] = await begun()
    handle = platform.parts.temporal.get_workflow_handle(number)
    await handle.cancel()
    called_off.set()
    answer = await asking
    assert (answer.status_code, answer.json()["error_code"]) == (503, "GITHUB_UNAVAILABLE")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert github.asked("POST", "/hooks$") == [201], "it was under way"
    assert repository.hooks == {}
    assert await begun() == []


async def test_a_webhook_outlives_no_crash_before_its_row(
    member: Caller, github: GitHubDouble, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = github.token("mona", {"acme/mcp-tools": "admin"})
    settle, crashes = ConnectionActivities._settle, [1]

    async def crashing(*arguments: Any) -> Any:
        if crashes[0] > 0:
            crashes[0] -= 1
            assert len(repository.hooks) == 1
            raise RuntimeError("the worker ends here")
        return await settle(*arguments)

    monkeypatch.setattr(ConnectionActivities, "_settle", crashing)
    answer = await connect(member, repository, token)
    assert answer.status_code == 201, "another worker goes on"
    assert len(repository.hooks) == 1
    crashes[0] = 100
    answer = await connect(member, repository, token, path="elsewhere")
    assert answer.status_code == 503

    async def hooks() -> int:
        return len(repository.hooks)

    assert await eventually(hooks, lambda count: count == 1)
    assert len(await connections(member)) == 1
