"""Walks through the contract's document, request by request, as a user who tries it out does."""

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from tests.contract.document import Section, differences, sections
from tests.github.double import GitHubDouble
from tests.platform import RunningPlatform
from tests.waiting import eventually

TOOL = "770e8400-e29b-41d4-a716-446655440002"
DOCUMENT = "880e8400-e29b-41d4-a716-446655440003"
DEPLOYMENT = "ff0e8400-e29b-41d4-a716-446655440010"
TASK = "aa0e8400-e29b-41d4-a716-446655440005"
CONNECTION = "dd0e8400-e29b-41d4-a716-446655440008"
SYNC = "ee0e8400-e29b-41d4-a716-446655440009"

STATUS = {"POST": 201, "GET": 200, "PUT": 200, "DELETE": 200}
OTHER_STATUS = {
    "Login and Get Access Token": 200,
    "Refresh Access Token": 200,
    "Semantic Search": 200,
    "Analyze Feasibility": 202,
    "Get Improvement Suggestions": 202,
    "Generate Configuration": 202,
    "Trigger Repository Sync": 202,
    "GitHub Webhook": 202,
    "Deploy MCP Tool": 202,
    "Access Deployed MCP Tool": 200,
}
"""Statuses that the document leaves open: work that goes on is 202, what was only asked is 200."""
_IDS = {"id", "tool_id", "document_id", "task_id", "deployment_id", "connection_id"}
FIRST = {
    "Get Task Status and Result": "wait_for_the_task",
    "List Deployments": "wait_for_the_deployment",
    "Get Deployment Status": "call_the_tool",
    "Semantic Search": "wait_for_the_document",
    "Get Improvement Suggestions": "register_again",
    "Connect Repository": "make_the_repository",
    "Disconnect Repository": "wait_for_the_sync",
    "GitHub Webhook": "connect_again",
    "Access Deployed MCP Tool": "deploy_again",
}
"""What has to be true before a request: the document shows answers from a later moment."""


@dataclass
class Walk:
    """The walk, and what was found wrong on it."""

    platform: RunningPlatform
    server_url: str
    """A real MCP server in the place of the document's weather service."""
    github: GitHubDouble
    known: dict[str, str] = field(default_factory=dict)
    """What stands for what."""
    problems: dict[str, list[str]] = field(default_factory=dict)

    async def take(self) -> None:
        """Send every request of the document in its order."""
        suffix = uuid4().hex[:6]
        self.known = {
            "http://api.weather.com": self.server_url,
            # The document's key would have ended by now.
            '"expires_at": "2025-': '"expires_at": "2099-',
            '"developer",': f'"developer-{suffix}",',
            "dev@example.com": f"dev-{suffix}@example.com",
            # The role's name stands where the user's name does.
            '"role": "developer-' + suffix + '"': '"role": "developer"',
        }
        for section in sections():
            step = FIRST.get(section.title)
            if step:
                await getattr(self, step)()
            self.problems[section.title] = await self._try(section)

    async def _try(self, section: Section) -> list[str]:
        answer = await self.send(section)
        wanted = OTHER_STATUS.get(section.title, STATUS[answer.request.method])
        if answer.status_code != wanted:
            return [f"status {answer.status_code}, not {wanted}: {answer.text[:300]}"]
        body = answer.json()
        if section.answer is None:
            return []
        self._learn(section.answer, body)
        return differences(section.answer, body)

    async def send(self, section: Section) -> httpx.Response:
        """Send one request."""
        request = section.request(self.known)
        if section.title == "GitHub Webhook":
            request.headers["X-Hub-Signature-256"] = self._signature(request.body or "")
        return await self.platform.caller().request(
            request.method, request.path, headers=request.headers, content=request.body
        )

    def _learn(self, promised: Any, given: Any) -> None:
        """Note what the document's ids and tokens stand for here."""
        if not isinstance(promised, dict):
            return
        for name, value in promised.items():
            if name in {"access_token", "refresh_token"} and name in given:
                self.known[f"YOUR_{name.upper()}"] = given[name]
            elif name == "key":
                self.known[value] = given[name]
            elif name in _IDS and name in given:
                self.known.setdefault(value, str(given[name]))

    async def register_again(self) -> None:
        """Register the MCP that the document has just deleted, as its next requests mean it."""
        del self.known[TOOL]
        created = next(section for section in sections() if section.title == "Create MCP Tool")
        self._learn(created.answer, (await self.send(created)).json())

    async def make_the_repository(self) -> None:
        """Make the document's repository, with a newer version of the document's tool in it."""
        created = next(section for section in sections() if section.title == "Create MCP Tool")
        definition = json.loads(created.request(self.known).body or "") | {"version": "1.2.0"}
        repository = await self.github.repository("username/mcp-tools", {"mcp.json": json.dumps(definition)})
        self.known["https://github.com/username/mcp-tools"] = repository.url
        self.known["ghp_your_github_token"] = self.github.token("username", {"username/mcp-tools": "admin"})

    async def wait_for_the_sync(self) -> None:
        """Wait until the repository's version is the tool's."""
        await self._until(f"/api/v1/tasks/{self.known[SYNC]}", "status", "completed")
        await self._until(f"/api/v1/mcps/{self.known[TOOL]}", "version", "1.2.0")

    async def connect_again(self) -> None:
        """Connect the repository that the document has just disconnected."""
        del self.known[CONNECTION]
        connect = next(section for section in sections() if section.title == "Connect Repository")
        self._learn(connect.answer, (await self.send(connect)).json())

    def _signature(self, body: str) -> str:
        """Sign as GitHub does, with the secret that it was given with the webhook."""
        hooks = self.github.repositories["username/mcp-tools"].hooks
        secret = next(iter(hooks.values()))["config"]["secret"]
        return f"sha256={hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()}"

    async def deploy_again(self) -> None:
        """Deploy the MCP that the document has just stopped."""
        del self.known[DEPLOYMENT]
        deployed = next(section for section in sections() if section.title == "Deploy MCP Tool")
        self._learn(deployed.answer, (await self.send(deployed)).json())
        await self.wait_for_the_deployment()

    async def wait_for_the_task(self) -> None:
        """Wait until the analysis is completed."""
        await self._until(f"/api/v1/tasks/{self.known[TASK]}", "status", "completed")

    async def wait_for_the_deployment(self) -> None:
        """Wait until the deployment runs."""
        await self._until(f"/api/v1/deployments/{self.known[DEPLOYMENT]}", "status", "running")

    async def wait_for_the_document(self) -> None:
        """Wait until the document can be found."""
        await self._until(f"/api/v1/knowledge/documents/{self.known[DOCUMENT]}", "indexing", "done")

    async def call_the_tool(self) -> None:
        """Call the tool while it is deployed, so that there are figures."""
        called = next(section for section in sections() if section.title == "Access Deployed MCP Tool")
        assert (await self.send(called)).status_code == 200

    async def _until(self, path: str, name: str, wanted: str) -> None:
        caller = self.platform.caller()
        caller.headers["Authorization"] = f"Bearer {self.known['YOUR_ACCESS_TOKEN']}"

        async def read() -> Any:
            return (await caller.get(path)).json()

        await eventually(read, lambda seen: seen.get(name) == wanted)
