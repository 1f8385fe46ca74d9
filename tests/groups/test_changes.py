"""A group's endpoint while its members, their tools and its rules change."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from mcp import Client, MCPError
from mcp.types import ToolListChangedNotification

from gateway.requests import ClientChannel, ClientSession
from mcp_platform.contracts.groups import GroupRole
from mcp_platform.contracts.policies import McpPolicy, ToolRule
from mcp_platform.names import Channel
from tests.front.raw import Session
from tests.gateway.governing import govern as limit
from tests.groups.conftest import Groups, govern, growing, names, offering
from tests.upstreams.older import older
from tests.waiting import eventually


@asynccontextmanager
async def hearing(groups: Groups, mode: str) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """Connect a client that hears of changed tools."""
    changed = asyncio.Event()

    async def hear(message: Any) -> None:
        if isinstance(getattr(message, "root", message), ToolListChangedNotification):
            changed.set()

    async with groups.client("group/team", mode, message_handler=hear) as client:
        if mode == "legacy":
            await _followed(groups)
            yield client, changed
            return
        async with client.listen(tools_list_changed=True) as events:

            async def follow() -> None:
                async for _ in events:
                    changed.set()

            following = asyncio.create_task(follow())
            yield client, changed
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_hears_within_a_second_that_a_member_has_a_new_tool(groups: Groups, mode: str) -> None:
    await groups.serve(growing("plant"), offering("stone", "lie"))
    await groups.make("team", "plant", "stone")
    async with hearing(groups, mode) as (client, changed):
        assert names((await client.list_tools()).tools) == {"grow", "lie"}
        took = []
        for number in range(3):
            await _quiet(changed)
            await client.call_tool("grow", {"tool": f"leaf-{number}"})
            began = time.monotonic()
            await _hear_of(client, changed, f"leaf-{number}")
            took.append(time.monotonic() - began)
        # The quickest of several: other tests' servers may have the processor meanwhile.
        assert min(took) < 1


async def test_a_change_is_seen_that_came_between_the_reading_of_a_list_and_the_stream_of_its_changes(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.listings.KEPT", 3600.0)
    async with older() as server:
        opening = server.hold("GET")
        server.tools.append("old")
        groups.deployments["changing"] = await groups.platform.deploy("changing", server.url)
        await groups.make("team", "changing")
        async with groups.client("group/team") as client:

            async def listed() -> set[str]:
                return names((await client.list_tools()).tools)

            async def asked() -> list[str]:
                return server.waiting

            assert await listed() == {"old"}
            await eventually(asked)
            server.tools.append("new")
            opening.set()
            await eventually(listed, lambda tools: tools == {"old", "new"})


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_hears_of_a_new_member_whose_tools_rename_only_what_both_have(
    groups: Groups, mode: str
) -> None:
    await groups.serve(offering("one", "own", "common"), offering("two", "other", "common"))
    group = await groups.make("team", "one")
    async with hearing(groups, mode) as (client, changed):
        assert names((await client.list_tools()).tools) == {"own", "common"}
        await groups.join(group, "two")
        async with asyncio.timeout(30):
            await changed.wait()
        assert names((await client.list_tools()).tools) == {
            "own",
            "other",
            "one__common",
            "two__common",
        }


@pytest.mark.parametrize("leaving", ["removed", "deleted"])
async def test_the_stream_of_a_user_who_left_the_group_ends(groups: Groups, leaving: str) -> None:
    await groups.serve(offering("files", "read"))
    group, platform = await groups.make("team", "files"), groups.platform
    user = await platform.add_user()
    _, key = await platform.add_key(user)
    async with platform.stores.write() as rows:
        await rows.groups.put_member(group.id, user.id, GroupRole.MEMBER, datetime.now(UTC))
    session = Session(f"{platform.url}/mcp/group/team", key)
    assert (await session.open()).status == 200
    headers = {**session.headers, "Accept": "text/event-stream"}
    async with aiohttp.ClientSession() as http, http.get(session.url, headers=headers) as stream:
        assert stream.status == 200
        async with platform.stores.write() as rows:
            if leaving == "removed":
                await rows.groups.remove_member(group.id, user.id)
            else:
                await rows.groups.delete(group.id)
        await platform.gateway.several.groups.refresh()
        await platform.gateway.credentials.changed(user.id)
        async with asyncio.timeout(10):
            await stream.read()
        # The session is still there, and is not listened to.
        async with http.get(session.url, headers=headers) as again:
            assert again.status == 404


async def test_a_key_hears_only_servers_that_it_is_for(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    await groups.serve(offering("files", "read"), offering("web", "fetch"))
    await groups.make("team", "files", "web")
    platform, heard = groups.platform, set[str]()
    _, key = await platform.add_key(platform.user, mcp_ids=[groups.mcp_id("web")])
    session = Session(f"{platform.url}/mcp/group/team", platform.key)
    await session.open()
    kept = platform.gateway._front.sessions._live[session.id].data
    for slug in ("files", "web"):
        (upstream,) = platform.gateway._relay.find(slug).upstreams
        # As if both servers kept something for the session.
        kept.replicas[slug] = upstream.address.replica_id

        async def listen(_session: ClientSession, _channel: ClientChannel, slug: str = slug) -> None:
            heard.add(slug)
            await asyncio.Event().wait()

        monkeypatch.setattr(upstream, "listen", listen)
    session.headers["X-API-Key"] = key
    async with session.stream():
        await eventually(lambda: _has(heard, "web"))
    assert heard == {"web"}
    session.headers["X-API-Key"] = platform.key
    async with session.stream():
        await eventually(lambda: _has(heard, "files"))


async def test_an_open_stream_hears_no_server_that_left_the_group(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    await groups.serve(offering("files", "read"), offering("web", "fetch"))
    group = await groups.make("team", "files", "web")
    platform, heard = groups.platform, set[str]()
    session = Session(f"{platform.url}/mcp/group/team", platform.key)
    await session.open()
    kept = platform.gateway._front.sessions._live[session.id].data
    for slug in ("files", "web"):
        (upstream,) = platform.gateway._relay.find(slug).upstreams
        kept.replicas[slug] = upstream.address.replica_id

        async def listen(_session: ClientSession, _channel: ClientChannel, slug: str = slug) -> None:
            heard.add(slug)
            try:
                await asyncio.Event().wait()
            finally:
                heard.discard(slug)

        monkeypatch.setattr(upstream, "listen", listen)

    async def present() -> set[str]:
        return set(heard)

    async with session.stream():
        await eventually(present, lambda slugs: slugs == {"files", "web"})
        async with platform.stores.write() as rows:
            await rows.groups.remove_mcp(group.id, groups.mcp_id("files"))
        await platform.stores.publish(Channel.GROUPS, {"group_id": str(group.id)})
        await eventually(present, lambda slugs: slugs == {"web"})


async def test_a_member_s_own_limit_on_bodies_holds_in_the_group(groups: Groups) -> None:
    await groups.serve(offering("small", "say"), offering("large", "tell"))
    await groups.make("team", "small", "large")
    await limit(groups.platform, groups.deployments["small"], limits={"max_body_bytes": 1000})
    session = Session(f"{groups.platform.url}/mcp/group/team", groups.platform.key)
    await session.open()
    answer = await session.call("say", {"word": "x" * 2000})
    assert (answer.status, answer.message["error"]["data"]["limit_bytes"]) == (413, 1000)
    assert (await session.call("say", {"word": "x"})).status == 200
    assert (await session.call("tell", {"word": "x" * 2000})).status == 200


async def _has(found: set[str], slug: str) -> bool:
    return slug in found


async def test_a_tool_that_a_rule_denies_is_neither_listed_nor_called(groups: Groups) -> None:
    await groups.serve(offering("files", "read", "wipe"))
    await groups.make("team", "files")
    await govern(groups, "files", McpPolicy(rules=[ToolRule(deny=["wipe"])]))
    async with groups.client("group/team") as client:
        assert names((await client.list_tools()).tools) == {"read"}
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("wipe", {})


async def test_a_member_that_is_not_deployed_any_more_is_left_out(groups: Groups) -> None:
    await groups.serve(offering("stays", "a"), offering("goes", "b"))
    await groups.make("team", "stays", "goes")
    async with groups.client("group/team") as client:
        assert names((await client.list_tools()).tools) == {"a", "b"}
        await groups.platform.stop(groups.deployments["goes"])
        assert names((await client.list_tools()).tools) == {"a"}


async def _followed(groups: Groups) -> None:
    """Wait until the stream that a client opens after the handshake is open."""

    async def there() -> bool:
        return "group/team" in groups.platform.gateway.several.news._followers

    await eventually(there)


async def _hear_of(client: Client, changed: asyncio.Event, tool: str) -> None:
    """Wait for the news after which a tool is listed; what is heard before may be of an earlier one."""
    async with asyncio.timeout(30):
        while True:
            await changed.wait()
            changed.clear()
            if tool in names((await client.list_tools()).tools):
                return


async def _quiet(changed: asyncio.Event) -> None:
    """Wait until nothing more is heard of."""
    while changed.is_set():
        changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await changed.wait()
