"""A peer that is gone without a word is noticed."""

import asyncio
import base64
import os
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from mcp_platform.cli import serving
from tests.platform import quick_settings, running_platform
from tests.services.temporal import new_namespace
from tests.tasks.states import record_task
from tests.waiting import PATIENCE, eventually, in_one_task


async def test_a_socket_whose_peer_answers_no_pings_is_closed(
    tmp_path: Path, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not so soon that the socket is closed before it was seen to be watched.
    monkeypatch.setattr(serving, "PING_INTERVAL", 2.0)
    client = await new_namespace(temporal)
    settings = quick_settings(tmp_path)
    async with in_one_task(running_platform(settings, client, with_worker=False)) as platform:
        member = await platform.member()
        task_id = await record_task(platform, member, timedelta(), start=True)
        reader, writer = await asyncio.open_connection(settings.api.host, settings.api.port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /ws?token={member.token} HTTP/1.1\r\nHost: {settings.api.host}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        try:
            async with asyncio.timeout(PATIENCE):
                assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            text = f'{{"type": "subscribe", "task_id": "{task_id}"}}'.encode()
            # A masked text frame, with a mask of zeros.
            writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)

            async def watched() -> int:
                return platform.parts.hub.watched

            await eventually(watched, lambda number: number == 1)
            await eventually(watched, lambda number: number == 0)
        finally:
            writer.close()
