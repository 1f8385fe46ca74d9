"""What GitHub tells of repositories."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from api.v1.github.webhook import LONGEST_DELIVERY
from mcp_platform.contracts.github import ConnectionState, CredentialKind, Delivery
from mcp_platform.contracts.syncing import DeliveryOutcome
from tests.github.deliveries import PATH, deliver, signature
from tests.github.double import GitHubDouble
from tests.github.syncs import Bound, bind, bind_to, outcomes, own, unique
from tests.platform import RunningPlatform
from tests.waiting import eventually
from workflows.github_sync.deliveries import DeliveryWorkflow

ZEROS = "0" * 40
QUEUED = "Webhook received and queued for processing"


async def push(
    bound: Bound, head: str | None = None, branch: str = "main", **more: object
) -> dict[str, object]:
    """Tell of a push, and give what is answered."""
    payload = bound.repository.push_payload(ZEROS, head or await bound.repository.head(), branch)
    answer = await deliver(bound.platform, "push", payload, **more)  # type: ignore[arg-type]
    assert answer.status_code in {200, 202}, answer.text
    body: dict[str, object] = answer.json()
    return body | {"status": answer.status_code}


async def synced_to(bound: Bound, commit: str) -> None:
    """Wait until the MCPs are in step with a commit."""
    await eventually(bound.connection, lambda seen: seen.synced_commit == commit)
    # A push that is heard late begins one more, which finds the same commit.
    await bound.caller.task_is(bound.task_id, "completed")
    await bound.ended()


async def started(platform: RunningPlatform, delivery: str) -> list[str]:
    """Give the workflows that a delivery has begun."""
    query = f"WorkflowType = 'github.delivery' AND WorkflowId STARTS_WITH 'github-delivery-{delivery}'"
    return [each.id async for each in platform.parts.temporal.list_workflows(query)]


@pytest.mark.parametrize("form", [False, True])
async def test_a_push_to_the_branch_brings_the_mcps_in_step(
    platform: RunningPlatform, github: GitHubDouble, *, form: bool
) -> None:
    slug = unique("pushed")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    head = await bound.repository.head()
    assert await push(bound, form=form) == {"message": QUEUED, "event_type": "push", "status": 202}
    await synced_to(bound, head)
    assert (await bound.mcp(slug))["version"] == "1.0.0"


async def test_a_repeated_delivery_does_nothing_twice(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("once"))})
    delivery = str(uuid4())
    assert (await push(bound, delivery=delivery))["status"] == 202
    await synced_to(bound, await bound.repository.head())
    asked = len(github.requests)
    again = await push(bound, delivery=delivery)
    assert (again["status"], again["message"]) == (200, "The delivery was already processed")
    assert len(github.requests) == asked


async def test_each_webhook_of_a_repository_is_heard_though_github_gives_them_the_same_id(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    one, two = unique("one"), unique("two")
    first = await bind(platform, github, {"a/mcp.json": own(one), "b/mcp.json": own(two)}, path="a")
    caller = await platform.member()
    second = await bind_to(platform, github, first.repository, caller, path="b")
    delivery = str(uuid4())
    head = await first.repository.head()
    for bound in (first, second):
        answer = await push(bound, delivery=delivery, query=f"?connection={bound.id}")
        assert answer["status"] == 202
        await synced_to(bound, head)
    assert (await first.mcp(one))["slug"] == one
    assert (await second.mcp(two))["slug"] == two


async def test_several_pushes_at_once_end_with_the_newest_commit(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("several")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    for command in ("one", "two", "three"):
        head = await bound.repository.commit({"mcp.json": own(slug, command)})
        await push(bound, head)
    await synced_to(bound, head)
    assert (await bound.mcp(slug))["config"]["servers"][0]["command"] == "three"


async def test_pushes_that_are_not_to_the_branch_are_ignored_with_the_reason(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("main"))})
    answer = await push(bound, branch="feature")
    assert answer["status"] == 200
    assert answer["message"] == (
        "Ignored: it is about the branch 'feature', and the connection follows 'main'"
    )
    payload = bound.repository.push_payload(ZEROS, await bound.repository.head())
    tag = await deliver(platform, "push", payload | {"ref": "refs/tags/v1"})
    assert tag.json()["message"] == "Ignored: it is no push to a branch"
    assert not (await bound.caller.get("/api/v1/tasks")).json()["items"]


async def test_a_deleted_branch_is_said_on_the_connection(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("kept"))})
    await push(bound, head=ZEROS)
    connection = await eventually(bound.connection, lambda seen: seen.reason is not None)
    assert connection.reason == "its branch 'main' was deleted at GitHub; the MCPs stay as they are"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("ping", "The webhook works"),
        ("issues", "Ignored: the platform does not act on events of this kind"),
        ("", "Ignored: the platform does not act on events of this kind"),
    ],
)
async def test_other_events_are_answered_and_nothing_is_done(
    platform: RunningPlatform, github: GitHubDouble, event: str, message: str
) -> None:
    bound = await bind(platform, github, {})
    payload = {"repository": {"full_name": bound.repository.full_name}, "zen": "Keep it simple"}
    delivery = str(uuid4())
    answer = await deliver(platform, event, payload, delivery=delivery)
    assert (answer.status_code, answer.json()) == (200, {"message": message, "event_type": event})
    assert not await started(platform, delivery)


async def test_whoever_does_not_know_the_secret_is_told_nothing(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("safe"))})
    payload = bound.repository.push_payload(ZEROS, await bound.repository.head())
    unknown = payload | {"repository": {"full_name": "acme/unknown"}}
    good = signature(json.dumps(payload).encode())
    attempts = [
        await deliver(platform, "push", payload, secret="another"),
        await deliver(platform, "push", payload, X_Hub_Signature_256=good.removeprefix("sha256=")),
        await deliver(platform, "push", payload, X_Hub_Signature_256=good.replace("sha256", "sha1")),
        await deliver(platform, "push", payload, X_Hub_Signature_256=good[:-1]),
        await deliver(platform, "push", payload, X_Hub_Signature_256=""),
        await deliver(platform, "push", payload | {"after": ZEROS}, X_Hub_Signature_256=good),
        await deliver(platform, "push", unknown),
        await deliver(platform, "push", unknown, secret=""),
        await deliver(platform, "push", payload, query=f"?connection={uuid4()}"),
        await deliver(platform, "installation", {"action": "deleted", "installation": {"id": 1}}, secret=""),
    ]
    bodies = {answer.status_code: answer.json() | {"request_id": ""} for answer in attempts}
    assert {answer.status_code for answer in attempts} == {401}
    assert all(answer.json() | {"request_id": ""} == bodies[401] for answer in attempts)
    assert (await bound.connection()).head_commit is None


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"[" * 200_000, b'{"repository": 1}', b"\xff"])
async def test_a_body_that_is_no_event_is_refused_like_one_that_nobody_signed(
    platform: RunningPlatform, body: bytes
) -> None:
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature(body)}
    answer = await platform.caller().post(PATH, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("delivery", ["1", "github-sync-1", f"{uuid4()}/../x"])
async def test_an_id_that_is_none_of_githubs_is_refused(
    platform: RunningPlatform, github: GitHubDouble, delivery: str
) -> None:
    bound = await bind(platform, github, {})
    payload = {"repository": {"full_name": bound.repository.full_name}, "ref": "refs/heads/main"}
    answer = await deliver(platform, "push", payload, delivery=delivery)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_REQUEST")


async def test_without_an_id_the_same_words_are_the_same_delivery(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("nameless"))})
    body = json.dumps(
        {"repository": {"full_name": bound.repository.full_name}, "ref": "refs/heads/main"}
    ).encode()
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature(body)}
    answers = [await platform.caller().post(PATH, content=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 200]
    assert answers[1].json()["message"] == "The delivery was already processed"
    await synced_to(bound, await bound.repository.head())


async def test_a_delivery_may_be_larger_than_other_bodies(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {"mcp.json": own(unique("large"))})
    payload = {"repository": {"full_name": bound.repository.full_name}, "commits": ["x" * 1000] * 1000}
    answer = await deliver(platform, "ping", payload, query=f"?connection={bound.id}")
    assert answer.status_code == 200

    async def too_much() -> AsyncIterator[bytes]:
        for _ in range(LONGEST_DELIVERY // 65_536):
            yield b" " * 65_536
        yield b" "

    answer = await platform.caller().post(PATH, content=too_much())
    assert (answer.status_code, answer.json()["limit_bytes"]) == (413, LONGEST_DELIVERY)


async def handled(bound: Bound, event: str, **changes: object) -> str:
    """Have a delivery handled, and give what was done for the connection."""
    connection = bound.sealed.connection
    delivery = Delivery.model_validate(
        {
            "delivery_id": str(uuid4()),
            "event": event,
            "connections": {connection.id: connection.owner_id},
            **changes,
        }
    )
    outcome: DeliveryOutcome = await bound.platform.parts.temporal.execute_workflow(
        DeliveryWorkflow.run, delivery, id=f"test-{uuid4()}", task_queue="orchestration"
    )
    [done] = outcome.handled
    assert done.connection_id == connection.id
    return done.done


async def test_a_delivery_tells_what_was_done(platform: RunningPlatform, github: GitHubDouble) -> None:
    slug = unique("told")
    bound = await bind(platform, github, {"mcp.json": own(slug)})
    assert await handled(bound, "push", commit="a" * 40) == f"a sync was begun: {bound.task_id}"
    assert outcomes((await bound.ended())["result"]) == {slug: "added"}
    async with platform.parts.stores.write() as rows:
        await rows.connections.delete(bound.id)
    assert await handled(bound, "push", commit="a" * 40) == "the repository is not connected any more"


APP_SECRET = "the App's own secret"


@pytest.fixture
def app_hook(
    platform: RunningPlatform, github: GitHubDouble, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """Let the platform have an App at the double; give what makes a connection one of its installation."""
    settings = platform.parts.settings.github
    monkeypatch.setattr(settings, "app_webhook_secret", SecretStr(APP_SECRET))
    monkeypatch.setattr(settings, "app_api_url", github.api_url)
    return {"credential": CredentialKind.APP, "installation_id": 4711}


async def test_the_apps_webhook_speaks_for_all_connections_by_the_app(
    platform: RunningPlatform, github: GitHubDouble, app_hook: dict[str, Any]
) -> None:
    by_app = await bind(platform, github, {"mcp.json": own(unique("app"))}, **app_hook)
    by_token = await bind_to(platform, github, by_app.repository, await platform.member())
    other = await bind(platform, github, {}, **app_hook | {"installation_id": 4712})
    head = await by_app.repository.head()
    payload = by_app.repository.push_payload(ZEROS, head) | {"installation": {"id": 4711}}
    answer = await deliver(platform, "push", payload, secret=APP_SECRET)
    assert (answer.status_code, answer.json()["message"]) == (202, QUEUED)
    await eventually(by_app.connection, lambda seen: seen.head_commit == head)

    gone = {"action": "deleted", "installation": {"id": 4711}}
    assert (await deliver(platform, "installation", gone)).status_code == 401, "not with another secret"
    assert (await deliver(platform, "installation", gone, secret=APP_SECRET)).status_code == 202
    await eventually(by_app.connection, lambda seen: seen.state is ConnectionState.REFUSED)
    for untouched in (by_token, other):
        connection = await untouched.connection()
        assert (connection.head_commit, connection.state) == (None, ConnectionState.CONNECTED)


async def test_a_repository_that_is_taken_from_the_app_is_said_on_its_connection_alone(
    platform: RunningPlatform, github: GitHubDouble, app_hook: dict[str, Any]
) -> None:
    taken = await bind(platform, github, {}, **app_hook)
    kept = await bind(platform, github, {}, **app_hook)
    listed = [{"full_name": taken.repository.full_name.upper()}]
    payload = {"action": "removed", "installation": {"id": 4711}, "repositories_removed": listed}
    answer = await deliver(platform, "installation_repositories", payload, secret=APP_SECRET)
    assert answer.status_code == 202
    connection = await eventually(taken.connection, lambda seen: seen.state is ConnectionState.REFUSED)
    assert connection.reason == "the platform's App may not see the repository any more"
    assert (await kept.connection()).state is ConnectionState.CONNECTED
    payload = {"action": "added", "installation": {"id": 4711}, "repositories_added": listed}
    await deliver(platform, "installation_repositories", payload, secret=APP_SECRET)
    await eventually(taken.connection, lambda seen: seen.state is ConnectionState.CONNECTED)


async def test_an_app_that_is_taken_away_and_given_back_is_said_on_its_connections(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    bound = await bind(platform, github, {}, credential=CredentialKind.APP, installation_id=4711)
    refused = "the platform's App was uninstalled at GitHub"
    await handled(bound, "installation", action="deleted", details={"refused": refused})
    connection = await bound.connection()
    assert (connection.state, connection.reason) == (ConnectionState.REFUSED, refused)
    await handled(bound, "installation", action="unsuspend")
    connection = await bound.connection()
    assert (connection.state, connection.reason) == (ConnectionState.CONNECTED, None)


async def test_the_address_of_a_webhook_says_which_connection_it_speaks_for(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    first = await bind(platform, github, {"mcp.json": own(unique("first"))})
    second = await bind_to(platform, github, first.repository, await platform.member())
    await push(first, query=f"?connection={first.id}")
    await synced_to(first, await first.repository.head())
    assert (await second.connection()).head_commit is None
