"""A group's endpoint: what its members offer, as one MCP server."""

import socket
import time

import pytest
from mcp import MCPError

from gateway.groups import merging
from gateway.groups.endpoint import UNAVAILABLE_KEY
from gateway.groups.merging import PATIENCE
from mcp_platform.contracts.access import Role
from mcp_platform.contracts.groups import GroupRight
from mcp_platform.wire import INVALID_PARAMS
from tests.gateway.conftest import MODERN
from tests.groups.conftest import Groups, names, offering, with_resource
from tests.waiting import eventually

ERAS = ["legacy", "auto"]


async def said(client: object, tool: str, **arguments: str) -> str:
    """Call a tool, and give its text."""
    result = await client.call_tool(tool, arguments)  # type: ignore[attr-defined]
    return str(result.content[0].text)


@pytest.mark.parametrize("mode", ERAS)
async def test_members_tools_are_one_list_and_each_call_reaches_the_member_that_has_the_tool(
    groups: Groups, mode: str
) -> None:
    await groups.serve(offering("files", "read", "search"), offering("web", "fetch", "search"))
    await groups.make("team", "files", "web")
    async with groups.client("group/team", mode) as client:
        assert names((await client.list_tools()).tools) == {
            "read",
            "fetch",
            "files__search",
            "web__search",
        }
        assert await said(client, "read", word="a") == "files.read(a)"
        assert await said(client, "fetch") == "web.fetch()"
        assert await said(client, "files__search") == "files.search()"
        assert await said(client, "web__search") == "web.search()"
        # Whoever knows whose tool it is may always say so.
        assert await said(client, "files__read") == "files.read()"


@pytest.mark.parametrize("mode", ERAS)
async def test_an_unknown_tool_is_refused_with_what_may_have_been_meant(groups: Groups, mode: str) -> None:
    await groups.serve(offering("files", "search"), offering("web", "search"))
    await groups.make("team", "files", "web")
    async with groups.client("group/team", mode) as client:
        with pytest.raises(MCPError, match="files__search, web__search") as refused:
            await client.call_tool("search", {})
        assert refused.value.error.code == -32602


@pytest.mark.parametrize("mode", ERAS)
async def test_a_group_offers_what_any_member_offers(groups: Groups, mode: str) -> None:
    plain, rich = offering("plain", "act"), with_resource(offering("rich", "do"), "memo://rich")

    @rich.prompt()
    def greet(name: str) -> str:
        """Greet."""
        return f"Hello {name} from rich"

    await groups.serve(plain, rich)
    await groups.make("team", "plain", "rich")
    async with groups.client("group/team", mode) as client:
        assert client.server_info is not None
        assert client.server_info.name == "team"
        offered = client.server_capabilities
        assert offered is not None
        assert None not in (offered.tools, offered.prompts, offered.resources)
        assert names((await client.list_prompts()).prompts) == {"greet"}
        prompt = await client.get_prompt("greet", {"name": "Ann"})
        assert prompt.messages[0].content.text == "Hello Ann from rich"  # type: ignore[union-attr]
        (resource,) = (await client.list_resources()).resources
        read = await client.read_resource(str(resource.uri))
        assert read.contents[0].text == "rich"  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ERAS)
async def test_of_a_uri_that_two_have_both_can_be_read(groups: Groups, mode: str) -> None:
    uri = "memo://same"
    await groups.serve(with_resource(offering("one"), uri), with_resource(offering("two"), uri))
    await groups.make("team", "one", "two")
    async with groups.client("group/team", mode) as client:
        listed = [str(each.uri) for each in (await client.list_resources()).resources]
        assert listed == [uri, f"mcp+two+{uri}"]
        contents = [(await client.read_resource(each)).contents[0] for each in listed]
        assert [each.text for each in contents] == ["one", "two"]  # type: ignore[union-attr]
        assert [str(each.uri) for each in contents] == listed
        with pytest.raises(MCPError, match="Resource not found"):
            await client.read_resource("memo://nothing")


async def test_a_resource_of_a_template_is_read_from_the_member_with_the_template(groups: Groups) -> None:
    server = offering("dynamic", "x")

    @server.resource("user://{name}/profile")
    def profile(name: str) -> str:
        """Tell of a user."""
        return f"profile of {name}"

    await groups.serve(offering("plain", "act"), server)
    await groups.make("team", "plain", "dynamic")
    async with groups.client("group/team") as client:
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "user://{name}/profile"
        read = await client.read_resource("user://ann/profile")
        assert read.contents[0].text == "profile of ann"  # type: ignore[union-attr]
    async with groups.client("group/team", "legacy") as client:
        with pytest.raises(MCPError, match="longer than 8192 characters") as refused:
            await client.read_resource(f"user://{'a' * 8192}/profile")
        assert refused.value.error.code == INVALID_PARAMS


@pytest.mark.parametrize("mode", ERAS)
async def test_a_dead_member_never_hides_the_living_and_is_left_out_after_the_grace_time(
    groups: Groups, mode: str
) -> None:
    await groups.serve(offering("alive", "work"), offering("mortal", "rest"))
    await groups.make("team", "alive", "mortal")
    lists = groups.platform.gateway.tool_lists
    async with groups.client("group/team", mode) as client:
        assert names((await client.list_tools()).tools) == {"work", "rest"}
        await groups.kill("mortal")
        lists.forget("mortal")
        before = time.monotonic()
        listed = await client.list_tools()
        assert time.monotonic() - before < 9
        assert names(listed.tools) == {"work", "rest"}, "the last known tools are shown for the grace time"
        lists._grace = 1.0

        async def left() -> tuple[set[str], object]:
            found = await client.list_tools()
            return names(found.tools), (found.meta or {}).get(UNAVAILABLE_KEY)

        _, reported = await eventually(left, lambda seen: seen[0] == {"work"})
        assert isinstance(reported, list)
        assert [(each["server"], each["state"]) for each in reported] == [("mortal", "left out")]
        assert await said(client, "work") == "alive.work()"


async def test_only_members_and_administrators_reach_a_group(groups: Groups) -> None:
    await groups.serve(offering("files", "read"))
    await groups.make("team", "files")
    stranger = await groups.stranger()
    with pytest.raises((MCPError, ExceptionGroup)):
        async with groups.client("group/team", MODERN, key=stranger) as client:
            await client.list_tools()
    async with groups.client("group/team", key=await groups.stranger(Role.ADMIN)) as client:
        assert names((await client.list_tools()).tools) == {"read"}


async def test_a_key_for_some_mcps_sees_only_those_in_a_group(groups: Groups) -> None:
    await groups.serve(offering("files", "read", "search"), offering("web", "fetch", "search"))
    await groups.make("team", "files", "web")
    _, key = await groups.platform.add_key(groups.platform.user, mcp_ids=[groups.mcp_id("web")])
    async with groups.client("group/team", key=key) as client:
        # The names are everybody's: the other member's tool of this name is there, if not for this key.
        assert names((await client.list_tools()).tools) == {"fetch", "web__search"}
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("files__read", {})


async def test_what_a_group_may_do_with_an_mcp_bounds_what_it_offers(groups: Groups) -> None:
    await groups.serve(with_resource(offering("files", "read"), "memo://a"))
    await groups.make("readers", "files", rights=[GroupRight.READ])
    async with groups.client("group/readers") as client:
        assert (await client.list_tools()).tools == []
        assert len((await client.list_resources()).resources) == 1
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("read", {})


async def test_a_member_that_never_answers_delays_nobody_for_long(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    await groups.serve(offering("alive", "work"))
    group = await groups.make("team", "alive")
    # The system takes connections there, and nobody looks at what is sent.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        groups.deployments["stubborn"] = await groups.platform.deploy("stubborn", url)
        async with groups.client("group/team", MODERN) as client:
            assert names((await client.list_tools()).tools) == {"work"}
            await groups.join(group, "stubborn")
            monkeypatch.setattr(merging, "PATIENCE", PATIENCE)
            before = time.monotonic()
            assert names((await client.list_tools()).tools) == {"work"}
            # Whoever waited for its list would wait for ten seconds.
            assert time.monotonic() - before < 8
