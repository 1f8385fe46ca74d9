"""The official Python client through the gateway: each era of client, era of server and transport."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import Subscription
from mcp.shared.subscriptions import ResourceUpdated, ToolsListChanged

from tests.conformance.conftest import WAYS
from tests.gateway.conftest import MODERN, Platform
from tests.runner.conftest import until

pytestmark = [
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
    pytest.mark.parametrize("slug", WAYS),
    pytest.mark.parametrize("mode", ["legacy", MODERN]),
]
WATCHED = "test://watched-resource"
_PATIENCE = 60.0


@asynccontextmanager
async def connected(estate: Platform, slug: str, mode: str, **callbacks: Any) -> AsyncIterator[Client]:
    """Connect a client with these callbacks; one of the modern era asks what the server offers first."""
    async with httpx2.AsyncClient(headers={"X-API-Key": estate.key}, timeout=30) as http:
        transport = streamable_http_client(estate.address(slug), http_client=http)
        chosen = "auto" if mode == MODERN else mode
        async with Client(transport, mode=chosen, cache=None, **callbacks) as client:
            yield client


def words(result: types.CallToolResult) -> str:
    """Give the text of a result."""
    assert not result.is_error, result
    return str(result.content[0].text)  # type: ignore[union-attr]


async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    """Answer as a model."""
    asked = params.messages[0].content.text  # type: ignore[union-attr]
    answer = types.TextContent(type="text", text=f"about {asked}")
    return types.CreateMessageResult(role="assistant", content=answer, model="m")


async def fill_in(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Answer as a user who fills in every field with its name."""
    fields = params.requested_schema["properties"]  # type: ignore[union-attr]
    return types.ElicitResult(action="accept", content={name: f"a {name}" for name in fields})


async def roots(context: Any) -> types.ListRootsResult:
    """Tell of one root."""
    return types.ListRootsResult.model_validate({"roots": [{"uri": "file:///home", "name": "home"}]})


async def first_event(stream: Subscription, cause: Callable[[], Awaitable[None]]) -> Any:
    """Give the first event of a stream; its way through the gateway may not be open at its beginning."""
    event = asyncio.ensure_future(anext(aiter(stream)))
    try:
        while not event.done():
            await cause()
            await asyncio.wait({event}, timeout=0.2)
        return event.result()
    finally:
        event.cancel()


async def test_a_server_asks_the_clients_model(estate: Platform, slug: str, mode: str) -> None:
    async with connected(estate, slug, mode, sampling_callback=sample) as client:
        calls = [client.call_tool("test_sampling", {"prompt": f"p{n}"}) for n in range(3)]
        assert [words(each) for each in await asyncio.gather(*calls)] == [
            f"LLM response: about p{n}" for n in range(3)
        ]


async def test_a_server_asks_the_user_again_and_again(estate: Platform, slug: str, mode: str) -> None:
    async with connected(estate, slug, mode, elicitation_callback=fill_in) as client:
        once = words(await client.call_tool("test_elicitation", {"message": "Who are you?"}))
        assert '"username": "a username"' in once
        twice = words(await client.call_tool("test_input_required_result_multi_round", {}))
        assert '"a name"' in twice
        assert '"a color"' in twice
        prompt = await client.get_prompt("test_input_required_result_prompt")
        assert "a context" in str(prompt.messages[0].content)


async def test_a_server_asks_for_several_things_at_once(estate: Platform, slug: str, mode: str) -> None:
    callbacks = {
        "sampling_callback": sample,
        "elicitation_callback": fill_in,
        "list_roots_callback": roots,
    }
    async with connected(estate, slug, mode, **callbacks) as client:
        assert words(await client.call_tool("test_roots", {})) == "file:///home"
        all_ = words(await client.call_tool("test_input_required_result_multiple_inputs", {}))
    assert all(part in all_ for part in ("a name", "about Generate a greeting", "file:///home"))


async def test_what_a_client_did_not_declare_is_refused_as_the_specification_says(
    estate: Platform, slug: str, mode: str
) -> None:
    async with connected(estate, slug, mode, sampling_callback=sample) as client:
        with pytest.raises(MCPError) as raised:
            await client.call_tool("test_elicitation", {"message": "m"})
    assert raised.value.code == -32021
    assert raised.value.data == {"requiredCapabilities": {"elicitation": {}}}


async def test_progress_comes_in_order(estate: Platform, slug: str, mode: str) -> None:
    seen: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async with connected(estate, slug, mode) as client:
        await client.call_tool("test_tool_with_progress", {}, progress_callback=note)
    assert seen == [(0, 100), (50, 100), (100, 100)]


async def test_a_server_logs_to_the_client_that_asked_for_it(estate: Platform, slug: str, mode: str) -> None:
    heard: list[Any] = []
    others: list[Any] = []

    def into(target: list[Any]) -> Callable[[types.LoggingMessageNotificationParams], Any]:
        async def note(params: types.LoggingMessageNotificationParams) -> None:
            target.append(params.data)

        return note

    level = {} if mode == "legacy" else {"log_level": "info"}
    async with (
        connected(estate, slug, mode, logging_callback=into(heard), **level) as client,
        connected(estate, slug, mode, logging_callback=into(others)),
    ):
        if mode == "legacy":
            await client.set_logging_level("info")
        await client.call_tool("test_tool_with_logging", {})

        async def all_heard() -> bool:
            return len(heard) == 3

        await until(all_heard)
    assert heard == ["Tool execution started", "Tool processing data", "Tool execution completed"]
    assert others == []


async def test_a_call_that_is_cancelled_is_cancelled_at_the_server(
    estate: Platform, slug: str, mode: str
) -> None:
    async with connected(estate, slug, mode) as client:
        before = int(words(await client.call_tool("test_cancelled_calls", {})))
        begun = asyncio.Event()

        async def note(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        call = asyncio.create_task(client.call_tool("test_slow", {"seconds": 60}, progress_callback=note))
        # What is cancelled before the server has begun with it, it never counts.
        async with asyncio.timeout(_PATIENCE):
            await begun.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

        async def told() -> bool:
            return int(words(await client.call_tool("test_cancelled_calls", {}))) == before + 1

        await until(told)


async def until_quiet(heard: asyncio.Queue[Any]) -> list[Any]:
    """Give what is heard until nothing more comes: it may have been on its way."""
    found: list[Any] = []
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(1.0):
                found.append(await heard.get())
    return found


async def test_a_client_hears_of_changes_that_it_subscribed_to(
    estate: Platform, slug: str, mode: str
) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def note(message: Any) -> None:
        heard.put_nowait(message)

    async def touch(client: Client) -> None:
        await client.call_tool("test_trigger_resource_update", {"uri": "test://other"})
        await client.call_tool("test_trigger_resource_update", {"uri": WATCHED})

    async with connected(estate, slug, mode, message_handler=note) as client, asyncio.timeout(_PATIENCE):
        if mode == MODERN:
            async with client.listen(resource_subscriptions=[WATCHED]) as stream:
                assert stream.honored.resource_subscriptions == [WATCHED]
                assert await first_event(stream, lambda: touch(client)) == ResourceUpdated(uri=WATCHED)
            return
        await client.subscribe_resource(WATCHED)
        while heard.empty():
            # The stream for what is said outside of calls opens after the handshake, whenever that is.
            await touch(client)
        await client.unsubscribe_resource(WATCHED)
        found = await until_quiet(heard)
        assert {type(each) for each in found} == {types.ResourceUpdatedNotification}
        assert {str(each.params.uri) for each in found} == {WATCHED}
        await touch(client)
        await client.list_prompts()
    assert heard.empty()


async def test_a_client_hears_that_the_list_of_tools_changed(estate: Platform, slug: str, mode: str) -> None:
    heard = asyncio.Event()

    async def note(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            heard.set()

    async def change(client: Client) -> None:
        await client.call_tool("test_trigger_tool_change", {})

    async with connected(estate, slug, mode, message_handler=note) as client, asyncio.timeout(_PATIENCE):
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed
        if mode == MODERN:
            async with client.listen(tools_list_changed=True) as stream:
                assert await first_event(stream, lambda: change(client)) == ToolsListChanged()
            return
        while not heard.is_set():
            # The standalone stream opens after the handshake, whenever that is.
            await change(client)


async def test_resources_prompts_and_completions_are_served(estate: Platform, slug: str, mode: str) -> None:
    async with connected(estate, slug, mode) as client:
        assert {str(each.uri) for each in (await client.list_resources()).resources} >= {WATCHED}
        templates = (await client.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == ["test://template/{id}/data"]
        read = await client.read_resource("test://template/7/data")
        assert '"id":"7"' in read.contents[0].text  # type: ignore[union-attr]
        prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        assert "arg1='a', arg2='b'" in str(prompt.messages[0].content)
        ref = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        found = await client.complete(ref, {"name": "arg1", "value": "par"})
        assert found.completion.values == ["paris", "park", "party"]
        with pytest.raises(MCPError) as raised:
            await client.read_resource("test://nothing")
    assert raised.value.code == (-32602 if mode == MODERN else types.INVALID_PARAMS) or (
        raised.value.code == -32002 and mode == "legacy"
    )
    assert raised.value.data == {"uri": "test://nothing"}
