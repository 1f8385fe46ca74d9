"""Sessions that a server keeps for one client alone stay at the replica that keeps them."""

import os
import signal
from typing import Any

import httpx2
import psutil
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CreateMessageResult, TextContent

from tests.gateway.conftest import Platform, StartRunner


async def sample(context: Any, params: Any) -> CreateMessageResult:
    """Answer as a client that offers a model would."""
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="yes"), model="m")


async def pid(client: Client) -> int:
    """Ask the fixture server for its process."""
    return int((await client.call_tool("pid", {})).content[0].text)  # type: ignore[union-attr]


async def test_a_session_that_a_server_keeps_stays_there_and_moves_when_that_is_gone(
    platform: Platform, runner: StartRunner
) -> None:
    replicas = [await runner(), await runner()]
    await platform.deploy("sticky", *(replica.url for replica in replicas))
    headers = {"X-API-Key": platform.key}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(platform.address("sticky"), http_client=http)
        async with Client(transport, mode="legacy", cache=None, sampling_callback=sample) as client:
            first = await pid(client)
            assert {await pid(client) for _ in range(6)} == {first}
            above = {parent.pid for parent in psutil.Process(first).parents()}
            (home,) = [replica for replica in replicas if replica.process.pid in above]
            os.killpg(home.process.pid, signal.SIGKILL)
            await home.ended()
            second = await pid(client)
            assert second != first
            assert {await pid(client) for _ in range(6)} == {second}
