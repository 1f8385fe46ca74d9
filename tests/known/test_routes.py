"""Looking into the catalogue, and registering from it."""

from datetime import timedelta
from uuid import uuid4

import pytest

from mcp_platform.contracts.known import RefreshOutcome
from mcp_platform.formats.registry_entries import read_page
from mcp_platform.known_servers import shipped_servers
from mcp_platform.names import KNOWN_SERVERS_SCHEDULE, TaskQueue
from tests.known.registry import npm
from tests.mcps.test_registry import published
from tests.platform import Caller, RunningPlatform
from workflows.known import RefreshKnownWorkflow

KNOWN = "/api/v1/known-servers"


@pytest.fixture
async def member(platform: RunningPlatform) -> Caller:
    """Give a developer."""
    return await platform.member()


async def test_all_servers_of_the_catalogue_are_listed_page_by_page(member: Caller) -> None:
    slugs: list[str] = []
    number = 1
    while True:
        answer = await member.get(KNOWN, params={"page": number, "page_size": 30})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        slugs += [item["slug"] for item in page["items"]]
        if number == page["pages"]:
            break
        number += 1
    assert slugs == [server.slug for server in shipped_servers()]
    assert page["total"] == len(slugs)


@pytest.mark.parametrize(
    ("words", "slug"), [("what time is it in Oslo", "time"), ("维基百科条目", "wikipedia")]
)
async def test_a_search_gives_the_likeliest_first(member: Caller, words: str, slug: str) -> None:
    answer = await member.get(KNOWN, params={"search": words})
    assert answer.status_code == 200, answer.text
    first = answer.json()["items"][0]
    assert (first["slug"], first["sure"]) == (slug, True)
    assert 0.7 <= first["score"] <= 1


async def test_one_server_is_shown_with_the_configuration_that_runs_it(member: Caller) -> None:
    answer = await member.get(f"{KNOWN}/notion")
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["server"]["secrets"][0]["name"] == "NOTION_TOKEN"
    server = shown["config"]["servers"][0]
    assert server["env"] == {"NOTION_TOKEN": "${NOTION_TOKEN}"}
    assert server["command"] == "npx"


async def test_a_server_that_is_not_known_is_not_found(member: Caller) -> None:
    for answer in (
        await member.get(f"{KNOWN}/no-such-server"),
        await member.post(f"{KNOWN}/no-such-server/register"),
    ):
        assert answer.status_code == 404
        assert answer.json()["error_code"] == "NOT_FOUND"


async def test_a_known_server_becomes_a_draft_of_the_caller(member: Caller) -> None:
    slug = f"clock-{uuid4().hex[:8]}"
    answer = await member.post(f"{KNOWN}/time/register", json={"slug": slug, "tags": ["clock"]})
    assert answer.status_code == 201, answer.text
    created = answer.json()
    assert (created["slug"], created["name"], created["status"]) == (slug, "Time", "draft")
    mcp = (await member.get(f"/api/v1/mcps/{created['id']}")).json()
    known = next(server for server in shipped_servers() if server.slug == "time")
    assert mcp["config"] == known.config()
    assert mcp["tags"] == ["clock"]
    again = await member.post(f"{KNOWN}/time/register", json={"slug": slug})
    assert again.status_code == 409


async def test_a_registration_is_recorded_with_the_mcp_that_came_of_it(
    platform: RunningPlatform, member: Caller
) -> None:
    slug = f"audited-{uuid4().hex[:8]}"
    created = (await member.post(f"{KNOWN}/time/register", json={"slug": slug})).json()
    admin = await platform.admin()
    found = await admin.get("/api/v1/audit", params={"resource_id": created["id"]})
    entry = found.json()["entries"][0]
    assert (entry["action"], entry["resource_type"]) == ("known_servers.register_known_server", "mcp_tool")


async def test_who_may_only_read_may_look_and_not_register(platform: RunningPlatform) -> None:
    viewer = await platform.member("viewer")
    assert (await viewer.get(KNOWN)).status_code == 200
    answer = await viewer.post(f"{KNOWN}/time/register")
    assert answer.status_code == 403
    assert answer.json()["required_permission"] == "mcps:write"


async def test_misspelt_fields_are_refused(member: Caller) -> None:
    answer = await member.post(f"{KNOWN}/time/register", json={"slugg": "x"})
    assert answer.status_code == 422


async def test_the_platforms_own_registry_is_read_like_the_official_one(member: Caller) -> None:
    slug = f"own-{uuid4().hex[:8]}"
    await published(member, slug, "1.0.0")
    page = read_page((await member.get("/v0.1/servers", params={"search": slug})).json())
    (found,) = page.servers
    assert found.name == f"local.mcp-platform/{slug}"
    assert found.server.args == ["-y", "p@1.0.0"]
    assert page.newest is not None


async def test_the_registry_is_read_each_day(platform: RunningPlatform) -> None:
    schedule = await platform.parts.temporal.get_schedule_handle(KNOWN_SERVERS_SCHEDULE).describe()
    (interval,) = schedule.schedule.spec.intervals
    assert interval.every == timedelta(days=1)


async def test_the_workflow_tells_what_came_of_a_run(platform: RunningPlatform) -> None:
    # The platform of the tests has no registry; what one gives is in test_refresh.py.
    outcome = await platform.parts.temporal.execute_workflow(
        RefreshKnownWorkflow.run, id=f"known-{uuid4()}", task_queue=TaskQueue.ORCHESTRATION
    )
    assert outcome == RefreshOutcome(complete=False, reason="no registry is set")


async def test_what_the_registry_has_is_found_and_can_be_registered(
    platform: RunningPlatform, member: Caller
) -> None:
    (read,) = read_page({"servers": [npm("com.example/crystal-ball", "crystal-ball")]}).servers
    async with platform.parts.stores.write() as rows:
        await rows.known_servers.put([read], 10)
    try:
        answer = await member.get(KNOWN, params={"search": "a crystal ball"})
        first = answer.json()["items"][0]
        assert (first["slug"], first["origin"], first["sure"]) == (read.server.slug, "registry", False)
        answer = await member.post(f"{KNOWN}/{read.server.slug}/register")
        assert answer.status_code == 201, answer.text
        assert answer.json()["slug"] == "com-example-crystal-ball"
    finally:
        async with platform.parts.stores.write() as rows:
            await rows.known_servers.clear()
    assert (await member.get(f"{KNOWN}/{read.server.slug}")).status_code == 404
