"""A real HTTP API on a socket, which notes what it is asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from tests.gateway.conftest import platform

__all__ = ["platform"]


@dataclass
class Api:
    """What the API is, and was asked."""

    url: str = ""
    asked: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    """Method, path with query, headers in lower case, and body of each request."""
    key: str = "right"
    healthy: bool = True
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end of the test: slow requests are answered then."""

    @property
    def last(self) -> tuple[str, str, dict[str, str], str]:
        """The newest request."""
        return self.asked[-1]

    async def slow(self, request: web.Request) -> web.Response:
        """Answer at the end of the test."""
        await self.ending.wait()
        return web.Response()

    async def health(self, request: web.Request) -> web.Response:
        """Tell whether it is well."""
        return web.Response(status=200 if self.healthy else 503)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Run an API of pets."""
    state = Api()

    @web.middleware
    async def note(request: web.Request, handler: Answer) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        state.asked.append((request.method, request.path_qs, headers, await request.text()))
        if request.path.startswith("/v1/private") and headers.get("authorization") != f"Bearer {state.key}":
            return web.json_response({"error": "bad credential"}, status=401)
        return await handler(request)

    app = web.Application(middlewares=[note])
    app.add_routes(
        [
            web.get("/v1/pets", _list),
            web.post("/v1/pets", _echo),
            web.get("/v1/pets/{id}", _pet),
            web.put("/v1/pets/{id}", _echo),
            web.get("/v1/private/pets", _list),
            web.get("/v1/status/{code}", _status),
            web.get("/v1/huge", _huge),
            web.get("/v1/slow", state.slow),
            web.route("*", "/v1/break", _break),
            web.get("/v1/health", state.health),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    state.url = f"http://{host}:{port}/v1"
    yield state
    state.ending.set()
    await runner.cleanup()


async def _list(request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": 1}], "next": None})


async def _echo(request: web.Request) -> web.Response:
    body = await request.json() if "json" in request.content_type else dict(await request.post())
    return web.json_response({"got": body})


async def _pet(request: web.Request) -> web.Response:
    number = request.match_info["id"]
    if number == "0":
        return web.json_response({"error": "no such pet"}, status=404)
    return web.json_response({"id": number})


async def _status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]), text="as you like", headers={"Location": "/"})


async def _huge(request: web.Request) -> web.Response:
    return web.Response(text="x" * 2_000_000)


async def _break(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def tool(name: str, request: dict[str, Any], /, **parameters: str) -> dict[str, Any]:
    """Describe a tool, its parameters by their types."""
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    return {"name": name, "parameters": properties, "request": request}
