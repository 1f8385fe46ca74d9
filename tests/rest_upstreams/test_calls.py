"""Tools of a plain HTTP API, called through the gateway."""

import asyncio
import time
from pathlib import Path

import pytest
from mcp import MCPError

from mcp_platform.contracts.deployments import Driver
from tests.gateway.conftest import MODERN, Platform, running_platform, settings_for
from tests.rest_upstreams.conftest import Api, tool
from tests.runner.conftest import until

ERAS = ["legacy", MODERN]
TOOLS = [
    tool(
        "list",
        {"path": "/pets", "query": {"tag": "{tags}", "limit": "{limit}"}},
        tags="array",
        limit="integer",
    ),
    tool("pet", {"path": "/pets/{id}"}, id="string"),
    tool("add", {"method": "POST", "path": "/pets", "body": {"name": "{name}"}}, name="string"),
    tool(
        "add_by_form",
        {"method": "POST", "path": "/pets", "body": {"name": "{name}"}, "body_type": "form"},
        name="string",
    ),
    tool("put", {"method": "PUT", "path": "/pets/{id}", "body": "{body}"}, id="string", body="object"),
    tool("private", {"path": "/private/pets", "headers": {"Authorization": "Bearer ${GATEWAY_TEST_TOKEN}"}}),
    tool("status", {"path": "/status/{code}"}, code="string"),
    tool("first", {"path": "/pets", "response": {"pick": "/data/0"}}),
    tool("huge", {"path": "/huge"}),
    tool("slow", {"path": "/slow", "timeout": 0.2}),
    tool("hang", {"path": "/slow"}),
    tool("break", {"path": "/break"}),
    tool("break_post", {"method": "POST", "path": "/break"}),
    {"name": "no_request"},
]


@pytest.fixture
async def pets(platform: Platform, api: Api, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Deploy the API as an MCP."""
    monkeypatch.setenv("GATEWAY_TEST_TOKEN", "right")
    headers = {"X-Client": "gateway"}
    await platform.deploy("pets", api.url, driver=Driver.REMOTE, headers=headers, tools=TOOLS)
    return platform


@pytest.mark.parametrize("mode", ERAS)
async def test_tools_are_listed_with_what_their_methods_promise(pets: Platform, mode: str) -> None:
    async with pets.client("pets", mode) as client:
        tools = {each.name: each for each in (await client.list_tools()).tools}
    assert "no_request" not in tools
    assert tools["pet"].input_schema == {"type": "object", "properties": {"id": {"type": "string"}}}
    hints = {
        name: each.annotations.model_dump(exclude_none=True)
        for name, each in tools.items()
        if each.annotations
    }
    assert hints["pet"] == {"read_only_hint": True, "open_world_hint": True}
    assert hints["put"] == {"read_only_hint": False, "idempotent_hint": True, "open_world_hint": True}
    assert hints["add"] == {"read_only_hint": False, "idempotent_hint": False, "open_world_hint": True}


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_becomes_a_request_and_its_answer_the_result(
    pets: Platform, api: Api, mode: str
) -> None:
    async with pets.client("pets", mode) as client:
        found = await client.call_tool("list", {"tags": ["a", "b c"], "limit": 2})
        assert found.structured_content == {"data": [{"id": 1}], "next": None}
        method, path, headers, _ = api.last
        assert (method, path) == ("GET", "/v1/pets?tag=a&tag=b%20c&limit=2")
        assert headers["x-client"] == "gateway"
        assert "x-api-key" not in headers, "the caller's credential is the gateway's alone"
        assert (await client.call_tool("first", {})).structured_content == {"id": 1}
        added = await client.call_tool("add", {"name": "Ünal & co"})
        assert added.structured_content == {"got": {"name": "Ünal & co"}}
        assert api.last[2]["content-type"] == "application/json"
        formed = await client.call_tool("add_by_form", {"name": "a&b=c"})
        assert formed.structured_content == {"got": {"name": "a&b=c"}}
        replaced = await client.call_tool("put", {"id": "7", "body": {"x": [1]}})
        assert replaced.structured_content == {"got": {"x": [1]}}


async def test_it_introduces_itself_by_its_own_name_and_version(pets: Platform) -> None:
    async with pets.client("pets") as client:
        info = client.server_info
    async with pets.stores.read() as rows:
        deployment = await rows.deployments.active_of("pets")
    assert info is not None
    assert deployment is not None
    assert (info.name, info.version) == ("pets", deployment.version)


async def test_an_argument_cannot_reach_another_address(pets: Platform, api: Api) -> None:
    async with pets.client("pets") as client:
        found = await client.call_tool("pet", {"id": "/private/pets?x=1"})
        assert found.structured_content == {"id": "/private/pets?x=1"}
        assert api.last[1] == "/v1/pets/%2Fprivate%2Fpets%3Fx%3D1"
        asked = len(api.asked)
        refused = await client.call_tool("pet", {"id": "../private/pets"})
    assert refused.is_error
    assert len(api.asked) == asked


async def test_plain_rest_callers_reach_it_too(pets: Platform) -> None:
    assert (await pets.rest("pets", "pet", {"id": "3"}))[:2] == (200, {"id": "3"})
    status, body, _ = await pets.rest("pets", "pet", {"id": "0"})
    assert status == 422
    assert "no such pet" in body["detail"]
    assert (await pets.rest("pets", "nothing", {}))[0] == 404


async def test_an_error_of_the_caller_is_the_tools_and_one_of_the_api_is_a_failure(pets: Platform) -> None:
    async with pets.client("pets") as client:
        missing = await client.call_tool("pet", {"id": "0"})
        assert missing.is_error
        assert missing.content[0].text == 'HTTP 404: {"error": "no such pet"}'  # type: ignore[union-attr]
        moved = await client.call_tool("status", {"code": "302"})
        assert moved.is_error, "redirects are not followed"
        with pytest.raises(MCPError, match="HTTP 503: as you like"):
            await client.call_tool("status", {"code": "503"})
    assert (await pets.rest("pets", "status", {"code": "500"}))[0] == 502


async def test_what_is_too_slow_or_too_large_ends(pets: Platform, api: Api) -> None:
    async with pets.client("pets") as client:
        started = time.monotonic()
        with pytest.raises(MCPError, match="in time"):
            await client.call_tool("slow", {})
        assert time.monotonic() - started < 30, "and not when the gateway's own 60 s are over"
        with pytest.raises(MCPError, match="larger than"):
            await client.call_tool("huge", {})


async def test_what_broke_is_repeated_where_the_method_allows_it(pets: Platform, api: Api) -> None:
    asked = {}
    async with pets.client("pets") as client:
        for name in ("break", "break_post"):
            api.asked.clear()
            with pytest.raises(MCPError):
                await client.call_tool(name, {})
            asked[name] = len(api.asked)
    assert asked["break"] > 1
    assert asked["break_post"] == 1


async def test_a_caller_that_leaves_ends_the_request(pets: Platform, api: Api) -> None:
    async with pets.client("pets", MODERN) as client:
        call = asyncio.create_task(client.call_tool("hang", {}))

        async def asked() -> bool:
            return bool(api.asked)

        await until(asked)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

        async def idle() -> bool:
            return pets.gateway.snapshot().active_requests == 0

        await until(idle)


async def test_a_credential_that_was_replaced_is_taken_after_a_refusal(
    pets: Platform, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pets.client("pets") as client:
        assert not (await client.call_tool("private", {})).is_error
        api.key = "newer"
        refused = await client.call_tool("private", {})
        assert refused.is_error
        assert "bad credential" in str(refused.content)
        monkeypatch.setenv("GATEWAY_TEST_TOKEN", "newer")
        assert not (await client.call_tool("private", {})).is_error


@pytest.mark.parametrize("mode", ERAS)
async def test_what_an_api_cannot_do_is_refused(pets: Platform, mode: str) -> None:
    async with pets.client("pets", mode) as client:
        assert client.server_capabilities.resources is None
        with pytest.raises(MCPError) as raised:
            await client.list_resources()
        assert raised.value.code == -32601
        with pytest.raises(MCPError):
            await client.call_tool("no_request", {})


async def test_a_secret_that_is_not_there_concerns_its_tool_alone(
    pets: Platform, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEWAY_TEST_TOKEN")
    status, body, _ = await pets.rest("pets", "private", {})
    assert status == 422
    assert "GATEWAY_TEST_TOKEN" in body["detail"]
    assert api.asked == []
    assert (await pets.rest("pets", "pet", {"id": "3"}))[0] == 200
    monkeypatch.setenv("GATEWAY_TEST_TOKEN", api.key)
    assert (await pets.rest("pets", "private", {}))[0] == 200


async def test_the_rules_for_addresses_hold_for_apis(tmp_path: Path, api: Api) -> None:
    async with running_platform(settings_for(tmp_path, private_addresses=False)) as strict:
        await strict.deploy("inner", api.url, driver=Driver.REMOTE, tools=TOOLS)
        status, body, _ = await strict.rest("inner", "pet", {"id": "1"})
    assert status == 502
    assert "loopback" in body["detail"]
    assert api.asked == []
