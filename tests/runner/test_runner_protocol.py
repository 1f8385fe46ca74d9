"""The runner's two faces: what a client of either era gets from a server of either era."""

import asyncio
import shutil
from typing import Any

import aiohttp
import pytest
from mcp import Client, MCPError

from tests.runner.conftest import RunningRunner, Start

MODERN = "2026-07-28"
ERAS = ["legacy", MODERN, "auto"]


async def post(runner: RunningRunner, message: dict[str, Any], **headers: str) -> tuple[int, Any]:
    """Post one raw message."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(runner.url, json=message, headers=headers) as response,
    ):
        return response.status, await response.json()


def modern(method: str, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Make a request of 2026-07-28 with its headers."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return body, headers


@pytest.mark.parametrize("mode", ERAS)
async def test_the_official_client_calls_a_real_server(start: Start, mode: str) -> None:
    command = shutil.which("mcp-server-time")
    assert command is not None
    runner = await (await start("time", command, "--local-timezone", "UTC")).ready()
    async with Client(runner.url, mode=mode, cache=None) as client:
        tools = await client.list_tools()
        result = await client.call_tool("get_current_time", {"timezone": "Europe/Paris"})
    assert {tool.name for tool in tools.tools} == {"get_current_time", "convert_time"}
    assert "Europe/Paris" in str(result.content)


@pytest.mark.parametrize("kind", ["legacy", "modern"])
@pytest.mark.parametrize("mode", ERAS)
async def test_clients_and_servers_of_different_eras_understand_each_other(
    start: Start, kind: str, mode: str
) -> None:
    runner = await (await start(kind)).ready()
    async with Client(runner.url, mode=mode, cache=None) as client:
        assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("echo", {"a": [1, 2]})
    assert result.structured_content == {"a": [1, 2]}


@pytest.mark.parametrize("kind", ["legacy", "modern"])
async def test_fields_that_nobody_knows_pass_through(start: Start, kind: str) -> None:
    runner = await (await start(kind)).ready()
    body, headers = modern("tools/list")
    _, listed = await post(runner, body, **headers)
    tool = listed["result"]["tools"][0]
    assert tool["x-vendor"] == {"kept": ["as", "it", "is"]}
    assert tool["inputSchema"]["x-vendor-schema"] is True
    body, headers = modern("tools/call", name="echo", arguments={"x": 1})
    _, called = await post(runner, body, **headers)
    assert called["result"]["x-vendor-result"] == {"n": 1}


async def test_calls_of_one_session_run_at_the_same_time(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    async with Client(runner.url, mode=MODERN, cache=None) as client:
        async with asyncio.timeout(15):  # one after the other they would take 30 s
            await asyncio.gather(*(client.call_tool("slow", {"seconds": 1.5}) for _ in range(20)))


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_progress_reaches_the_caller_whose_call_it_is(start: Start, mode: str) -> None:
    runner = await (await start("legacy")).ready()

    async def call(client: Client) -> list[float]:
        seen: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            seen.append(progress)

        await client.call_tool("progress", {}, progress_callback=note)
        return seen

    async with (
        Client(runner.url, mode=mode, cache=None) as one,
        Client(runner.url, mode=mode, cache=None) as other,
    ):
        # Both clients number their requests alike, so they choose the same progress tokens.
        first, second = await asyncio.gather(call(one), call(other))
    assert first == second == [1, 2, 3]


async def test_a_request_of_the_server_is_refused_and_harms_nothing(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    async with Client(runner.url, mode="legacy", cache=None) as client:
        result = await client.call_tool("ask", {})
        assert not result.is_error
    request = {"jsonrpc": "2.0", "id": 2, "method": "fixture/answers"}
    _, reply = await post(runner, request)
    assert [answer["error"]["code"] for answer in reply["result"]["answers"]] == [-32601]


async def test_an_unknown_method_keeps_its_error(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    body, headers = modern("vendor/unknown")
    status, reply = await post(runner, body, **headers)
    assert status == 404
    assert reply["error"] == {"code": -32601, "message": "Method not found", "data": "vendor/unknown"}
    async with Client(runner.url, mode="legacy", cache=None) as client:
        with pytest.raises(MCPError) as raised:
            await client.read_resource("file:///nothing")
    assert raised.value.code == -32601


async def test_headers_that_disagree_with_the_body_are_refused(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    body, headers = modern("tools/call", name="echo", arguments={})
    status, reply = await post(runner, body, **{**headers, "Mcp-Name": "fail"})
    assert (status, reply["error"]["code"]) == (400, -32020)
    body["params"]["_meta"].clear()
    status, reply = await post(runner, body, **headers)
    assert (status, reply["error"]["code"]) == (400, -32602)


async def test_noise_on_both_outputs_harms_nothing(start: Start) -> None:
    runner = await (await start("flood")).ready()
    async with Client(runner.url, mode="legacy", cache=None) as client:
        async with asyncio.timeout(30):
            result = await client.call_tool("echo", {"a": 1})
    assert result.structured_content == {"a": 1}
