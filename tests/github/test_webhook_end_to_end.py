"""From the connection to the MCP: GitHub itself tells the platform."""

from uuid import UUID

from mcp_platform.names import sync_workflow_id
from tests.github.double import GitHubDouble
from tests.github.syncs import own, unique
from tests.platform import RunningPlatform
from tests.waiting import eventually


async def test_a_push_to_a_connected_repository_arrives_by_the_webhook_that_was_installed(
    platform: RunningPlatform, github: GitHubDouble
) -> None:
    slug = unique("arrives")
    repository = await github.repository(f"acme/{unique('tools')}", {"README.md": "Nothing yet"})
    token = github.token("mona", {repository.full_name: "admin"})
    caller = await platform.member()
    order = {"repository_url": repository.url, "access_token": token}
    answer = await caller.post("/api/v1/github/connect", json=order)
    assert answer.status_code == 201, answer.text
    connected = answer.json()
    assert connected["webhook"] == "installed"

    before = await repository.head()
    after = await repository.commit({"mcp.json": own(slug)})
    assert await github.deliver(repository, "ping", {"repository": repository.as_json(None)}) == [200]
    assert await github.deliver(repository, "push", repository.push_payload(before, after)) == [202]

    async def found() -> list[dict[str, object]]:
        listed = await caller.get("/api/v1/mcps", params={"search": slug})
        items: list[dict[str, object]] = listed.json()["items"]
        return items

    [mcp] = await eventually(found)
    assert mcp["slug"] == slug
    await caller.task_is(sync_workflow_id(UUID(connected["connection_id"])), "completed")
    shown = (await caller.get(f"/api/v1/github/connections/{connected['connection_id']}")).json()
    assert (shown["synced_commit"], shown["head_commit"]) == (after, after)
