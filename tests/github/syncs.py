"""Repositories with definitions, connected to a platform and synced."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from temporalio.client import WorkflowFailureError

from mcp_platform.contracts.github import Connection, Definition, SealedConnection, connection_purpose
from mcp_platform.names import sync_workflow_id
from tests.github.connections import sealed_connection
from tests.github.double import GitHubDouble, Repository
from tests.platform import Caller, RunningPlatform

SECRET = "the secret of the webhook"


def unique(name: str) -> str:
    """Give a slug that nobody else's test has."""
    return f"{name}-{uuid4().hex[:8]}"


def own(slug: str, command: str = "uvx", **more: Any) -> str:
    """Write a definition in the platform's own format."""
    config = {"servers": [{"name": "main", "command": command, "args": ["mcp-server-time"]}]}
    return json.dumps({"name": "A tool", "slug": slug, "version": "1.0.0", "config": config, **more})


def servers(*slugs: str, command: str = "uvx") -> str:
    """Write a file as Claude and Cursor have it."""
    entries = {slug: {"command": command, "args": [slug]} for slug in slugs}
    return json.dumps({"mcpServers": entries})


@dataclass
class Bound:
    """A repository, who connected it, and the connection."""

    platform: RunningPlatform
    caller: Caller
    repository: Repository
    sealed: SealedConnection

    @property
    def id(self) -> UUID:
        """The connection's."""
        return self.sealed.connection.id

    @property
    def task_id(self) -> str:
        """The sync's."""
        return sync_workflow_id(self.id)

    async def ask(self, **order: Any) -> None:
        """Ask for a sync."""
        answer = await self.caller.post(f"/api/v1/github/sync/{self.id}", json=order or None)
        assert answer.status_code == 202, answer.text
        assert answer.json() == {
            "task_id": self.task_id,
            "status": "pending",
            "message": "Repository sync queued for processing",
        }

    async def sync(self, **order: Any) -> dict[str, Any]:
        """Sync, and give the report."""
        await self.ask(**order)
        task = await self.ended()
        assert task["status"] == "completed", task
        report: dict[str, Any] = task["result"]
        return report

    async def ended(self) -> dict[str, Any]:
        """Wait until no sync runs, and read the task."""
        with suppress(WorkflowFailureError):
            await self.platform.parts.temporal.get_workflow_handle(self.task_id).result()
        answer = await self.caller.get(f"/api/v1/tasks/{self.task_id}")
        assert answer.status_code == 200, answer.text
        task: dict[str, Any] = answer.json()
        return task

    async def connection(self) -> Connection:
        """Read the connection's record."""
        async with self.platform.parts.stores.read() as rows:
            found = await rows.connections.get(self.id)
        assert found is not None
        return found

    async def definitions(self) -> list[Definition]:
        """Read what was synced."""
        async with self.platform.parts.stores.read() as rows:
            return await rows.connections.definitions(self.id)

    async def mcp(self, slug: str) -> dict[str, Any]:
        """Read an MCP."""
        listed = await self.caller.get("/api/v1/mcps", params={"search": slug})
        [found] = [each for each in listed.json()["items"] if each["slug"] == slug]
        answer = await self.caller.get(f"/api/v1/mcps/{found['id']}")
        body: dict[str, Any] = answer.json()
        return body

    async def history(self, slug: str) -> list[dict[str, Any]]:
        """Read an MCP's history, the newest first."""
        mcp = await self.mcp(slug)
        answer = await self.caller.get(f"/api/v1/mcps/{mcp['id']}/history")
        assert answer.status_code == 200, answer.text
        versions: list[dict[str, Any]] = answer.json()["versions"]
        return versions


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    """Give what became of each definition, by its slug or path."""
    return {each["slug"] or each["path"]: each["outcome"] for each in report["definitions"]}


async def bind(
    platform: RunningPlatform,
    github: GitHubDouble,
    files: dict[str, str | bytes],
    *,
    caller: Caller | None = None,
    **changes: Any,
) -> Bound:
    """Make a repository with these files, and a connection of somebody's to it."""
    caller = caller or await platform.member()
    full_name = f"acme/{unique('tools')}"
    repository = await github.repository(full_name, files)
    return await bind_to(platform, github, repository, caller, **changes)


async def bind_to(
    platform: RunningPlatform,
    github: GitHubDouble,
    repository: Repository,
    caller: Caller,
    **changes: Any,
) -> Bound:
    """Make a connection of somebody's to a repository."""
    token = github.token(unique("mona"), {repository.full_name: "push"})
    me = await caller.get("/api/v1/auth/me")
    given = sealed_connection(repository, token, owner_id=UUID(me.json()["id"]))
    connection = given.connection.model_copy(update=changes)
    sealer = platform.parts.sealer
    sealed = SealedConnection(
        connection=connection,
        sealed_token=sealer.seal(token.encode(), connection_purpose(connection.id, "token")),
        sealed_webhook_secret=sealer.seal(SECRET.encode(), connection_purpose(connection.id, "webhook")),
    )
    async with platform.parts.stores.write() as rows:
        await rows.connections.add(sealed)
    return Bound(platform, caller, repository, sealed)
