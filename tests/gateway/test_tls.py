"""Calls through the gateway to servers behind TLS: with a certificate that holds, and without."""

from pathlib import Path

import pytest
from aiohttp import web
from mcp import MCPError
from mcp.server.mcpserver import MCPServer
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_platform.contracts.deployments import Driver
from tests.gateway.conftest import MODERN, Platform, serving
from tests.rest_upstreams.conftest import tool
from tests.upstreams.certificates import Authority, Issued
from tests.upstreams.trust import authority
from tests.waiting import in_one_task

__all__ = ["authority"]

ERAS = ["legacy", MODERN]
HERE = "127.0.0.1"


class Noting:
    """Notes each request, and lets an application answer it."""

    def __init__(self, app: ASGIApp) -> None:
        self.asked = 0
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        self.asked += scope["type"] == "http"
        await self._app(scope, receive, send)


def real_server() -> Noting:
    """Make a server with the official SDK."""
    server = MCPServer("far")

    @server.tool()
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"hello {name}"

    return Noting(server.streamable_http_app())


@pytest.mark.parametrize("mode", ERAS)
async def test_a_real_server_behind_tls_is_called_by_clients_of_both_eras(
    platform: Platform, authority: Authority, mode: str
) -> None:
    async with in_one_task(serving(real_server(), **authority.issue(HERE).for_uvicorn)) as url:
        await platform.deploy("far", f"{url}/mcp", driver=Driver.REMOTE)
        async with platform.client("far", mode) as client:
            result = await client.call_tool("greet", {"name": "ann"})
        assert str(result.content[0].text) == "hello ann"  # type: ignore[union-attr]
        status, body, _ = await platform.rest("far", "greet", {"name": "bob"})
        assert (status, body["result"]) == (200, "hello bob")


async def test_an_api_behind_tls_is_called(platform: Platform, authority: Authority) -> None:
    async def pets(request: web.Request) -> web.Response:
        return web.json_response({"seen": request.headers["X-Key"]})

    app = web.Application()
    app.router.add_get("/v1/pets", pets)
    running = web.AppRunner(app, shutdown_timeout=0.1)
    await running.setup()
    try:
        await web.TCPSite(running, HERE, 0, ssl_context=authority.issue(HERE).context).start()
        url = f"https://{HERE}:{running.addresses[0][1]}/v1"
        tools = [tool("list", {"path": "/pets"})]
        await platform.deploy("pets", url, driver=Driver.REMOTE, headers={"X-Key": "k"}, tools=tools)
        assert (await platform.rest("pets", "list"))[:2] == (200, {"seen": "k"})
    finally:
        await running.cleanup()


def expired(authority: Authority, _: Path) -> tuple[Issued, str]:
    """Give a certificate that has expired, and what is said of it."""
    return authority.issue(HERE, days=(-3, -1)), "has expired: the server needs a new one"


def unknown(_: Authority, folder: Path) -> tuple[Issued, str]:
    """Give one of an authority that nobody knows."""
    return Authority(folder, "Others").issue(HERE), "is of an authority that is not trusted here"


@pytest.mark.parametrize("make", [expired, unknown])
@pytest.mark.parametrize("is_api", [False, True], ids=["mcp", "api"])
async def test_callers_are_told_what_is_wrong_with_a_certificate(
    platform: Platform, authority: Authority, tmp_path: Path, make: object, is_api: bool
) -> None:
    assert callable(make)
    issued, told = make(authority, tmp_path)
    app, tools = real_server(), [tool("greet", {"path": "/pets"})] if is_api else None
    async with in_one_task(serving(app, **issued.for_uvicorn)) as url:
        headers = {"Authorization": "Bearer ours"}
        await platform.deploy("far", f"{url}/mcp", driver=Driver.REMOTE, headers=headers, tools=tools)
        status, body, _ = await platform.rest("far", "greet", {"name": "ann"})
        assert (status, body["error_code"]) == (502, "UPSTREAM_ERROR")
        assert f"The certificate of {url.removeprefix('https://')} {told}" in body["detail"]
        async with platform.client("far", MODERN) as client:
            with pytest.raises(MCPError, match=told):
                await client.call_tool("greet", {"name": "ann"})
        assert app.asked == 0
