"""An MCP server whose tools and answers the tests choose, and what they do with it at a gateway."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any
from uuid import UUID

from aiohttp import ClientSession, web

from gateway.app import Gateway
from mcp_platform.contracts.deployments import Deployment
from mcp_platform.contracts.policies import McpPolicy, Pin, StoredPolicy, definition_digest
from mcp_platform.names import Channel
from mcp_platform.wire import CAPABILITIES_KEY, CLIENT_INFO_KEY, MODERN_VERSION, VERSION_KEY
from storage.stores import Stores
from tests.gateway.conftest import Platform
from tests.gateway.upstreams import Stub
from tests.waiting import eventually

ACCEPT = {"Accept": "application/json, text/event-stream"}


def tool(name: str, description: str = "", schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make a tool's definition."""
    return {"name": name, "description": description, "inputSchema": schema or {"type": "object"}}


class Desk(Stub):
    """A server that speaks the modern protocol, or the older one."""

    def __init__(self, legacy: bool = False) -> None:
        super().__init__(legacy)
        self.tools = [tool("read"), tool("write"), tool("drop")]
        self.results: dict[str, dict[str, Any]] = {}
        """By tool; a text unless given."""
        self.error: dict[str, Any] | None = None
        """What every call is answered with instead."""
        self.news: list[dict[str, Any]] = []
        """Notifications that it sends before each result."""
        self.lists = True
        """Whether it lists its tools."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take one message."""
        message = await request.json()
        if message.get("method") == "tools/list":
            self.requests.append(("tools/list", message, {}))
            if not self.lists:
                return self._error(message, -32603, "Not now", 200)
            return self._result(message, {"cacheScope": "public", "tools": self.tools})
        return await super().answer(request)

    async def _call(self, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        self.calls += 1
        name = message["params"]["name"]
        if self.error is not None:
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": self.error})
        result = self.results.get(name, {"content": [{"type": "text", "text": f"did {name}"}]})
        if self.news:
            self.events = True
            return await self._stream(request, message, result, whole=True)
        return self._result(message, result)

    async def _stream(
        self, request: web.Request, message: dict[str, Any], result: dict[str, Any], whole: bool
    ) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": self._complete(result)}
        token = message["params"].get("_meta", {}).get("progressToken")
        for news in self.news:
            params = news["params"] | ({"progressToken": token} if token is not None else {})
            await stream.write(_event({"jsonrpc": "2.0", **news, "params": params}))
        await stream.write(_event(answer))
        await stream.write_eof()
        return stream


def _event(message: dict[str, Any]) -> bytes:
    return b"data: " + web.json_response(message).body + b"\n\n"  # type: ignore[operator]


@asynccontextmanager
async def desk(legacy: bool = False) -> AsyncIterator[Desk]:
    """Run such a server."""
    server = Desk(legacy)
    app = web.Application()
    app.router.add_post("/mcp", server.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        yield server
    finally:
        await runner.cleanup()


async def govern(platform: Platform, deployment: Deployment, **policy: Any) -> None:
    """Give an MCP a policy, and wait until the gateway goes by it."""
    wanted = McpPolicy.model_validate(policy)
    async with platform.stores.write() as rows:
        present = await rows.policies.locked(deployment.mcp_id)
        await rows.policies.put(
            StoredPolicy(
                mcp_id=deployment.mcp_id,
                revision=present.revision + 1,
                policy=wanted,
                updated_at=deployment.deployed_at,
                updated_by=platform.user.id,
            )
        )
    await platform.stores.publish(Channel.POLICIES, {"mcp_id": str(deployment.mcp_id)})
    await governed(platform.gateway, deployment.mcp_id, wanted)


async def governed(gateway: Gateway, mcp_id: UUID, wanted: McpPolicy) -> None:
    """Wait until a gateway goes by this policy."""

    async def known() -> bool:
        return gateway.policies.of(mcp_id).governance.policy == wanted

    await eventually(known)


async def pin(stores: Stores, gateway: Gateway, deployment: Deployment, *definitions: dict[str, Any]) -> None:
    """Pin definitions, and wait until the gateway knows."""
    pins = [
        Pin(
            mcp_id=deployment.mcp_id,
            tool=each["name"],
            digest=definition_digest(each),
            definition=each,
            pinned_by=deployment.owner_id,
            pinned_at=deployment.deployed_at,
        )
        for each in definitions
    ]
    async with stores.write() as rows:
        await rows.policies.add_pins(pins)
    await stores.publish(Channel.POLICIES, {"mcp_id": str(deployment.mcp_id)})

    async def known() -> bool:
        return len(gateway.policies.of(deployment.mcp_id).governance.pins) == len(pins)

    await eventually(known)


async def post(
    url: str,
    method: str,
    params: dict[str, Any] | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, dict[str, Any]]:
    """Send one modern request: the HTTP status and the message that answers it."""
    meta = {VERSION_KEY: MODERN_VERSION, CLIENT_INFO_KEY: {"name": "t", "version": "1"}, CAPABILITIES_KEY: {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": meta}}
    sent = {**ACCEPT, "MCP-Protocol-Version": MODERN_VERSION, "Mcp-Method": method, **headers}
    if params and "name" in params:
        sent["Mcp-Name"] = params["name"]
    async with ClientSession() as http, http.post(url, json=body, headers=sent) as response:
        answer: dict[str, Any] = await response.json()
        return response.status, answer


async def listed(platform: Platform, slug: str, key: str | None = None) -> list[str]:
    """List the names of an MCP's tools, as the owner of a key sees them."""
    headers = {"X-API-Key": key or platform.key}
    _, answer = await post(platform.address(slug), "tools/list", headers=headers)
    return [each["name"] for each in answer["result"]["tools"]]


async def called(
    platform: Platform, slug: str, name: str, arguments: Any = None, **headers: str
) -> dict[str, Any]:
    """Call a tool; the message that answers."""
    params = {"name": name, "arguments": {} if arguments is None else arguments}
    _, answer = await post(
        platform.address(slug), "tools/call", params, {"X-API-Key": platform.key, **headers}
    )
    return answer
