"""Clients that connect and say nothing, and streams that last until the server stops."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app import create_app
from mcp_platform.cli.corking import CorkedHttp
from mcp_platform.cli.serving import listening_socket, serving
from storage.stores import open_stores
from tests.conformance.suite import everything
from tests.front.raw import ACCEPT, LEGACY, MODERN, Session, modern, post
from tests.gateway.conftest import Platform, settings_for
from tests.gateway.upstreams import stub
from tests.migrated import make_schema
from tests.platform import free_port
from tests.runner.conftest import until
from tests.services.process import unavailable

SILENT = 1000


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Platform]:
    """Serve a gateway as the command does."""
    settings, port = settings_for(folder), free_port()
    await make_schema(settings.sql_url)
    app = create_app(settings)
    async with (
        open_stores(settings) as stores,
        serving(app, listening_socket("127.0.0.1", port, "")),
    ):
        platform = Platform(settings, stores, app.state.gateway, f"http://127.0.0.1:{port}")
        platform.user = await platform.add_user()
        platform.key = (await platform.add_key(platform.user))[1]
        yield platform


async def test_silent_clients_hinder_nobody_and_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CorkedHttp, "patience", 5.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * SILENT + 500
    if soft < needed:
        if hard not in (-1, resource.RLIM_INFINITY) and hard < needed:
            unavailable(f"{needed} open files are not allowed here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    async with stub() as server, served(tmp_path) as platform:
        await platform.deploy("acting", server.url)
        message, headers = modern("tools/call", name="act", arguments={})
        headers["X-API-Key"] = platform.key
        await post(platform.address("acting"), message, headers)
        tasks = len(asyncio.all_tasks())
        port = int(platform.url.rpartition(":")[2])
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SILENT)]
        assert (await post(platform.address("acting"), message, headers)).status == 200
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(reader.read() for reader, _ in silent))
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
        for _, writer in silent:
            writer.close()

        async def let_go() -> bool:
            return len(asyncio.all_tasks()) <= tasks

        await until(let_go)
        assert platform.gateway.snapshot().active_requests == 0


async def listen(url: str, headers: dict[str, str], message: Any, begun: asyncio.Event) -> str:
    """Open a stream that lasts, and give all that came of it once it has ended."""
    method = "GET" if message is None else "POST"
    text = b""
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, json=message, headers=headers) as answer,
    ):
        assert answer.status == 200
        async for chunk in answer.content.iter_any():
            text += chunk
            begun.set()
    return text.decode()


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_streams_end_in_order_when_the_server_stops(
    tmp_path: Path, era: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_platform.cli.serving._FAREWELL_SECONDS", 15)
    begun = asyncio.Event()
    async with everything() as address, served(tmp_path) as platform:
        await platform.deploy("all", address)
        if era == LEGACY:
            session = Session(platform.address("all"), platform.key)
            await session.open()
            headers, message = session.headers, None
        else:
            message, headers = modern("subscriptions/listen", notifications={"toolsListChanged": True})
        headers = {**headers, "X-API-Key": platform.key, "Accept": ACCEPT}
        listening = asyncio.create_task(listen(platform.address("all"), headers, message, begun))
        async with asyncio.timeout(20):
            await begun.wait()
    async with asyncio.timeout(10):
        text = await listening
    if era == MODERN:
        assert '"resultType":"complete"' in text
    assert "timeout graceful shutdown exceeded" not in caplog.text
