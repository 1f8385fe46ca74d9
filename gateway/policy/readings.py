"""What one replica offers, whatever the others do."""

import time
from collections.abc import Mapping
from typing import Any, Final

from gateway.upstreams.upstream import Upstream
from mcp_platform.errors import UpstreamFailed
from mcp_platform.wire import METHOD_NOT_FOUND, Era, RpcError

_MAX_PAGES: Final = 100
_SHORTEST: Final = 0.001


async def offered(
    upstream: Upstream, timeout: float, headers: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Read all pages of a replica's list of tools; the definitions by name.

    Args:
        upstream: The replica.
        timeout: Seconds for all pages.
        headers: What a server wants to see that knows its callers.

    Raises:
        RpcError: The server's own error.
        Unreachable: It could not be reached.
        UpstreamFailed: It broke the protocol, or its list does not end.
        UpstreamTimedOut: It did not answer in time.
    """
    deadline = time.monotonic() + timeout
    found: dict[str, dict[str, Any]] = {}
    params: dict[str, Any] | None = None
    for _ in range(_MAX_PAGES):
        left = max(deadline - time.monotonic(), _SHORTEST)
        try:
            page = await upstream.request("tools/list", params, Era.LEGACY, left, headers=headers)
        except RpcError as error:
            if error.code == METHOD_NOT_FOUND:
                return found
            raise
        tools = page.get("tools")
        for tool in tools if isinstance(tools, list) else []:
            if isinstance(tool, dict) and isinstance(tool.get("name"), str):
                found[tool["name"]] = tool
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str):
            return found
        params = {"cursor": cursor}
    raise UpstreamFailed("The MCP server's list of tools does not end")
