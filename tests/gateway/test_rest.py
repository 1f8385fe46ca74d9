"""Tools by plain REST: what each outcome looks like."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import pytest

from mcp_platform.contracts.deployments import Driver
from mcp_platform.errors import NotFound, Unavailable
from tests.front.raw import Session
from tests.gateway.conftest import Platform, StartRunner
from tests.gateway.upstreams import stub
from tests.runner.conftest import RunningRunner, until
from tests.waiting import PATIENCE


@pytest.fixture
async def server(platform: Platform, runner: StartRunner) -> RunningRunner:
    """Deploy the fixture server as `tools`."""
    started = await runner("legacy")
    await platform.deploy("tools", started.url)
    return started


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("tool", "arguments", "answer"),
    [
        ("echo", {"city": "Zürich", "n": 1.5}, {"city": "Zürich", "n": 1.5}),
        ("echo", {}, {}),
        ("text", {}, {"a": 1}),
        ("plain", {}, {"text": "not JSON"}),
        ("blocks", {}, {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
    ],
)
async def test_a_result_is_answered_as_json(
    platform: Platform, tool: str, arguments: dict[str, Any], answer: Any
) -> None:
    status, body, headers = await platform.rest("tools", tool, arguments)
    assert (status, body) == (200, answer)
    assert headers["X-Request-ID"]


@pytest.mark.usefixtures("server")
async def test_an_empty_body_means_no_arguments(platform: Platform) -> None:
    assert (await platform.rest("tools", "echo"))[:2] == (200, {})


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("slug", "tool", "data", "status", "expected"),
    [
        ("tools", "fail", b"{}", 422, {"detail": "it went wrong", "error_code": "TOOL_ERROR"}),
        (
            "tools",
            "no/such",
            b"{}",
            404,
            {"detail": "Tool not found", "error_code": "NOT_FOUND", "resource_type": "tool"}
            | {"resource_id": "no/such"},
        ),
        (
            "unknown",
            "echo",
            b"{}",
            404,
            {"detail": "No MCP is deployed as 'unknown', or its deployment is stopped"}
            | {"error_code": "NOT_FOUND", "resource_type": "mcp_tool", "resource_id": "unknown"},
        ),
        (
            "tools",
            "echo",
            b"[1]",
            400,
            {"detail": "The body must be a JSON object with the tool's arguments"}
            | {"error_code": "INVALID_REQUEST"},
        ),
    ],
)
async def test_each_error_has_its_status_and_fields(
    platform: Platform, slug: str, tool: str, data: bytes, status: int, expected: dict[str, Any]
) -> None:
    answered, body, headers = await platform.rest(slug, tool, data=data, **{"X-Request-ID": "my-1"})
    assert (answered, body) == (status, {**expected, "request_id": "my-1"})
    assert headers["X-Request-ID"] == "my-1"


@pytest.mark.usefixtures("server")
async def test_unparsable_json_is_an_invalid_request(platform: Platform) -> None:
    status, body, _ = await platform.rest("tools", "echo", data=b"{")
    assert (status, body["error_code"]) == (400, "INVALID_REQUEST")
    assert body["detail"].startswith("The body is not JSON: ")
    status, body, _ = await platform.rest("tools", "echo", data=b'{"x":' + b"[" * 300 + b"]" * 300 + b"}")
    assert (status, body["error_code"]) == (400, "INVALID_REQUEST")


async def test_a_deployment_without_healthy_replica_is_unavailable(platform: Platform) -> None:
    deployment = await platform.deploy("empty")
    status, body, headers = await platform.rest("empty", "echo", {})
    assert (status, body["error_code"], headers["Retry-After"]) == (503, "SERVICE_UNAVAILABLE", "2")
    opened = await Session(platform.address("empty"), platform.key).open()
    assert (opened.status, opened.message["error"]["data"]["error_code"]) == (503, "SERVICE_UNAVAILABLE")
    with pytest.raises(Unavailable):
        await platform.gateway.call_tool(deployment.slug, "echo", {})


async def test_a_replica_that_cannot_be_reached_is_passed_over(
    platform: Platform, server: RunningRunner
) -> None:
    async with stub() as dead:
        address = dead.url
    await platform.deploy("half", address, server.url)
    statuses = [(await platform.rest("half", "echo", {}))[0] for _ in range(6)]
    assert statuses == [200] * 6
    await platform.deploy("all-dead", address)
    assert (await platform.rest("all-dead", "echo", {}))[0] == 503


@pytest.mark.parametrize(
    ("todo", "status"), [("drop", 502), ("garbage", 502), ("crash", 502), ("half", 502), ("flood", 502)]
)
async def test_a_broken_answer_is_a_bad_gateway_and_is_never_asked_for_twice(
    platform: Platform, todo: str, status: int
) -> None:
    async with stub() as one, stub() as other:
        await platform.deploy("broken", one.url, other.url, driver=Driver.REMOTE)
        answered, body, _ = await platform.rest("broken", "act", {"do": todo})
        assert (answered, body["error_code"]) == (status, "UPSTREAM_ERROR")
        assert one.calls + other.calls == 1
        assert (await platform.rest("broken", "act", {}))[0] == 200


async def test_a_server_killed_in_a_call_is_a_bad_gateway(platform: Platform, server: RunningRunner) -> None:
    await platform.rest("tools", "slow", {"seconds": 0})  # so that its list of tools is known
    call = asyncio.create_task(platform.rest("tools", "slow", {"seconds": 30}))

    async def busy() -> bool:
        return platform.gateway.snapshot().active_requests == 1

    await until(busy)
    os.killpg(server.process.pid, signal.SIGKILL)
    status, body, _ = await call
    assert (status, body["error_code"]) == (502, "UPSTREAM_ERROR")


async def test_a_deadline_is_a_gateway_timeout(platform: Platform) -> None:
    async with stub() as slow:
        await platform.deploy("slow", slow.url, driver=Driver.REMOTE)
        await platform.rest("slow", "act", {})  # so that the time is the call's alone
        with pytest.raises(Exception, match="did not answer in time") as raised:
            await platform.gateway.call_tool("slow", "act", {"do": "hang"}, timeout=1.0)
        assert getattr(raised.value, "status", None) == 504
        async with asyncio.timeout(PATIENCE):
            await slow.cancelled.wait()


async def test_a_caller_who_leaves_cancels_the_call(platform: Platform) -> None:
    async with stub() as slow:
        await platform.deploy("left", slow.url, driver=Driver.REMOTE)
        call = asyncio.create_task(platform.rest("left", "act", {"do": "hang"}))
        async with asyncio.timeout(10):
            await slow.started.wait()
            call.cancel()
            await slow.cancelled.wait()


@pytest.mark.usefixtures("server")
async def test_a_body_over_the_limit_is_refused_while_it_streams(platform: Platform) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 10_000
            yield b"x" * 10_000

    for path in (f"{platform.address('tools')}/tools/echo", platform.address("tools")):
        async with (
            asyncio.timeout(10),
            aiohttp.ClientSession(headers={"X-API-Key": platform.key}) as http,
            http.post(path, data=endless()) as response,
        ):
            assert response.status == 413
            assert (await response.json())["error_code"] == "PAYLOAD_TOO_LARGE"
    # The limit, the little that is read on so that the answer arrives, and the kernel's buffers.
    assert sent < 16_000_000


@pytest.mark.usefixtures("server")
async def test_paths_and_methods_that_do_not_exist_are_told(platform: Platform) -> None:
    async with aiohttp.ClientSession(headers={"X-API-Key": platform.key}) as http:
        async with http.get(f"{platform.url}/mcp/tools/v2") as response:
            assert (response.status, (await response.json())["error_code"]) == (404, "NOT_FOUND")
        async with http.get(f"{platform.address('tools')}/tools/echo") as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_the_platform_itself_calls_by_the_same_path(platform: Platform, server: RunningRunner) -> None:
    result = await platform.gateway.call_tool("tools", "echo", {"a": 1}, timeout=30)
    assert (result.value, result.is_error) == ({"a": 1}, False)
    failed = await platform.gateway.call_tool("tools", "fail", {})
    assert (failed.is_error, failed.text) == (True, "it went wrong")
    with pytest.raises(NotFound):
        await platform.gateway.call_tool("tools", "nothing", {})


@pytest.mark.usefixtures("server")
async def test_calls_are_counted_for_their_deployment(platform: Platform) -> None:
    deployment = platform.gateway._routes.find("tools").route.deployment_id
    for tool in ("echo", "echo", "fail"):
        await platform.rest("tools", tool, {})

    async def written() -> bool:
        async with platform.stores.read() as rows:
            record = await rows.deployments.get(deployment)
        assert record is not None
        return (record.requests_total, record.errors_total) == (3, 1) and record.latency_ms_total > 0

    await until(written)
    async with aiohttp.ClientSession() as http, http.get(f"{platform.url}/metrics") as response:
        assert 'mcp_platform_tool_calls_total{outcome="tool_error",slug="tools"}' in await response.text()
