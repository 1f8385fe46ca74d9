"""The Python client library against a real gateway."""

import asyncio
import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from aiohttp import web
from mcp_bridge_client import (
    AsyncMcpBridgeClient,
    BridgeError,
    Call,
    ConnectionFailed,
    InvalidRequest,
    McpBridgeClient,
    RequestTimeout,
    ServiceNotFound,
    ToolFailed,
    ToolNotFound,
    Unauthorized,
)

from tests.bridge.conftest import Caller
from tests.bridge.persons import Persons

T = TypeVar("T")


async def waiting(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Make a blocking call while the gateway of this process answers it."""
    return await asyncio.to_thread(functools.partial(call, *arguments, **named))


@pytest.fixture
def client(caller: Caller) -> McpBridgeClient:
    """Give a client."""
    return McpBridgeClient(base_url=caller.url, api_key=caller.key)


async def test_a_tool_is_called(client: McpBridgeClient, server: Persons) -> None:
    answer = await waiting(client.call_tool, "getPersonById", {"id": 1}, request_id="r-1")
    assert answer.result == "Person found: 1"
    assert timedelta(0) < answer.execution_time < timedelta(seconds=30)
    assert answer.service_instance.startswith("mcp-server-v6:")
    assert answer.request_id == "r-1"
    assert server.calls == [("getPersonById", {"id": 1})]
    structured = await waiting(client.call_tool, "getAllPersons")
    assert structured.result == {"persons": [1, 2]}


async def test_several_tools_are_called_each_with_an_outcome_of_its_own(
    client: McpBridgeClient, server: Persons
) -> None:
    calls = [Call("getPersonById", {"id": 1}), Call("fail"), Call("getPersonById", {"id": 2})]
    outcomes = await waiting(client.call_batch, calls, parallel=False)
    assert [each.success for each in outcomes] == [True, False, True]
    assert outcomes[2].result == "Person found: 2"
    assert isinstance(outcomes[1].error, ToolFailed)
    with pytest.raises(ToolFailed, match="Person not found"):
        _ = outcomes[1].result
    assert server.most_at_once == 1


async def test_services_and_tools_are_listed(client: McpBridgeClient) -> None:
    (service,) = await waiting(client.get_services)
    assert (service.service_name, service.version) == ("mcp-server-v6", "1.0.0")
    assert service.instances[0].instance_id == "mcp-server-v6-001"
    assert service.instances[0].healthy is True
    assert service.capabilities == {"tools": True, "resources": True, "prompts": False}
    assert await waiting(client.get_service, "mcp-server-v6") == service
    (tool,) = await waiting(client.get_tools, category="data-access")
    assert (tool.name, tool.service_name) == ("getPersonById", "mcp-server-v6")
    assert tool.input_schema["required"] == ["id"]
    listed = await waiting(client.call_service, "mcp-server-v6", "tools/list")
    assert [each["name"] for each in listed["tools"]] == service.tools
    assert (await waiting(client.get_stats))["system"]["status"] == "RUNNING"


async def test_what_is_refused_is_an_exception_by_its_code(client: McpBridgeClient, caller: Caller) -> None:
    with pytest.raises(ToolNotFound) as missing:
        await waiting(client.call_tool, "absent", request_id="r-2")
    assert (missing.value.code, missing.value.status) == ("TOOL_NOT_FOUND", 404)
    assert missing.value.details == {"toolName": "absent"}
    assert missing.value.request_id == "r-2"
    with pytest.raises(ToolFailed, match="Person not found"):
        await waiting(client.call_tool, "fail")
    with pytest.raises(RequestTimeout):
        await waiting(client.call_tool, "wait", timeout=timedelta(milliseconds=100))
    with pytest.raises(InvalidRequest) as wrong:
        await waiting(client.call_tool, "wait", timeout=timedelta(hours=1))
    assert wrong.value.details["field"] == "timeout"
    with pytest.raises(ServiceNotFound):
        await waiting(client.get_service, "absent")
    with pytest.raises(BridgeError) as rpc:
        await waiting(client.call_service, "mcp-server-v6", "no/such")
    assert (rpc.value.code, rpc.value.details["code"]) == ("RPC_ERROR", -32601)
    stranger = McpBridgeClient(base_url=caller.url, api_key="wrong")
    with pytest.raises(Unauthorized):
        await waiting(stranger.get_services)


async def test_where_no_bridge_answers_the_connection_failed() -> None:
    nobody = McpBridgeClient(base_url="http://127.0.0.1:9", api_key="k")
    with pytest.raises(ConnectionFailed):
        await waiting(nobody.get_services)

    async def elsewhere(request: web.Request) -> web.Response:
        if request.path.endswith("/tools"):
            raise web.HTTPFound("http://127.0.0.1:1/thief")
        return web.Response(text="<html>", status=200 if request.path.endswith("services") else 502)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", elsewhere)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        other = McpBridgeClient(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}", api_key="k")
        for ask in (other.get_services, other.get_stats, other.get_tools):
            with pytest.raises(ConnectionFailed, match="no bridge"):
                await waiting(ask)
    finally:
        await runner.cleanup()


async def test_the_same_client_for_asyncio(caller: Caller) -> None:
    client = AsyncMcpBridgeClient(base_url=caller.url, api_key=caller.key)
    answers = await asyncio.gather(*(client.call_tool("getPersonById", {"id": n}) for n in range(5)))
    assert [each.result for each in answers] == [f"Person found: {n}" for n in range(5)]
    outcomes = await client.call_batch([Call("getAllPersons")])
    assert outcomes[0].result == {"persons": [1, 2]}
    assert [each.service_name for each in await client.get_services()] == ["mcp-server-v6"]
    assert len(await client.get_tools("mcp-server-v6")) == 5
    assert (await client.get_service("mcp-server-v6")).tools[0] == "getPersonById"
    assert (await client.call_service("mcp-server-v6", "ping")) == {}
    assert (await client.get_stats())["services"]["registered"] == 1
