"""The smart endpoint: all tools behind three."""

import asyncio
import json
import time
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import CallToolRequestParams, CallToolResult, ListToolsResult, TextContent, Tool

from gateway.discovery.glossary import glossary
from gateway.discovery.texts import question_of
from gateway.smart import DEFINITIONS
from mcp_platform.contracts.policies import McpPolicy, ToolRule
from tests.groups.conftest import Groups, govern, growing, names, offering
from tests.waiting import eventually

ERAS = ["legacy", "auto"]


async def use(client: Client, tool: str, **arguments: Any) -> tuple[str, bool]:
    """Use one of the endpoint's tools: its text, and whether it is an error."""
    result = await client.call_tool(tool, arguments)
    return str(result.content[0].text), bool(result.is_error)  # type: ignore[union-attr]


async def find(client: Client, query: str, limit: int = 5) -> list[str]:
    """Find tools' names."""
    text, wrong = await use(client, "find_tools", query=query, limit=limit)
    assert not wrong, text
    return [each["name"] for each in json.loads(text)]


def letters() -> MCPServer:
    """Make a server with tools that people ask for by other words."""
    server = MCPServer("letters")

    @server.tool()
    def send_email(recipient: str, subject: str, body: str = "") -> str:
        """Send an electronic message to somebody."""
        return f"sent {subject} to {recipient}"

    @server.tool()
    async def count_slowly(to: int, ctx: Context) -> str:
        """Count up to a number, and tell how far it is."""
        for number in range(to):
            await ctx.report_progress(number + 1, to)
        return str(to)

    return server


def many(name: str, prefix: str, count: int) -> Server[Any]:
    """Make a server with many tools, each of which says which it is."""
    tools = [
        Tool(name=f"{prefix}{n}", description=f"Do thing number {n}", input_schema={"type": "object"})
        for n in range(count)
    ]

    async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def call_tool(ctx: Any, params: CallToolRequestParams) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text=f"{name}.{params.name}")])

    return Server(name, on_list_tools=list_tools, on_call_tool=call_tool)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_tool_is_found_by_its_meaning_described_and_called(groups: Groups, mode: str) -> None:
    await groups.serve(letters(), offering("stones", "throw", "stack", "paint"))
    async with groups.client("smart", mode) as client:
        assert names((await client.list_tools()).tools) == {"find_tools", "describe_tool", "call_tool"}
        text, _ = await use(client, "find_tools", query="write a mail to my boss")
        best = json.loads(text)[0]
        assert best == {
            "name": "send_email",
            "server": "letters",
            "description": "Send an electronic message to somebody.",
            "arguments": "recipient, subject, body?",
        }
        assert (await find(client, "给老板发一封邮件"))[0] == "send_email"
        described, _ = await use(client, "describe_tool", name="send_email")
        assert json.loads(described)["inputSchema"]["required"] == ["recipient", "subject"]
        arguments = {"recipient": "Ann", "subject": "hello"}
        assert await use(client, "call_tool", name="send_email", arguments=arguments) == (
            "sent hello to Ann",
            False,
        )


async def test_a_client_with_2000_tools_behind_it_spends_less_than_1000_tokens_on_definitions(
    groups: Groups,
) -> None:
    await groups.serve(*(many(f"many-{n}", f"tool_{n}_", 500) for n in range(4)))
    async with groups.client("smart") as client:
        listed = await client.list_tools()
        definitions = json.dumps([tool.model_dump(exclude_none=True) for tool in listed.tools])
        # Three bytes a token is more than any model's tokenizer makes of JSON.
        assert len(definitions.encode()) / 3 < 1000
        assert len(json.dumps(DEFINITIONS).encode()) / 3 < 1000
        assert await use(client, "call_tool", name="tool_3_499") == ("many-3.tool_3_499", False)
        discovery = groups.platform.gateway.several.discovery
        await eventually(lambda: _size(discovery), lambda size: size == 2000)
        assert (await find(client, "tool_2_250"))[0] == "tool_2_250"
        text, _ = await use(client, "find_tools", query="anything at all", limit=20)
        assert len(text.encode()) / 3 < 1500


async def _size(discovery: Any) -> int:
    return len(discovery._index)


@pytest.mark.parametrize("mode", ERAS)
async def test_progress_and_the_result_come_as_the_tool_gave_them(groups: Groups, mode: str) -> None:
    await groups.serve(letters())
    seen: list[float] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with groups.client("smart", mode) as client:
        arguments = {"name": "count_slowly", "arguments": {"to": 3}}
        result = await client.call_tool("call_tool", arguments, progress_callback=progress)
        assert result.structured_content == {"result": "3"}
        await eventually(lambda: _copy(seen), lambda so_far: so_far == [1.0, 2.0, 3.0])


async def _copy(values: list[float]) -> list[float]:
    return list(values)


async def test_a_name_that_several_servers_have_is_called_by_whose_it_is(groups: Groups) -> None:
    await groups.serve(offering("files", "search"), offering("web", "search", "fetch"))
    async with groups.client("smart") as client:
        assert set(await find(client, "search")) == {"files__search", "web__search", "fetch"}
        assert (await use(client, "call_tool", name="web__search"))[0] == "web.search()"
        # The name alone means the first in the alphabet that is up.
        assert (await use(client, "call_tool", name="search"))[0] == "files.search()"


async def test_an_unknown_name_is_answered_with_near_matches(groups: Groups) -> None:
    await groups.serve(letters(), offering("stones", "throw"))
    async with groups.client("smart") as client:
        for tool in ("call_tool", "describe_tool"):
            text, wrong = await use(client, tool, name="sendmail")
            assert wrong
            assert "send_email" in text


async def test_only_what_the_caller_may_call_is_found_and_called(groups: Groups) -> None:
    await groups.serve(letters(), offering("stones", "throw", "polish"))
    await govern(groups, "stones", McpPolicy(rules=[ToolRule(deny=["polish"])]))
    _, key = await groups.platform.add_key(groups.platform.user, mcp_ids=[groups.mcp_id("stones")])
    async with groups.client("smart", key=key) as client:
        assert await find(client, "polish a stone, throw it, send an email") == ["throw"]
        for name in ("polish", "stones__polish", "send_email", "letters__send_email"):
            text, wrong = await use(client, "call_tool", name=name)
            assert wrong
            assert "There is no tool" in text


async def test_a_new_tool_is_found_within_a_second_of_being_told_of(groups: Groups) -> None:
    await groups.serve(growing("plant"))
    async with groups.client("smart") as client:
        assert await find(client, "leaf") == ["grow"]
        took = []
        for number in range(4):
            await use(client, "call_tool", name="grow", arguments={"tool": f"leaf_{number}"})
            began = time.monotonic()
            await eventually(
                lambda number=number: find(client, f"leaf_{number}"),  # type: ignore[misc]
                lambda found, number=number: f"leaf_{number}" in found,  # type: ignore[misc]
            )
            took.append(time.monotonic() - began)
    # The first may come before the gateway hears of changes: then it is found once it does.
    assert min(took[1:]) < 1


async def test_a_dead_server_hides_no_other_servers_tools(groups: Groups) -> None:
    await groups.serve(letters())
    groups.deployments["gone"] = await groups.platform.deploy("gone", "http://127.0.0.1:9/mcp")
    async with groups.client("smart") as client:
        async with asyncio.timeout(10):
            assert "send_email" in await find(client, "mail")


async def test_a_tool_whose_server_is_left_out_is_unavailable_and_not_unknown(groups: Groups) -> None:
    await groups.serve(letters(), offering("stones", "throw"))
    async with groups.client("smart") as client:
        assert (await use(client, "call_tool", name="throw"))[0] == "stones.throw()"
        await groups.platform.place(groups.deployments["stones"])
        for name in ("throw", "stones__throw"):
            with pytest.raises(MCPError, match="No healthy replica of 'stones'"):
                await use(client, "call_tool", name=name)
    await govern(groups, "stones", McpPolicy(rules=[ToolRule(deny=["throw"])]))
    async with groups.client("smart") as client:
        assert "There is no tool" in (await use(client, "call_tool", name="throw"))[0]


def test_sleeping_and_waiting_are_one_thing_in_both_languages() -> None:
    def meant(text: str) -> set[Any]:
        return set(question_of(text, glossary()).concepts)

    for text in ("睡", "睡眠", "pause", "wait"):
        assert meant("sleep") & meant(text), text
