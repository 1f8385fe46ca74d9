"""Connecting repositories through the API, as several tests do."""

from typing import Any

import httpx

from tests.github.double import Repository
from tests.platform import Caller

CONFIG = '{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}'
SERVER = {"name": "time", "url": "http://127.0.0.1:9/mcp"}


async def connect(member: Caller, repository: Repository, token: str, **more: Any) -> httpx.Response:
    """Ask for a connection."""
    order = {"repository_url": repository.url, "access_token": token} | more
    return await member.post("/api/v1/github/connect", json=order)


async def connected(member: Caller, repository: Repository, token: str, **more: Any) -> dict[str, Any]:
    """Connect a repository."""
    answer = await connect(member, repository, token, **more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def connections(member: Caller) -> list[dict[str, Any]]:
    """List the member's connections."""
    answer = await member.get("/api/v1/github/connections")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    assert answer.json()["total"] == len(items)
    return items
