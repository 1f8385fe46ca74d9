"""What is answered to each request over HTTP, as MCP 2026-07-28 and 2025-11-25 demand."""

import asyncio
import json
from typing import Any

import pytest

from gateway.front import answers
from mcp_platform.contracts.calls import CallFilter, Outcome, Via
from tests.front.asking import asking_server
from tests.front.raw import ACCEPT, LEGACY, MODERN, Session, modern, post, request
from tests.gateway.conftest import Platform
from tests.gateway.upstreams import stub
from tests.runner.conftest import until

META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}


def call(**changes: Any) -> tuple[dict[str, Any], dict[str, str]]:
    message, headers = modern("tools/call", name="act", arguments={})
    message["params"] |= changes.pop("params", {})
    headers = {name: value for name, value in (headers | changes).items() if value is not None}
    return message, headers


LISTING = {"Mcp-Method": "tools/list", "Mcp-Name": None}
WRONG: dict[str, tuple[Any, dict[str, str], int, int]] = {
    "no JSON": (b"{", call()[1], 400, -32700),
    "no object": (b"[]", call()[1], 400, -32600),
    "an answer": ({"jsonrpc": "2.0", "id": 1, "result": {}}, call()[1], 400, -32600),
    "an id that is none": ({**call()[0], "id": True}, call()[1], 400, -32600),
    "no version of JSON-RPC": ({**call()[0], "jsonrpc": "1.0"}, call()[1], 400, -32600),
    "no envelope": ({**call()[0], "params": {"name": "act"}}, call()[1], 400, -32602),
    "another method": (call()[0], call(**LISTING)[1], 400, -32020),
    "another name": (call()[0], call(**{"Mcp-Name": "other"})[1], 400, -32020),
    "no method": (call()[0], call(**{"Mcp-Method": None})[1], 400, -32020),
    "no version": (call()[0], call(**{"MCP-Protocol-Version": None})[1], 400, -32020),
    "an unknown version": (
        call(params={"_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}})[0],
        call(**{"MCP-Protocol-Version": "2099-01-01"})[1],
        400,
        -32022,
    ),
    "an unknown method": (*modern("tools/destroy"), 404, -32601),
    "a method that is none": (*modern("tools/call x"), 400, -32600),
    "a name that is none": (call(params={"name": ["act"]})[0], call()[1], 400, -32020),
    "no name": (call(params={"name": None})[0], call(**{"Mcp-Name": None})[1], 400, -32602),
    "a name without end": (*modern("tools/call", name="x" * 300, arguments={}), 400, -32602),
    "depth without end": (b'{"a":' * 300 + b"1" + b"}" * 300, call()[1], 400, -32700),
    "a method of the other era": (*modern("logging/setLevel", level="info"), 404, -32601),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_modern_request_is_told_what_is_wrong(platform: Platform, name: str) -> None:
    message, headers, status, code = WRONG[name]
    async with stub() as server:
        await platform.deploy("acting", server.url)
        answer = await post(platform.address("acting"), message, {**headers, "X-API-Key": platform.key})
        assert (answer.status, answer.message["error"]["code"]) == (status, code)
        if code == -32022:
            assert answer.message["error"]["data"] == {"supported": [MODERN], "requested": "2099-01-01"}
        assert server.calls == 0


async def test_a_routing_header_may_not_come_twice(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        message, headers = call()
        body = json.dumps(message)
        lines = [*headers.items(), ("Mcp-Name", "act"), ("X-API-Key", platform.key), ("Accept", ACCEPT)]
        lines += [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Host", "x")]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        host, port = platform.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /mcp/acting/v1 HTTP/1.1\r\n{head}Connection: close\r\n\r\n{body}".encode())
        async with asyncio.timeout(10):
            text = (await reader.read()).decode()
        writer.close()
        assert text.startswith("HTTP/1.1 400 ")
        assert "-32020" in text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Accept": "text/html"}, 406),
        ({"Origin": "https://evil.example"}, 403),
    ],
)
async def test_what_is_no_mcp_request_at_all_is_refused(
    platform: Platform, headers: dict[str, str], status: int
) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        message, own = call()
        answer = await post(
            platform.address("acting"), message, {**own, "X-API-Key": platform.key, **headers}
        )
        assert answer.status == status
        assert answer.events


async def test_a_notification_is_taken(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        note = {"jsonrpc": "2.0", "method": "notifications/whatever"}
        headers = {"MCP-Protocol-Version": MODERN, "X-API-Key": platform.key}
        assert (await post(platform.address("acting"), note, headers)).status == 202


async def test_an_older_client_without_its_session_is_told_so(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        session = Session(platform.address("acting"), platform.key)
        assert (await session.ask("tools/list")).status == 400
        session.headers["Mcp-Session-Id"] = "never-opened"
        assert (await session.ask("tools/list")).status == 404
        await session.open()
        session.headers["MCP-Protocol-Version"] = "1999-01-01"
        unknown = await session.ask("tools/list")
        assert unknown.status == 400
        assert LEGACY in unknown.message["error"]["message"]


async def test_several_messages_at_once_are_answered_where_the_version_has_that(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        old, new = (Session(platform.address("acting"), platform.key) for _ in range(2))
        await old.open("2025-03-26")
        await new.open(LEGACY)
        batch = [
            request("tools/list"),
            {"jsonrpc": "2.0", "method": "notifications/progress"},
            request("tools/call", {"name": "act", "arguments": {}}),
        ]
        answer = await post(old.url, batch, old.headers)
        (answers,) = answer.events
        assert [each["id"] for each in answers] == [batch[0]["id"], batch[2]["id"]]  # type: ignore[index]
        assert answers[1]["result"]["content"][0]["text"] == "xxxx"  # type: ignore[index]
        assert (await post(new.url, batch, new.headers)).status == 400


async def test_the_answer_is_a_stream_only_where_something_comes_before_it(platform: Platform) -> None:
    async with stub(events=True) as streaming, stub() as plain:
        await platform.deploy("streaming", streaming.url)
        await platform.deploy("plain", plain.url)
        message, headers = call(params={"_meta": {**META, "progressToken": "p"}})
        headers["X-API-Key"] = platform.key
        streamed = await post(platform.address("streaming"), message, headers)
        assert [event.get("method") for event in streamed.events] == ["notifications/progress", None]
        assert streamed.events[0]["params"]["progressToken"] == "p"
        assert len((await post(platform.address("plain"), message, headers)).events) == 1
        only_json = await post(platform.address("streaming"), message, headers, accept="application/json")
        assert only_json.result["content"][0]["text"] == "xxxx"


async def test_a_long_call_says_that_it_lives(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_KEEPALIVE", 0.05)
    async with stub() as server:
        await platform.deploy("acting", server.url)
        message, headers = call(params={"arguments": {"do": "wait"}})
        headers["X-API-Key"] = platform.key
        calling = asyncio.create_task(post(platform.address("acting"), message, headers))
        async with asyncio.timeout(20):
            await server.started.wait()
        await asyncio.sleep(0.3)
        server.release.set()
        answer = await calling
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.result["content"][0]["text"] == "xxxx"


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_the_call_of_a_client_that_vanishes_is_cancelled(platform: Platform, era: str) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        session = Session(platform.address("acting"), platform.key)
        await session.open()
        message, headers = call(params={"arguments": {"do": "hang"}})
        if era == LEGACY:
            message, headers = (
                request("tools/call", {"name": "act", "arguments": {"do": "hang"}}),
                session.headers,
            )
        headers = {**headers, "X-API-Key": platform.key}
        leaving = asyncio.create_task(post(platform.address("acting"), message, headers))

        async def begun() -> bool:
            return server.count("tools/call") == 1

        await until(begun)
        leaving.cancel()
        async with asyncio.timeout(10):
            await server.cancelled.wait()

        async def idle() -> bool:
            return platform.gateway.snapshot().active_requests == 0

        await until(idle)


async def test_the_same_number_may_be_in_flight_twice(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        session = Session(platform.address("acting"), platform.key)
        await session.open()
        message = request("tools/call", {"name": "act", "arguments": {"do": "wait"}})
        calls = [asyncio.create_task(post(session.url, message, session.headers)) for _ in range(2)]

        async def begun() -> bool:
            return server.count("tools/call") == 2

        await until(begun)
        server.release.set()
        async with asyncio.timeout(10):
            assert [(await each).status for each in calls] == [200, 200]


async def test_each_message_of_a_batch_is_charged(platform: Platform) -> None:
    async with stub() as server:
        await platform.deploy("acting", server.url)
        session = Session(platform.address("acting"), platform.key)
        await session.open("2025-03-26")
        before = int((await session.ask("ping")).headers["X-RateLimit-Remaining"])
        answer = await post(session.url, [request("ping") for _ in range(5)], session.headers)
        assert int(answer.headers["X-RateLimit-Remaining"]) == before - 5


async def test_what_a_session_keeps_is_bounded(platform: Platform) -> None:
    async with stub(legacy=True) as server:
        await platform.deploy("acting", server.url)
        talkative = Session(platform.address("acting"), platform.key, {"experimental": {"x": "y" * 20_000}})
        opened = await talkative.open()
        assert opened.message["error"]["code"] == -32602
        session = Session(platform.address("acting"), platform.key)
        await session.open()
        for method, params in (
            ("logging/setLevel", {"level": "x" * 5000}),
            ("resources/subscribe", {"uri": "file:///" + "x" * 5000}),
        ):
            assert (await session.ask(method, params)).message["error"]["code"] == -32602


async def test_only_notifications_of_clients_reach_servers(platform: Platform) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        session = Session(platform.address("asking"), platform.key, {"roots": {"listChanged": True}})
        await session.open()
        await session.call("ask", {"times": 0})
        call = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "ask", "arguments": {}}}
        note = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        for message in (call, note):
            assert (await post(session.url, message, session.headers)).status == 202

        async def told() -> bool:
            return "notifications/roots/list_changed" in server.notified

        await until(told)
        assert "tools/call" not in server.notified


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_an_outage_is_told_by_jsonrpc_and_noted_as_a_failure(platform: Platform, era: str) -> None:
    async with stub() as server:
        deployment = await platform.deploy("acting", server.url)
        session = Session(platform.address("acting"), platform.key)
        await session.open()
        await platform.place(deployment)
        message, headers = (
            call() if era == MODERN else (request("tools/call", {"name": "act"}), session.headers)
        )
        answer = await post(platform.address("acting"), message, {**headers, "X-API-Key": platform.key})
        assert (answer.status, answer.message["id"]) == (503, message["id"])
        assert answer.message["error"]["data"]["error_code"] == "SERVICE_UNAVAILABLE"
        assert answer.headers["Retry-After"]
        await platform.rest("acting", "act", {})

        async def noted() -> bool:
            async with platform.stores.read() as rows:
                lines = await rows.calls.newest(CallFilter(outcome=Outcome.FAILED), None, 10)
            return {line.via for line in lines} == {Via.MCP, Via.REST}

        await until(noted)
