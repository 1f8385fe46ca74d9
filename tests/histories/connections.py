"""Histories of connections to repositories."""

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from mcp_platform.names import disconnect_workflow_id
from tests.github.connecting import CONFIG, connect, connected
from tests.github.double import GitHubDouble
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.histories.record import Recorder


async def record_connections(
    platform: RunningPlatform, admin: Caller, recorder: "Recorder", folder: Path
) -> None:
    """Connect, change and disconnect; fail at each, and take back."""
    asked: set[str] = set()

    async def ids() -> set[str]:
        query = 'WorkflowType = "github.connect"'
        return {each.id async for each in platform.parts.temporal.list_workflows(query)}

    async def save(name: str) -> None:
        """Save the history of the workflow that is new, of a connection that nobody sees."""
        new = await eventually(ids, lambda seen: seen - asked)
        [number] = new - asked
        asked.add(number)
        await recorder.save_ended(name, number)

    async with GitHubDouble(folder / "github").running() as github:
        repository = await github.repository("acme/tools", {"mcp.json": CONFIG})
        token = github.token("mona", {"acme/tools": "admin"})
        number = (await connected(admin, repository, token))["connection_id"]
        await save("connection_made")
        await connect(admin, repository, token, branch="nowhere")
        await save("connection_refused")
        github.misbehave(status=503, method="GET", path="/hooks", times=4)
        await connect(admin, repository, token, path="elsewhere")
        await save("connection_taken_back")
        await admin.patch(f"/api/v1/github/connections/{number}", json={"access_token": token})
        await save("connection_changed")
        await admin.delete(f"/api/v1/github/disconnect/{number}")
        await recorder.save_ended("connection_ended", disconnect_workflow_id(UUID(number)))
        number = (await connected(admin, repository, token))["connection_id"]
        github.misbehave(status=0)
        await admin.delete(f"/api/v1/github/disconnect/{number}")
        await recorder.save_ended("connection_ended_without_github", disconnect_workflow_id(UUID(number)))
