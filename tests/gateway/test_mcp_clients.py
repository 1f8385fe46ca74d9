"""MCP clients through the gateway, in every combination of eras."""

import asyncio
import os
import shutil
import signal
from typing import Any

import aiohttp
import pytest
from mcp import Client, MCPError
from mcp.server.mcpserver import MCPServer

from mcp_platform.contracts.deployments import Driver
from tests.gateway.conftest import MODERN, Platform, StartRunner, serving
from tests.gateway.upstreams import stub
from tests.runner.conftest import until
from tests.waiting import eventually

ERAS = ["legacy", MODERN, "auto"]


async def pid(client: Client) -> str:
    """Ask the fixture server for its process."""
    return str((await client.call_tool("pid", {})).content[0].text)  # type: ignore[union-attr]


async def raw(platform: Platform, slug: str, method: str, **params: Any) -> dict[str, Any]:
    """Post a request of 2026-07-28 and read the answer as it is."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": "a-1", "method": method, "params": {**params, "_meta": meta}}
    headers = {
        "X-API-Key": platform.key,
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method,
        **({"Mcp-Name": f"{params['name']} "} if "name" in params else {}),
    }
    url = platform.address(slug)
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        return answer


@pytest.mark.parametrize("mode", ERAS)
async def test_the_official_client_calls_a_real_server(
    platform: Platform, runner: StartRunner, mode: str
) -> None:
    command = shutil.which("mcp-server-time")
    assert command is not None
    started = await runner("time", command, "--local-timezone", "UTC")
    await platform.deploy("clock", started.url)
    async with platform.client("clock", mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {
            "get_current_time",
            "convert_time",
        }
        result = await client.call_tool("get_current_time", {"timezone": "Europe/Paris"})
    assert "Europe/Paris" in str(result.content)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
async def test_clients_of_each_era_reach_servers_of_each_era(
    platform: Platform, legacy: bool, events: bool, mode: str
) -> None:
    async with stub(legacy, events) as server:
        await platform.deploy("far", server.url, driver=Driver.REMOTE)
        async with platform.client("far", mode) as client:
            assert client.server_info is None or client.server_info.name == "stub"
            assert [tool.name for tool in (await client.list_tools()).tools] == ["act"]
            result = await client.call_tool("act", {})
    assert str(result.content[0].text) == "xxxx"  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_a_server_of_the_oldest_transport_is_reached(platform: Platform, mode: str) -> None:
    old = MCPServer("old")

    @old.tool()
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    async with serving(old.sse_app()) as url:
        deployment = await platform.deploy("old", f"{url}/sse", driver=Driver.REMOTE)
        async with platform.client("old", mode) as client:
            calls = [client.call_tool("add", {"a": n, "b": 1}) for n in range(10)]
            results = await asyncio.gather(*calls)
        assert [r.structured_content for r in results] == [{"result": n + 1} for n in range(10)]
        # Its event stream would keep the server from ending.
        await platform.place(deployment)


async def test_fields_that_nobody_knows_pass_through_gateway_and_runner(
    platform: Platform, runner: StartRunner
) -> None:
    await platform.deploy("odd", (await runner("legacy")).url)
    listed = await raw(platform, "odd", "tools/list")
    assert listed["id"] == "a-1"
    assert listed["result"]["tools"][0]["x-vendor"] == {"kept": ["as", "it", "is"]}
    # The name's header ends with a blank, which HTTP lets us ignore.
    called = await raw(platform, "odd", "tools/call", name="echo", arguments={"ü": [1, None]})
    assert called["result"]["x-vendor-result"] == {"n": 1}
    assert called["result"]["structuredContent"] == {"ü": [1, None]}


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_progress_of_a_call_reaches_its_caller(
    platform: Platform, runner: StartRunner, mode: str
) -> None:
    await platform.deploy("steps", (await runner("legacy")).url)
    seen: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with platform.client("steps", mode) as client:
        await client.call_tool("progress", {}, progress_callback=note)

        async def told() -> bool:
            return seen == [1, 2, 3]

        await until(told)


async def test_calls_go_to_all_replicas_in_turn(platform: Platform, runner: StartRunner) -> None:
    replicas = [await runner(), await runner()]
    await platform.deploy("two", *(replica.url for replica in replicas))

    async def answers() -> list[str]:
        calls = [await raw(platform, "two", "tools/call", name="pid") for _ in range(6)]
        return [call["result"]["content"][0]["text"] for call in calls]

    # At first the gateway reads the list of tools beside, which takes a turn.
    await eventually(answers, lambda pids: pids[0] != pids[1] and pids == pids[:2] * 3)


async def test_a_session_that_no_server_keeps_is_spread_and_survives_a_replica(
    platform: Platform, runner: StartRunner
) -> None:
    replicas = [await runner(), await runner()]
    await platform.deploy("sticky", *(replica.url for replica in replicas))
    async with platform.client("sticky", "legacy") as client:
        both = {await pid(client) for _ in range(6)}
        assert len(both) == 2
        first = both.pop()
        os.kill(int(first), signal.SIGKILL)
        await asyncio.wait(
            {asyncio.create_task(replica.ended()) for replica in replicas},
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert {await pid(client) for _ in range(6)} == both


async def test_a_server_that_dies_in_a_call_gives_an_error_and_harms_no_other(
    platform: Platform, runner: StartRunner
) -> None:
    await platform.deploy("dying", (await runner()).url)
    await platform.deploy("living", (await runner()).url)
    async with platform.client("dying") as dying, platform.client("living") as living:
        slow = asyncio.create_task(living.call_tool("slow", {"seconds": 0.5}))
        with pytest.raises(MCPError) as raised:
            await dying.call_tool("die", {})
        assert raised.value.code == -32603
        assert not (await slow).is_error


async def test_a_replica_at_a_new_address_is_found_by_open_clients(
    platform: Platform, runner: StartRunner
) -> None:
    old = await runner()
    deployment = await platform.deploy("moving", old.url)
    async with platform.client("moving", "legacy") as session, platform.client("moving", MODERN) as stateless:
        before = await pid(session)
        old.process.kill()
        await old.ended()
        new = await runner()
        await platform.place(deployment, new.url)
        after = await pid(session)
        assert after != before
        assert await pid(stateless) == after


async def test_a_server_that_forgot_its_session_gets_a_new_one(platform: Platform) -> None:
    async with stub(legacy=True) as server:
        await platform.deploy("forgetful", server.url, driver=Driver.REMOTE)
        async with platform.client("forgetful") as client:
            await client.call_tool("act", {})
            server.sessions.clear()
            results = await asyncio.gather(*(client.call_tool("act", {}) for _ in range(5)))
    assert not any(result.is_error for result in results)
    assert server.count("initialize") == 2


async def test_calls_do_not_ask_for_the_list_of_tools_again_and_again(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("lean", server.url, driver=Driver.REMOTE)
        for _ in range(3):
            await raw(platform, "lean", "tools/call", name="act", arguments={"do": "nothing"})
    assert (server.calls, server.count("server/discover")) == (3, 1)
    assert server.count("tools/list") <= 2, "once for the policy's check, once for the annotations"


@pytest.mark.parametrize("mode", ["legacy", MODERN])
@pytest.mark.parametrize("legacy", [False, True])
async def test_a_client_that_leaves_cancels_its_call(platform: Platform, legacy: bool, mode: str) -> None:
    async with stub(legacy) as server:
        await platform.deploy("left", server.url, driver=Driver.REMOTE)
        async with platform.client("left", mode) as client:
            call = asyncio.create_task(client.call_tool("act", {"do": "hang"}))
            async with asyncio.timeout(10):
                await server.started.wait()
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
                await server.cancelled.wait()

        async def idle() -> bool:
            return platform.gateway.snapshot().active_requests == 0

        await until(idle)


async def test_fifty_calls_at_once_are_all_answered(platform: Platform, runner: StartRunner) -> None:
    await platform.deploy("busy", (await runner()).url, (await runner()).url)
    async with platform.client("busy", MODERN) as one, platform.client("busy", "legacy") as other:
        calls = [client.call_tool("echo", {"n": n}) for n in range(25) for client in (one, other)]
        async with asyncio.timeout(30):
            results = await asyncio.gather(*calls)
    assert sorted(result.structured_content["n"] for result in results) == sorted([*range(25)] * 2)
