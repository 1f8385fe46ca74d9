"""Tools by plain REST, for callers that do not speak MCP."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive

from gateway.bodies import read_body
from gateway.calls import Calls
from gateway.front.incoming import read_json
from gateway.policy.refusals import Refusal
from gateway.relay import Relay
from gateway.requests import RelayedRequest
from gateway.results import ToolResult
from gateway.upstreams.exchange import Unreachable
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.calls import Via
from mcp_platform.errors import (
    AuthorizationNeeded,
    InvalidRequest,
    NotFound,
    ToolFailed,
    Unavailable,
    UpstreamFailed,
    UpstreamTimedOut,
)
from mcp_platform.wire import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    Era,
    RpcError,
)


class RestCalls:
    """`POST /mcp/{slug}/v1/tools/{tool}`, and the same for the platform itself."""

    def __init__(self, relay: Relay, calls: Calls) -> None:
        self._relay = relay
        self._calls = calls

    async def call(
        self,
        slug: str,
        tool: str,
        arguments: dict[str, Any],
        timeout: float,
        principal: Principal | None = None,
        via: Via = Via.PLATFORM,
        headers: Mapping[str, str] | None = None,
    ) -> ToolResult:
        """Give what the tool answers, its own errors included."""
        params = {"name": tool, "arguments": arguments}
        try:
            # A caller without MCP cannot be asked for input, so it counts as an older client.
            request = RelayedRequest(
                slug, "tools/call", params, Era.LEGACY, timeout, principal, client_headers=headers, via=via
            )
            result = ToolResult(await self._calls.send(request))
        except Refusal as refusal:
            raise refusal.error from None
        except RpcError as error:
            await self._check_tool(slug, tool, timeout)
            raise _platform_error(error, tool) from error
        if result.is_error:
            await self._check_tool(slug, tool, timeout)
        return result

    async def answer(
        self,
        slug: str,
        tool: str,
        receive: Receive,
        timeout: float,
        principal: Principal | None,
        headers: Mapping[str, str],
    ) -> Response:
        """Answer a request: the body holds the arguments."""
        limit = self._relay.find(slug).body_limit
        arguments = _arguments(await read_body(receive, limit))
        call = asyncio.create_task(self.call(slug, tool, arguments, timeout, principal, Via.REST, headers))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                return Response(status_code=499)  # nobody reads it: the caller left
            result = call.result()
        finally:
            call.cancel()
            gone.cancel()
            await asyncio.gather(call, gone, return_exceptions=True)
        if result.is_error:
            raise ToolFailed(result.text or "The tool failed without a text")
        return Response(orjson.dumps(result.value), media_type="application/json")

    async def _check_tool(self, slug: str, tool: str, timeout: float) -> None:
        """Tell a tool that failed from one that does not exist: servers report both alike."""
        try:
            known = await self._relay.check(slug).pick().has_tool(tool, timeout)
        except (RpcError, Unreachable, Unavailable, UpstreamFailed, UpstreamTimedOut):
            return  # the tool's own answer is what counts
        if not known:
            raise NotFound("tool", tool)


def _arguments(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        arguments = read_json(body)
    except RpcError as error:
        raise InvalidRequest(f"The body is not JSON: {error.message}") from None
    if not isinstance(arguments, dict):
        raise InvalidRequest("The body must be a JSON object with the tool's arguments")
    return arguments


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _platform_error(error: RpcError, tool: str) -> Exception:
    if error.code == METHOD_NOT_FOUND:
        return NotFound("tool", tool)
    if error.code in (INVALID_PARAMS, INVALID_REQUEST):
        return ToolFailed(error.message)
    if error.code == REQUEST_TIMEOUT:
        return UpstreamTimedOut(error.message)
    if isinstance(error.data, dict) and error.data.get("error_code") == AuthorizationNeeded.code:
        return AuthorizationNeeded(error.data["mcp_id"], error.data["slug"], error.data["server"])
    return UpstreamFailed(error.message, rpc_code=error.code)
