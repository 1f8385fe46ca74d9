"""Connections at the platform's HTTP servers."""

import asyncio

import pytest
from starlette.applications import Starlette

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
