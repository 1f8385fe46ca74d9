"""What servers say outside of answers, and what they ask, reaches the client that it is for."""

import asyncio
import json
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import mcp_types as types
import pytest
from mcp import Client

from tests.runner.conftest import RunningRunner, Start, until
from tests.runner.test_runner_protocol import MODERN, modern
from tests.runner.test_runner_sessions import _EITHER, Session, begin
from tests.services.npm_servers import everything_server

CHANGED = "notifications/tools/list_changed"
_FIXTURE = (sys.executable, "-m", "tests.conformance.everything", "--transport", "stdio", "--era")


class Events:
    """What came on a stream, as messages."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def methods(self) -> list[str]:
        """List the methods, and `answer` for answers."""
        return [message.get("method", "answer") for message in self.seen]

    async def has(self, method: str) -> dict[str, Any]:
        """Wait for a message, and give it."""

        async def came() -> bool:
            return method in self.methods()

        await until(came)
        return next(message for message in self.seen if message.get("method") == method)

    async def read(self, answer: aiohttp.ClientResponse) -> None:
        """Read until the stream ends."""
        async for line in answer.content:
            if line.startswith(b"data: "):
                self.seen.append(json.loads(line[6:]))


@asynccontextmanager
async def listening(answer: aiohttp.ClientResponse) -> AsyncIterator[Events]:
    """Read a stream while the body runs."""
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    events = Events()
    reader = asyncio.create_task(events.read(answer))
    try:
        yield events
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


@asynccontextmanager
async def standing(
    http: aiohttp.ClientSession, runner: RunningRunner, session: Session
) -> AsyncIterator[Events]:
    """Open a session's standalone stream."""
    async with http.get(runner.url, headers=session.headers) as answer, listening(answer) as events:
        yield events


@asynccontextmanager
async def subscribed(
    http: aiohttp.ClientSession, runner: RunningRunner, number: object, **wanted: Any
) -> AsyncIterator[Events]:
    """Open a modern subscription."""
    body, headers = modern("subscriptions/listen", notifications=wanted)
    body["id"] = number
    async with (
        http.post(runner.url, json=body, headers={**headers, **_EITHER}) as answer,
        listening(answer) as events,
    ):
        await events.has("notifications/subscriptions/acknowledged")
        yield events


@pytest.mark.parametrize("kind", ["legacy", "modern"])
async def test_a_changed_list_is_told_to_listeners_of_both_eras(start: Start, kind: str) -> None:
    command = (*_FIXTURE, "modern") if kind == "modern" else ()
    runner = await (await start(kind, *command)).ready()
    tool = "test_trigger_tool_change" if kind == "modern" else "change"
    async with aiohttp.ClientSession() as http:
        session, hello = await begin(http, runner)
        assert hello["result"]["capabilities"]["tools"]["listChanged"] is True
        async with (
            standing(http, runner, session) as older,
            subscribed(http, runner, "mine", toolsListChanged=True) as newer,
            subscribed(http, runner, 5, promptsListChanged=True) as other,
        ):

            async def told() -> bool:
                # The runner's own subscription at a modern server may begin a moment later.
                await session.call(tool)
                return CHANGED in older.methods() and CHANGED in newer.methods()

            await until(told)
            assert CHANGED not in other.methods()
            stamp = (await newer.has(CHANGED))["params"]["_meta"]
            assert stamp["io.modelcontextprotocol/subscriptionId"] == "mine"
            assert "_meta" not in (await older.has(CHANGED)).get("params", {})


async def test_a_client_of_the_older_protocol_is_asked_in_its_calls(start: Start) -> None:
    found = everything_server()
    runner = await (await start("everything", found["command"], *found["args"])).ready()

    async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        content = types.TextContent(type="text", text="sampled by me")
        return types.CreateMessageResult(role="assistant", content=content, model="mine")

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "elicited by me"})

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri="file:///mine", name="mine")])

    client = Client(
        runner.url,
        mode="legacy",
        cache=None,
        sampling_callback=sample,
        elicitation_callback=elicit,
        list_roots_callback=roots,
    )
    async with client:
        sampled = await client.call_tool("trigger-sampling-request", {"prompt": "p", "maxTokens": 10})
        elicited = await client.call_tool("trigger-elicitation-request", {})
        listed = await client.call_tool("get-roots-list", {})
    assert "sampled by me" in str(sampled.content)
    assert "elicited by me" in str(elicited.content)
    assert "file:///mine" in str(listed.content)


async def test_who_subscribed_to_a_resource_hears_of_it_whoever_changed_it(start: Start) -> None:
    runner = await (await start("legacy", *_FIXTURE, "legacy")).ready()
    uri, method = "test://watched-resource", "notifications/resources/updated"
    async with aiohttp.ClientSession() as http:
        one, other = (await begin(http, runner))[0], (await begin(http, runner))[0]
        async with standing(http, runner, one) as mine, standing(http, runner, other) as others:
            for session in (one, other):
                await session.post({"id": 1, "method": "resources/subscribe", "params": {"uri": uri}})
            await other.post({"id": 2, "method": "resources/unsubscribe", "params": {"uri": uri}})
            await other.call("test_trigger_resource_update", 3, uri=uri)
            assert (await mine.has(method))["params"]["uri"] == uri
            assert method not in others.methods()


async def test_a_log_level_holds_for_the_client_that_set_it_and_what_it_heard_before_it_hears_on(
    start: Start,
) -> None:
    found = everything_server()
    runner = await (await start("everything", found["command"], *found["args"])).ready()
    uri = "demo://resource/dynamic/text/1"
    async with aiohttp.ClientSession() as http:
        one, other = (await begin(http, runner))[0], (await begin(http, runner))[0]
        # Stream and subscription begin at the shared server, and go with the session to its own.
        async with standing(http, runner, one) as mine, standing(http, runner, other) as others:
            await one.post({"id": 2, "method": "resources/subscribe", "params": {"uri": uri}})
            level = {"level": "debug"}
            assert (await one.post({"id": 1, "method": "logging/setLevel", "params": level}))[0] == 200
            await one.call("toggle-simulated-logging", 3)
            await one.call("toggle-subscriber-updates", 4)
            assert (await mine.has("notifications/resources/updated"))["params"]["uri"] == uri
            await mine.has("notifications/message")
            await other.call("echo", 5, message="nothing")
            assert others.seen == []


async def test_rounds_of_a_modern_server_pass_through(start: Start) -> None:
    runner = await (await start("modern", *_FIXTURE, "modern")).ready()

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"username": "me", "email": "me@example.org"})

    async with Client(runner.url, mode=MODERN, cache=None, elicitation_callback=elicit) as client:
        result = await client.call_tool("test_elicitation", {"message": "who?"})
    assert "me@example.org" in str(result.content)


async def post_and_read(
    http: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str]
) -> bytes:
    """Post a message, and read the whole answer."""
    async with http.post(url, json=body, headers={**headers, **_EITHER}) as answer:
        return await answer.read()


@pytest.mark.parametrize("also", [False, True], ids=["one", "two"])
async def test_log_messages_of_a_modern_server_reach_only_who_asked_for_them(
    start: Start, also: bool
) -> None:
    runner = await (await start("modern", *_FIXTURE, "modern")).ready()
    heard: list[str] = []

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        heard.append(str(params.data))

    body, headers = modern("tools/call", name="test_slow", arguments={})
    if also:
        body["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = "info"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = Client(runner.url, mode=MODERN, cache=None, log_level="info", logging_callback=log)
    async with aiohttp.ClientSession() as http, client:
        slow = asyncio.create_task(post_and_read(http, runner.url, body, headers))

        async def as_many_as_due() -> bool:
            heard.clear()
            await client.call_tool("test_tool_with_logging", {})
            # Of two calls in flight that both asked, nobody could tell whose a message is.
            return len(heard) == (0 if also else 3)

        await until(as_many_as_due)
        slow.cancel()


async def test_the_gateway_is_told_of_what_era_the_server_is(start: Start) -> None:
    """By the older protocol the runner can relay more of an older server; the gateway prefers it."""
    runner = await (await start("legacy")).ready()
    body, headers = modern("server/discover")
    async with (
        aiohttp.ClientSession() as http,
        http.post(runner.url, json=body, headers=headers) as answer,
    ):
        result = (await answer.json())["result"]
    assert result["_meta"]["mcp-platform/era"] == "legacy"
    assert "logging" not in result["capabilities"]
    assert result["capabilities"]["tools"]["listChanged"] is True
