"""Smart calls, direct calls and batches, field by field."""

import asyncio
import re
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.bridge.envelope import refusal_of
from gateway.policy.refusals import quarantined, unknown_tool
from mcp_platform import __version__
from mcp_platform.contracts.calls import CallFilter
from tests.bridge.conftest import Caller
from tests.bridge.persons import Persons, persons
from tests.gateway.conftest import Platform
from tests.waiting import eventually

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


async def test_a_smart_call_finds_the_service_and_answers_as_the_contract_says(
    caller: Caller, server: Persons
) -> None:
    status, answer = await caller.ask(
        "POST",
        "/mcp/smart/call",
        {
            "toolName": "getPersonById",
            "arguments": {"id": 1},
            "timeout": 30000,
            "metadata": {"requestId": "req-001", "source": "web-app"},
        },
    )
    assert status == 200
    assert set(answer) == {"success", "data", "metadata"}
    assert answer["success"] is True
    data, metadata = answer["data"], answer["metadata"]
    assert set(data) == {"result", "executionTime", "serviceInstance"}
    assert data["result"] == "Person found: 1"
    assert isinstance(data["executionTime"], int)
    assert 5 <= data["executionTime"] < 30_000
    assert data["serviceInstance"] == f"mcp-server-v6:{urlsplit(server.url).port}"
    assert set(metadata) == {"requestId", "timestamp", "version"}
    assert metadata["requestId"] == "req-001"
    assert metadata["version"] == f"v{__version__}"
    assert TIMESTAMP.fullmatch(metadata["timestamp"])
    assert server.calls == [("getPersonById", {"id": 1})]


async def test_a_result_without_text_is_given_as_its_structured_content(shared: Caller) -> None:
    status, answer = await shared.call("getAllPersons")
    assert (status, answer["data"]["result"]) == (200, {"persons": [1, 2]})


async def test_the_request_is_called_as_its_header_says_where_the_body_does_not(shared: Caller) -> None:
    body = {"toolName": "getPersonById", "arguments": {"id": 1}}
    _, answer = await shared.ask("POST", "/mcp/smart/call", body, **{"X-Request-ID": "from-header"})
    assert answer["metadata"]["requestId"] == "from-header"


async def test_of_several_services_with_a_tool_one_that_can_answer_is_called(
    platform: Platform, caller: Caller
) -> None:
    await platform.deploy("a-first")
    async with persons("only-here") as other:
        await platform.deploy("zz-last", other.url)
        assert (await caller.call("getPersonById", {"id": 1}))[1]["data"]["serviceInstance"].startswith(
            "mcp-server-v6:"
        )
        assert (await caller.call("only-here"))[1]["data"]["result"] == "only-here"


@pytest.mark.parametrize(
    ("tool", "status", "code"),
    [
        ("fail", 422, "TOOL_ERROR"),
        ("refuse", 400, "INVALID_REQUEST"),
        ("no-such-tool", 404, "TOOL_NOT_FOUND"),
    ],
)
async def test_a_call_that_fails_says_why_in_the_envelope(
    shared: Caller, tool: str, status: int, code: str
) -> None:
    answered, answer = await shared.call(tool, metadata={"requestId": "req-003"})
    assert answered == status
    assert set(answer) == {"success", "error", "metadata"}
    assert answer["success"] is False
    assert set(answer["error"]) == {"code", "message", "details"}
    assert answer["error"]["code"] == code
    assert answer["error"]["details"]["toolName"] == tool
    assert set(answer["metadata"]) == {"requestId", "timestamp"}
    assert answer["metadata"]["requestId"] == "req-003"
    assert TIMESTAMP.fullmatch(answer["metadata"]["timestamp"])


async def test_arguments_that_do_not_fit_the_schema_are_an_invalid_request(
    caller: Caller, server: Persons
) -> None:
    status, answer = await caller.call("getPersonById", {"id": "one"})
    assert (status, answer["error"]["code"]) == (400, "INVALID_REQUEST")
    details = {"field": "arguments", "serviceName": "mcp-server-v6", "toolName": "getPersonById"}
    assert answer["error"]["details"] == details
    assert "/id" in answer["error"]["message"]
    assert server.calls == []


def test_what_a_policy_refuses_is_no_fault_of_ours() -> None:
    refused = refusal_of(quarantined("act", returning=False))
    assert (refused.status, refused.code, refused.details["resourceId"]) == (409, "CONFLICT", "act")
    refused = refusal_of(unknown_tool("act"))
    assert (refused.status, refused.code, refused.details["resourceId"]) == (404, "TOOL_NOT_FOUND", "act")


async def test_a_call_that_takes_too_long_is_a_request_timeout(shared: Caller) -> None:
    status, answer = await shared.call("wait", timeout=200)
    assert (status, answer["error"]["code"]) == (408, "REQUEST_TIMEOUT")


async def test_a_service_without_a_healthy_instance_is_unavailable(
    platform: Platform, caller: Caller
) -> None:
    assert (await caller.call("getPersonById", {"id": 1}))[0] == 200
    async with platform.stores.read() as rows:
        deployment = await rows.deployments.active_of("mcp-server-v6")
    assert deployment is not None
    await platform.place(deployment)
    status, answer = await caller.call("getPersonById", {"id": 1})
    assert (status, answer["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer["error"]["message"] == "No healthy instances available for service: mcp-server-v6"
    assert answer["error"]["details"] == {
        "serviceName": "mcp-server-v6",
        "totalInstances": 1,
        "healthyInstances": 0,
    }
    assert int(caller.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{no json", None),
        ([1], "body"),
        ({"arguments": {}}, "toolName"),
        ({"toolName": 5}, "toolName"),
        ({"toolName": "x", "arguments": [1]}, "arguments"),
        ({"toolName": "x", "timeout": 0}, "timeout"),
        ({"toolName": "x", "timeout": "soon"}, "timeout"),
        ({"toolName": "x", "timeout": 60_001}, "timeout"),
        ({"toolName": "x", "tolName": "y"}, "tolName"),
        ({"toolName": "x", "metadata": {"requestId": 7}}, "metadata.requestId"),
    ],
)
async def test_a_body_that_is_wrong_is_refused_by_the_field(
    shared: Caller, body: object, field: str | None
) -> None:
    status, answer = await shared.ask("POST", "/mcp/smart/call", body)
    assert (status, answer["error"]["code"]) == (400, "INVALID_REQUEST")
    assert answer["error"]["details"].get("field") == field


async def test_a_batch_gives_one_result_for_each_call_in_order(shared: Caller) -> None:
    tools = [("getPersonById", {"id": number}) for number in range(20)] + [("fail", {}), ("absent", {})]
    calls = [{"toolName": name, "arguments": arguments} for name, arguments in tools]
    body = {"calls": calls, "parallel": True, "timeout": 45000}
    status, answer = await shared.ask("POST", "/mcp/smart/batch", body)
    assert (status, answer["success"]) == (200, True)
    assert set(answer["metadata"]) == {"requestId", "timestamp", "version"}
    data = answer["data"]
    assert set(data) == {"results", "total", "successful", "failed", "executionTime"}
    assert (data["total"], data["successful"], data["failed"]) == (22, 20, 2)
    assert [each["toolName"] for each in data["results"]] == [name for name, _ in tools]
    assert [each["data"]["result"] for each in data["results"][:20]] == [
        f"Person found: {number}" for number in range(20)
    ]
    assert [each["error"]["code"] for each in data["results"][20:]] == ["TOOL_ERROR", "TOOL_NOT_FOUND"]


@pytest.mark.parametrize(("parallel", "most"), [(True, 10), (False, 1)])
async def test_a_batch_keeps_so_many_calls_under_way_and_in_order_only_one(
    caller: Caller, server: Persons, parallel: bool, most: int
) -> None:
    calls = [{"toolName": "getPersonById", "arguments": {"id": number}} for number in range(30)]
    status, answer = await caller.ask("POST", "/mcp/smart/batch", {"calls": calls, "parallel": parallel})
    assert (status, answer["data"]["successful"]) == (200, 30)
    if parallel:
        assert 1 < server.most_at_once <= most
    else:
        assert server.most_at_once == 1
        assert [arguments["id"] for _, arguments in server.calls] == list(range(30))


@pytest.mark.parametrize("parallel", [True, False])
async def test_the_time_of_a_batch_covers_the_whole(caller: Caller, server: Persons, parallel: bool) -> None:
    await caller.call("getAllPersons")  # so that the tools are known
    names = ["getPersonById", *["wait"] * 12, "getPersonById"]
    calls = [{"toolName": name, "arguments": {"id": 1}} for name in names]
    body = {"calls": calls, "parallel": parallel, "timeout": 4000}
    begun = asyncio.get_running_loop().time()
    status, answer = await caller.ask("POST", "/mcp/smart/batch", body)
    # In a time of their own each, one after the other, they would take 52 s.
    assert asyncio.get_running_loop().time() - begun < 30
    assert status == 200
    results = answer["data"]["results"]
    assert results[0]["success"] is True
    late = [each["error"]["code"] for each in results[1:]]
    assert late == ["REQUEST_TIMEOUT"] * 13
    # What had no turn was never sent.
    assert [name for name, _ in server.calls].count("getPersonById") == 1


@pytest.mark.parametrize("calls", [[], [{"toolName": "x"}] * 51, [{"arguments": {}}]])
async def test_a_batch_of_nothing_or_of_too_much_is_refused(shared: Caller, calls: object) -> None:
    status, answer = await shared.ask("POST", "/mcp/smart/batch", {"calls": calls})
    assert (status, answer["error"]["code"]) == (400, "INVALID_REQUEST")
    assert answer["error"]["details"]["field"].startswith("calls")


async def test_a_direct_call_is_json_rpc_on_both_sides(shared: Caller) -> None:
    body = {
        "id": "req-002",
        "method": "tools/call",
        "params": {"name": "getPersonById", "arguments": {"id": 4}},
    }
    status, answer = await shared.ask("POST", "/mcp/bridge/route/mcp-server-v6", body)
    assert status == 200
    assert answer == {
        "jsonrpc": "2.0",
        "id": "req-002",
        "result": {"content": [{"type": "text", "text": "Person found: 4"}]},
    }
    for method, member in (
        ("tools/list", "tools"),
        ("resources/list", "resources"),
        ("initialize", "protocolVersion"),
    ):
        status, answer = await shared.ask(
            "POST", "/mcp/bridge/route/mcp-server-v6", {"id": 7, "method": method, "params": {}}
        )
        assert (status, answer["id"]) == (200, 7)
        assert member in answer["result"]


@pytest.mark.parametrize(
    ("body", "status", "number", "code"),
    [
        (b"{", 400, None, -32700),
        ({"method": "tools/list"}, 400, None, -32600),
        ({"id": 1, "params": {}}, 400, 1, -32600),
        ({"id": 1, "method": "tools/list\r\nX-A: b"}, 400, 1, -32600),
        (b'{"id": 1, "method": "ping", "x": ' + b"[" * 300 + b"]" * 300 + b"}", 400, None, -32700),
        ({"id": 1, "method": "no/such"}, 200, 1, -32601),
        ({"id": 1, "method": "resources/subscribe", "params": {"uri": "a:b"}}, 200, 1, -32601),
        ({"id": 1, "method": "tools/call", "params": {"name": "refuse", "arguments": {}}}, 200, 1, -32602),
    ],
)
async def test_json_rpc_errors_are_answered_as_json_rpc(
    shared: Caller, body: object, status: int, number: object, code: int
) -> None:
    answered, answer = await shared.ask("POST", "/mcp/bridge/route/mcp-server-v6", body)
    assert answered == status
    assert (answer["jsonrpc"], answer["id"], answer["error"]["code"]) == ("2.0", number, code)


async def test_a_direct_call_of_no_service_is_answered_in_the_envelope(shared: Caller) -> None:
    status, answer = await shared.ask("POST", "/mcp/bridge/route/absent", {"id": 1, "method": "tools/list"})
    assert (status, answer["error"]["code"]) == (404, "SERVICE_NOT_FOUND")
    assert answer["error"]["details"] == {"serviceName": "absent"}


async def test_a_caller_that_leaves_cancels_its_call(caller: Caller, server: Persons) -> None:
    body = {"toolName": "wait", "arguments": {}}
    headers = {"X-API-Key": caller.key}

    async def call() -> None:
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(f"{caller.url}/mcp/smart/call", json=body),
        ):
            pass

    leaving = asyncio.create_task(call())
    await eventually(lambda: asyncio.sleep(0, server.calls))
    leaving.cancel()
    await asyncio.wait({leaving})
    async with asyncio.timeout(10):
        await server.cancelled.wait()


async def test_the_journal_says_by_which_door_a_call_came(platform: Platform, caller: Caller) -> None:
    await caller.call("getPersonById", {"id": 1}, metadata={"requestId": "one"})
    await caller.call("fail", metadata={"requestId": "two"})
    params = {"name": "getAllPersons", "arguments": {}}
    direct = {"id": 1, "method": "tools/call", "params": params}
    path = "/mcp/bridge/route/mcp-server-v6"
    await caller.ask("POST", path, direct, **{"X-Request-ID": "three"})

    async def kept() -> list[tuple[str, str, str, str]]:
        async with platform.stores.read() as rows:
            found = await rows.calls.newest(CallFilter(), None, 10)
        return [(each.request_id, each.via, each.tool, each.outcome) for each in found]

    found = await eventually(kept, lambda seen: len(seen) == 3)
    assert sorted(found) == [
        ("one", "smart", "getPersonById", "ok"),
        ("three", "bridge", "getAllPersons", "ok"),
        ("two", "smart", "fail", "tool_error"),
    ]
