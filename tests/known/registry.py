"""A registry of MCP servers, as the official one answers: `GET /v0.1/servers` (API v0.1)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiohttp import web

from mcp_platform.contracts.exchange import OFFICIAL

MORNING = "2026-11-01T08:00:00Z"
NOON = "2026-11-01T12:00:00.123456Z"
EVENING = "2026-11-01T20:00:00Z"


def npm(name: str, identifier: str, changed: str = MORNING, **package: Any) -> dict[str, Any]:
    """Give the entry of a server that is a package of npm."""
    described = {
        "registryType": "npm",
        "identifier": identifier,
        "version": "1.2.3",
        "transport": {"type": "stdio"},
    }
    server = {
        "name": name,
        "description": f"Does {name}",
        "version": "1.2.3",
        "packages": [described | package],
    }
    return entry(server, changed)


def entry(server: Any, changed: str = MORNING, status: str = "active", latest: bool = True) -> dict[str, Any]:
    """Give an entry, with what the registry knows of it."""
    state = {"status": status, "publishedAt": changed, "updatedAt": changed, "isLatest": latest}
    return {"server": server, "_meta": {OFFICIAL: state}}


class Registry:
    """What the registry has, and how it fails."""

    def __init__(self) -> None:
        self.url = ""
        self.entries: list[Any] = []
        self.page = 2
        """Entries of a page."""
        self.away_after: int | None = None
        """After how many more pages it answers with 503."""
        self.refuses_cursors = False
        self.body: bytes | None = None
        """What it answers instead."""
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        query = dict(request.query)
        self.asked.append(query)
        if self.away_after is not None:
            if self.away_after == 0:
                return web.Response(status=503, text="down for maintenance")
            self.away_after -= 1
        if self.body is not None:
            return web.Response(body=self.body, content_type="application/json")
        cursor = query.get("cursor")
        if cursor is not None and self.refuses_cursors:
            return web.json_response({"title": "Bad Request", "detail": "invalid cursor"}, status=400)
        begin = int(cursor.removeprefix("at:")) if cursor else 0
        found = [each for each in self.entries if _changed_since(each, query.get("updated_since"))]
        page = found[begin : begin + self.page]
        metadata: dict[str, Any] = {"count": len(page)}
        if begin + self.page < len(found):
            metadata["nextCursor"] = f"at:{begin + self.page}"
        return web.json_response({"servers": page, "metadata": metadata})


def _changed_since(given: Any, since: str | None) -> bool:
    if since is None or not isinstance(given, dict):
        return True
    return datetime.fromisoformat(given["_meta"][OFFICIAL]["updatedAt"]) >= datetime.fromisoformat(since)


@asynccontextmanager
async def running_registry() -> AsyncIterator[Registry]:
    """Run a registry at a local address."""
    registry = Registry()
    app = web.Application()
    app.router.add_get("/v0.1/servers", registry.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    registry.url = f"http://127.0.0.1:{port}"
    try:
        yield registry
    finally:
        await runner.cleanup()
