"""Every kind of client at every kind of server: what each pair can do, and what it refuses."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.requests import ClientSession
from gateway.upstreams.upstream import Upstream
from mcp_platform.wire import LOG_LEVEL_KEY, METHOD_NOT_FOUND, Era, RpcError
from tests.conformance.everything import build, http_app, sse_app
from tests.gateway.conftest import serving
from tests.upstreams.conftest import ANSWERS, ASKABLE, Desk, Recorder, call, modern, session_of, text
from tests.waiting import PATIENCE, eventually, in_one_task

# Half of what is tested here is deprecated, and the SDK's server says so.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")

KINDS = ["modern", "legacy", "sse"]
ERAS = [Era.MODERN, Era.LEGACY]


@asynccontextmanager
async def served(kind: str) -> AsyncIterator[str]:
    """Run the fixture server of this kind; its address."""
    server = build("legacy" if kind == "sse" else kind)
    app = sse_app(server) if kind == "sse" else http_app(server)
    async with in_one_task(serving(app)) as url:
        yield f"{url}/sse" if kind == "sse" else f"{url}/mcp"


@pytest.fixture(params=KINDS)
async def upstream(request: pytest.FixtureRequest, desk: Desk) -> AsyncIterator[Upstream]:
    """Give an upstream of each kind."""
    async with served(request.param) as url:
        upstream = desk.open(url)
        yield upstream
        await upstream.close()


def client(era: Era, channel: Recorder) -> dict[str, Any]:
    """Give what a request of a client carries that may be asked everything."""
    if era is Era.MODERN:
        return {"channel": channel, "capabilities": ASKABLE}
    return {"channel": channel, "session": session_of(channel, **ASKABLE)}


@pytest.mark.parametrize("era", ERAS)
async def test_tools_resources_prompts_and_completions_answer_in_the_clients_era(
    upstream: Upstream, era: Era
) -> None:
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("tools/list", {}, "tools"),
        ("resources/list", {}, "resources"),
        ("resources/templates/list", {}, "resourceTemplates"),
        ("resources/read", {"uri": "test://static-text"}, "contents"),
        ("prompts/list", {}, "prompts"),
        ("prompts/get", {"name": "test_simple_prompt"}, "messages"),
        (
            "completion/complete",
            {
                "ref": {"type": "ref/prompt", "name": "test_prompt_with_arguments"},
                "argument": {"name": "arg1", "value": "par"},
            },
            "completion",
        ),
    ]
    for method, params, field in asked:
        sent = modern(params) if era is Era.MODERN else params
        result = await upstream.request(method, sent, era, 10.0)
        assert result[field]
        assert ("resultType" in result) is (era is Era.MODERN)


@pytest.mark.parametrize("era", ERAS)
async def test_progress_reaches_the_caller_with_its_own_token(upstream: Upstream, era: Era) -> None:
    one, other = Recorder(), Recorder()
    await asyncio.gather(
        call(upstream, "test_tool_with_progress", era, channel=one, meta={"progressToken": "mine"}),
        call(upstream, "test_tool_with_progress", era, channel=other, meta={"progressToken": "mine"}),
    )
    for recorder in (one, other):
        heard = [m["params"] for m in recorder.told if m["method"] == "notifications/progress"]
        assert [params["progress"] for params in heard] == [0, 50, 100]
        assert {params["progressToken"] for params in heard} == {"mine"}


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_asks_its_caller_for_a_sample_input_and_roots(upstream: Upstream, era: Era) -> None:
    modern_server = (await upstream.describe(PATIENCE)).era is Era.MODERN
    if era is Era.MODERN and modern_server:
        result = await call(upstream, "test_sampling", era, {"prompt": "hi"}, **client(era, Recorder()))
        assert result["resultType"] == "input_required"
        params = {
            "name": "test_sampling",
            "arguments": {"prompt": "hi"},
            "requestState": result["requestState"],
            "inputResponses": {"answer": ANSWERS["sampling/createMessage"]},
        }
        again = await upstream.request("tools/call", modern(params, **ASKABLE), era, 10.0)
        assert text(again) == "LLM response: sampled"
        return
    channel = Recorder()
    given = client(era, channel)
    assert text(await call(upstream, "test_sampling", era, {"prompt": "hi"}, **given)) == (
        "LLM response: sampled"
    )
    elicited = await call(upstream, "test_elicitation", era, {"message": "who?"}, **client(era, channel))
    assert '"ann"' in text(elicited)
    assert text(await call(upstream, "test_roots", era, **client(era, channel))) == "file:///tmp"
    assert [method for method, _ in channel.asked] == [
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
    ]


async def test_several_rounds_of_questions_end_in_a_result(desk: Desk) -> None:
    async with served("modern") as url:
        upstream = desk.open(url)
        channel = Recorder()
        given = client(Era.LEGACY, channel)
        result = await call(upstream, "test_input_required_result_multi_round", Era.LEGACY, **given)
        assert set(json.loads(text(result))) >= {"step1", "step2"}
        assert "resultType" not in result
        result = await call(upstream, "test_input_required_result_multiple_inputs", Era.LEGACY, **given)
        assert len(channel.asked) == 5
        await upstream.close()


@pytest.mark.parametrize("era", ERAS)
async def test_what_the_client_refuses_is_the_servers_to_know(upstream: Upstream, era: Era) -> None:
    if era is Era.MODERN and (await upstream.describe(PATIENCE)).era is Era.MODERN:
        return
    channel = Recorder()
    channel.answers = {}
    given = client(era, channel)
    with pytest.raises(RpcError, match="does not offer"):
        await call(upstream, "test_sampling", era, {"prompt": "hi"}, **given)
    assert channel.asked


async def test_nobody_is_asked_where_nobody_can_be(upstream: Upstream) -> None:
    with pytest.raises(RpcError):
        await call(upstream, "test_sampling", Era.LEGACY, {"prompt": "hi"})


@pytest.mark.parametrize("era", ERAS)
async def test_log_messages_reach_a_client_that_set_a_level(upstream: Upstream, era: Era) -> None:
    channel = Recorder()
    if era is Era.MODERN:
        await call(upstream, "test_logging_tool", era, channel=channel, meta={LOG_LEVEL_KEY: "info"})
    else:
        session = session_of(channel)
        assert (
            await upstream.request("logging/setLevel", {"level": "info"}, era, PATIENCE, session=session)
            == {}
        )
        assert (session.log_level, session.changed) == ("info", True)
        await call(upstream, "test_logging_tool", era, channel=channel, session=session)
    assert channel.methods().count("notifications/message") == 3


async def listening(upstream: Upstream, session: ClientSession) -> asyncio.Task[None]:
    """Listen for a session, as its standalone stream does."""
    return asyncio.create_task(upstream.listen(session))


async def until_told(
    upstream: Upstream,
    channel: Recorder,
    method: str,
    tool: str,
    session: ClientSession | None,
    **arguments: Any,
) -> dict[str, Any]:
    """Have the server change something until the client hears of it: streams take a moment to open."""
    for _ in range(100):
        await call(upstream, tool, Era.LEGACY, arguments, session=session, channel=Recorder())
        try:
            return await channel.hears(method, 0.1)
        except TimeoutError:
            continue
    raise AssertionError(f"{method} never came")


async def test_an_older_client_hears_of_the_resources_that_it_subscribed_to(upstream: Upstream) -> None:
    channel = Recorder()
    session = session_of(channel, **ASKABLE)
    listener = await listening(upstream, session)
    uri = "test://watched-resource"
    await upstream.request("resources/subscribe", {"uri": uri}, Era.LEGACY, PATIENCE, session=session)
    assert session.subscriptions == {uri}
    heard = await until_told(
        upstream, channel, "notifications/resources/updated", "test_trigger_resource_update", session, uri=uri
    )
    assert heard["params"] == {"uri": uri}
    await upstream.request("resources/unsubscribe", {"uri": uri}, Era.LEGACY, PATIENCE, session=session)
    assert session.subscriptions == set()
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def test_a_modern_client_listens_to_any_server(upstream: Upstream) -> None:
    channel = Recorder()
    uri = "test://watched-resource"
    wanted = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": [uri]}}
    await upstream.describe(10.0)
    listener = asyncio.create_task(
        upstream.request("subscriptions/listen", modern(wanted), Era.MODERN, 0.5, channel=channel)
    )
    first = await channel.hears("notifications/subscriptions/acknowledged")
    assert first["params"]["notifications"] == wanted["notifications"]
    method = "notifications/resources/updated"
    heard = await until_told(upstream, channel, method, "test_trigger_resource_update", None, uri=uri)
    assert heard["params"]["uri"] == uri
    assert not listener.done(), "a stream of notifications has no deadline"
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def test_a_call_that_its_caller_leaves_is_cancelled_at_the_server(upstream: Upstream) -> None:
    for era in ERAS:
        leaving = asyncio.create_task(call(upstream, "test_slow", era, {"seconds": 60}, channel=Recorder()))
        await asyncio.wait({leaving}, timeout=0.3)
        # It was sent before this one, which is answered: so the server has it.
        await call(upstream, "test_simple_text", era)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)

    async def cancelled() -> str:
        return text(await call(upstream, "test_cancelled_calls", Era.LEGACY))

    await eventually(cancelled, lambda count: count == "2")


@pytest.mark.parametrize("method", ["logging/setLevel", "resources/subscribe"])
async def test_what_is_not_of_the_modern_protocol_is_no_method_there(upstream: Upstream, method: str) -> None:
    with pytest.raises(RpcError) as refused:
        await upstream.request(method, modern({"uri": "x", "level": "info"}), Era.MODERN, PATIENCE)
    assert refused.value.code == METHOD_NOT_FOUND
