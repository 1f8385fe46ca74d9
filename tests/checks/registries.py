"""A package registry on loopback that answers as PyPI and npm do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

PYPI: dict[str, Any] = {
    "info": {
        "name": "MCP-Server.Time",
        "version": "2.1.0",
        "summary": "Tells the time",
        "license": "",
        "license_expression": None,
        "classifiers": ["Programming Language :: Python", "License :: OSI Approved :: MIT License"],
        "yanked": False,
    },
    "releases": {
        "1.0": [{"yanked": False, "upload_time_iso_8601": "2025-01-02T03:04:05.123456Z"}],
        "1.5": [{"yanked": True, "upload_time_iso_8601": "2025-03-02T03:04:05.123456Z"}],
        "1.6": [],
        "2.1.0": [
            {"yanked": False, "upload_time_iso_8601": "2026-02-02T00:00:09.000000Z"},
            {"yanked": False, "upload_time_iso_8601": "2026-02-02T00:00:07.000000Z"},
        ],
    },
    "urls": [],
}

NPM: dict[str, Any] = {
    "_id": "@scope/server",
    "name": "@scope/server",
    "dist-tags": {"latest": "3.0.1", "next": "4.0.0-rc.1"},
    "versions": {
        "3.0.0": {"version": "3.0.0", "deprecated": "has a hole; use 3.0.1"},
        "3.0.1": {"version": "3.0.1", "description": "Serves", "license": "Apache-2.0"},
        "4.0.0-rc.1": {"version": "4.0.0-rc.1"},
    },
    "time": {"created": "2025-01-01T00:00:00.000Z", "3.0.1": "2026-03-04T05:06:07.000Z"},
}


class LocalRegistry:
    """What it has, what it was asked, and how it misbehaves."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.credentials: list[str | None] = []
        self.documents: dict[str, Any] = {
            "/pypi/mcp-server-time/json": PYPI,
            "/@scope/server": NPM,
            "/pypi/no-object/json": [1, 2],
            "/pypi/no-version/json": {"info": "odd", "releases": 7},
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Give a document."""
        path = request.path
        self.asked.append(request.raw_path)
        self.credentials.append(request.headers.get("Authorization"))
        if path == "/pypi/slow/json":
            await asyncio.Event().wait()
        if path == "/pypi/broken/json":
            return web.Response(status=503)
        if path == "/pypi/html/json":
            return web.Response(text="<html>", content_type="text/html")
        if path not in self.documents:
            return web.json_response({"message": "Not Found"}, status=404)
        return web.json_response(self.documents[path])


@asynccontextmanager
async def local_registry() -> AsyncIterator[LocalRegistry]:
    """Serve one while the body runs."""
    registry = LocalRegistry()
    app = web.Application()
    app.router.add_get("/{path:.*}", registry.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()
