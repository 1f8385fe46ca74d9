"""Connections at the platform's HTTP servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mcp_platform.cli import serving
from mcp_platform.cli.corking import CorkedHttp
from tests.platform import free_port
from tests.waiting import PATIENCE

LONGEST_AT_CLIENTS = 60.0
"""Seconds that nginx, and balancers of clouds, keep an idle connection, where nobody told them otherwise."""


async def test_an_idle_connection_is_kept_longer_than_proxies_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends: list[float] = []

    class Watched(CorkedHttp):
        def on_response_complete(self) -> None:
            super().on_response_complete()
            assert self.timeout_keep_alive_task is not None
            ends.append(self.timeout_keep_alive_task.when() - self.loop.time())

    monkeypatch.setattr(serving, "CorkedHttp", Watched)
    port = free_port()
    listener = serving.listening_socket("127.0.0.1", port, "")
    async with serving.serving(Starlette(), listener), asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\nNot Found")).startswith(b"HTTP/1.1 404 ")
        assert len(ends) == 2
        assert min(ends) > LONGEST_AT_CLIENTS
        writer.close()


async def test_a_request_that_is_cut_off_ends_before_the_parts_that_it_works_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, ended = asyncio.Event(), list[str]()

    @asynccontextmanager
    async def parts(_app: Starlette) -> AsyncIterator[None]:
        yield
        ended.append("the parts")

    async def lasting(_request: Request) -> Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            # As long as it takes to give back what was lent.
            await asyncio.sleep(0.05)
            ended.append("the request")
        return Response()

    config = uvicorn.Config
    at_once: dict[str, Any] = {"timeout_graceful_shutdown": 0}
    monkeypatch.setattr(uvicorn, "Config", lambda *own, **more: config(*own, **more | at_once))
    port = free_port()
    listener = serving.listening_socket("127.0.0.1", port, "")
    app = Starlette(routes=[Route("/", lasting)], lifespan=parts)
    async with asyncio.timeout(PATIENCE):
        async with serving.serving(app, listener):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()
        assert ended == ["the request", "the parts"]
        assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
        writer.close()
        await writer.wait_closed()
