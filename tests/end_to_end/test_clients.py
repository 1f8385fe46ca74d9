"""Real servers, from PyPI and from npm, called through the gateway by the official client and by REST."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from tests.deployments.servers import TIME
from tests.platform import Caller, RunningPlatform
from tests.services.npm_servers import everything_server
from tests.waiting import eventually

ERAS = ["legacy", "2026-07-28"]


@pytest.fixture(scope="module")
async def admin(platform: RunningPlatform) -> Caller:
    """Give the administrator."""
    return await platform.admin()


@asynccontextmanager
async def deployed(admin: Caller, server: dict[str, Any]) -> AsyncIterator[str]:
    """Deploy a server with two replicas for as long as the tests of this file need it; its endpoint."""
    started = await admin.deploy(server, replicas=2)
    await admin.deployment_is(started["deployment_id"], "running")
    yield started["endpoint_url"]
    assert (await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")).status_code == 200


@pytest.fixture(scope="module")
async def time(admin: Caller) -> AsyncIterator[str]:
    """Give the endpoint of `mcp-server-time`."""
    async with deployed(admin, TIME) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
async def everything(admin: Caller) -> AsyncIterator[str]:
    """Give the endpoint of npm's `server-everything`."""
    async with deployed(admin, everything_server()) as endpoint:
        yield endpoint


@asynccontextmanager
async def connected(endpoint: str, caller: Caller, era: str) -> AsyncIterator[Client]:
    """Open the official client, in one era."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": caller.headers["Authorization"]}, timeout=20) as http,
        Client(streamable_http_client(endpoint, http_client=http), mode=era) as client,
    ):
        yield client


def text_of(result: Any) -> str:
    """Give the text of a tool's answer."""
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


@pytest.mark.parametrize("era", ERAS)
async def test_the_time_server_answers_the_official_client(admin: Caller, time: str, era: str) -> None:
    async with connected(time, admin, era) as client:
        tools = await client.list_tools()
        assert {tool.name for tool in tools.tools} == {"get_current_time", "convert_time"}
        order = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        for _ in range(4):
            result = await client.call_tool("convert_time", order)
            assert not result.is_error
            assert "21:00:00+09:00" in text_of(result)
        wrong = await client.call_tool("get_current_time", {"timezone": "Mars/Olympus"})
        assert wrong.is_error
        assert "Mars/Olympus" in text_of(wrong)


@pytest.mark.parametrize("era", ERAS)
async def test_the_everything_server_answers_the_official_client(
    admin: Caller, everything: str, era: str
) -> None:
    async with connected(everything, admin, era) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {"echo", "get-sum", "get-tiny-image", "get-structured-content"} <= tools
        assert text_of(await client.call_tool("echo", {"message": "hé 世界"})) == "Echo: hé 世界"
        summed = await client.call_tool("get-sum", {"a": 2, "b": 40})
        assert "42" in text_of(summed)
        image = await client.call_tool("get-tiny-image", {})
        assert {block.type for block in image.content} == {"text", "image"}
        weather = await client.call_tool("get-structured-content", {"location": "New York"})
        assert weather.structured_content is not None
        assert set(weather.structured_content) == {"temperature", "conditions", "humidity"}


@pytest.mark.parametrize("era", ERAS)
async def test_progress_of_a_long_call_reaches_the_official_client(
    admin: Caller, everything: str, era: str
) -> None:
    seen: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with connected(everything, admin, era) as client:
        order = {"duration": 0.4, "steps": 4}
        result = await client.call_tool("trigger-long-running-operation", order, progress_callback=note)
        assert "completed" in text_of(result)
        # The client may hand over the last one after the result.
        await eventually(lambda: asyncio.sleep(0, seen), lambda found: len(found) == 4)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("era", ERAS)
async def test_resources_and_prompts_reach_the_official_client(
    admin: Caller, everything: str, era: str
) -> None:
    async with connected(everything, admin, era) as client:
        resources = (await client.list_resources()).resources
        assert resources
        read = await client.read_resource(resources[0].uri)
        assert read.contents
        prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
        assert "simple-prompt" in prompts
        assert (await client.get_prompt("simple-prompt")).messages


@pytest.mark.parametrize("era", ERAS)
async def test_an_unknown_tool_is_an_error_of_the_server(admin: Caller, everything: str, era: str) -> None:
    async with connected(everything, admin, era) as client:
        result = await client.call_tool("no-such-tool", {})
        assert result.is_error
        assert "no-such-tool" in text_of(result)


async def test_plain_rest_answers_with_json(admin: Caller, time: str, everything: str) -> None:
    now = await admin.post(f"{time}/tools/get_current_time", json={"timezone": "Asia/Shanghai"})
    assert (now.status_code, now.json()["timezone"]) == (200, "Asia/Shanghai")
    weather = await admin.post(f"{everything}/tools/get-structured-content", json={"location": "Chicago"})
    assert set(weather.json()) == {"temperature", "conditions", "humidity"}
    wrong = await admin.post(f"{time}/tools/get_current_time", json={"timezone": "Mars/Olympus"})
    assert (wrong.status_code, wrong.json()["error_code"]) == (422, "TOOL_ERROR")
    assert "Mars/Olympus" in wrong.json()["detail"]
    for endpoint in (time, everything):
        unknown = await admin.post(f"{endpoint}/tools/no-such-tool", json={})
        assert (unknown.status_code, unknown.json()["error_code"]) == (404, "NOT_FOUND")
