"""A gateway with groups in it, in front of small real MCP servers."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resources import TextResource

from mcp_platform.contracts.access import Role, User
from mcp_platform.contracts.deployments import Deployment
from mcp_platform.contracts.groups import Group, GroupRight, GroupRole, GroupSettings
from mcp_platform.contracts.policies import McpPolicy, StoredPolicy
from mcp_platform.names import Channel
from tests.gateway.conftest import Background, Platform, platform, serving
from tests.runner.conftest import until
from tests.waiting import eventually

__all__ = ["platform"]

ALL = [GroupRight.READ, GroupRight.EXECUTE]


def offering(name: str, *tools: str) -> MCPServer:
    """Make a server with these tools, each of which says which server's it is."""
    server = MCPServer(name)
    for tool in tools:
        add_tool(server, tool)
    return server


def add_tool(server: MCPServer, tool: str) -> None:
    """Give a server one more tool."""

    def speak(word: str = "") -> str:
        return f"{server.name}.{tool}({word})"

    server.add_tool(speak, name=tool, description=f"Say {tool}")


def growing(name: str, *tools: str) -> MCPServer:
    """Make a server with a tool `grow` that adds a tool, and tells of it."""
    server = offering(name, *tools)

    @server.tool()
    async def grow(tool: str, ctx: Context) -> str:
        """Add a tool."""
        add_tool(server, tool)
        await ctx.notify_tools_changed()
        return "done"

    return server


def with_resource(server: MCPServer, uri: str) -> MCPServer:
    """Give a server a resource whose text is the server's name."""
    server.add_resource(TextResource(uri=uri, name=uri, text=server.name))
    return server


class Groups:
    """What the tests do to groups and servers."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.deployments: dict[str, Deployment] = {}
        self._servers: dict[str, Background] = {}

    async def serve(self, *servers: MCPServer | Server[Any]) -> None:
        """Serve and deploy each under its name."""
        for server in servers:
            app = server.streamable_http_app()
            background = Background(partial(_serve, app))
            self._servers[server.name] = background
            url = await background.ready()
            self.deployments[server.name] = await self.platform.deploy(server.name, f"{url}/mcp")

    async def kill(self, name: str) -> None:
        """End a server, while its record says that it lives."""
        await self._servers.pop(name).close()

    async def close(self) -> None:
        """End all servers; the gateway's streams first, which they would wait for."""
        await self.platform.gateway.several.close()
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    async def make(
        self, name: str, *slugs: str, owner: User | None = None, rights: list[GroupRight] = ALL
    ) -> Group:
        """Make a group of these MCPs, and wait until the gateway knows it."""
        now = datetime.now(UTC)
        group = Group(
            id=uuid4(),
            name=name,
            display_name=name.title(),
            description=f"The {name}",
            owner_id=(owner or self.platform.user).id,
            settings=GroupSettings(),
            created_at=now,
            updated_at=now,
        )
        async with self.platform.stores.write() as rows:
            await rows.groups.add(group)
            await rows.groups.put_member(group.id, group.owner_id, GroupRole.ADMIN, now)
        await self.join(group, *slugs, rights=rights)
        return group

    async def join(self, group: Group, *slugs: str, rights: list[GroupRight] = ALL) -> None:
        """Put MCPs into a group, and wait until the gateway knows."""
        async with self.platform.stores.write() as rows:
            for slug in slugs:
                now = datetime.now(UTC)
                await rows.groups.put_mcp(group.id, self.mcp_id(slug), rights, now)
        await self.platform.stores.publish(Channel.GROUPS, {"group_id": str(group.id)})
        table = self.platform.gateway.several.groups

        async def known() -> bool:
            found = table._groups.get(group.name)
            return found is not None and set(slugs) <= {mcp.slug for mcp in found.mcps}

        await until(known)

    def mcp_id(self, slug: str) -> UUID:
        """Give an MCP's id."""
        return self.deployments[slug].mcp_id

    @asynccontextmanager
    async def client(
        self, endpoint: str, mode: str = "auto", key: str | None = None, **more: Any
    ) -> AsyncIterator[Client]:
        """Connect the official client to `group/{name}`, or to `smart`."""
        headers = {"X-API-Key": key or self.platform.key}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            url = f"{self.platform.url}/mcp/{endpoint}"
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport, mode=mode, cache=None, **more) as client:
                yield client

    async def stranger(self, role: Role = Role.DEVELOPER) -> str:
        """Give the API key of somebody who is in no group."""
        return (await self.platform.add_key(await self.platform.add_user(role)))[1]


@pytest.fixture
async def groups(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Groups]:
    """Give a gateway with groups, which leaves no member out because this machine stood still."""
    for module in ("merging", "openings"):
        monkeypatch.setattr(f"gateway.groups.{module}.PATIENCE", 20.0)
    made = Groups(platform)
    yield made
    await made.close()


async def _serve(app: Any, stack: AsyncExitStack) -> Any:
    return await stack.enter_async_context(serving(app))


def names(items: Iterable[Any]) -> set[str]:
    """Give the names of listed items."""
    return {item.name for item in items}


async def govern(groups: Groups, slug: str, policy: McpPolicy) -> None:
    """Give an MCP this policy, and wait until the gateway knows."""
    mcp_id = groups.mcp_id(slug)
    async with groups.platform.stores.write() as rows:
        await rows.policies.put(
            StoredPolicy(
                mcp_id=mcp_id,
                revision=1,
                policy=policy,
                updated_at=datetime.now(UTC),
                updated_by=groups.platform.user.id,
            )
        )
    await groups.platform.stores.publish(Channel.POLICIES, {"mcp_id": str(mcp_id)})
    policies = groups.platform.gateway.policies

    async def known() -> bool:
        return policies.of(mcp_id).rules is not None

    await eventually(known)
