"""What an MCP client's request means: answered here where it concerns the gateway, relayed otherwise."""

from collections.abc import Mapping
from typing import Any

from gateway.downstream import ClientRequest
from gateway.relay import Relay, RelayedRequest
from mcp_platform.errors import NotFound, PlatformError, UpstreamTimedOut
from mcp_platform.wire import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    PER_CLIENT_METHODS,
    REQUEST_TIMEOUT,
    Era,
    RpcError,
)


class Endpoint:
    """Answers the requests of MCP clients.

    `logging/setLevel` and subscriptions are refused with the specification's error, and not offered
    among the capabilities: an upstream's connection is shared by all clients.
    """

    def __init__(self, relay: Relay, call_timeout: float) -> None:
        self._relay = relay
        self._timeout = call_timeout

    async def answer(self, request: ClientRequest) -> dict[str, Any]:
        """Answer one request with its result.

        Raises:
            RpcError: The error to answer with.
        """
        try:
            own = await self._own_answer(request)
            if own is not None:
                return own
            return await self._relay.send(
                RelayedRequest(
                    slug=request.slug,
                    method=request.method,
                    params=request.params,
                    era=request.era,
                    timeout=self._timeout,
                    listener=request.notify,
                    headers=_parameter_headers(request.headers),
                    stickiness=request.stickiness,
                )
            )
        except PlatformError as error:
            raise _rpc_error(error) from error

    async def _own_answer(self, request: ClientRequest) -> dict[str, Any] | None:
        method, modern = request.method, request.era is Era.MODERN
        opening = "server/discover" if modern else "initialize"
        if method == opening:
            server = await self._relay.describe(request.slug, self._timeout, request.stickiness)
            return server.discovered() if modern else server.initialized(_version(request.params))
        if method == "ping" and not modern:
            return {}
        if method in PER_CLIENT_METHODS or method in ("server/discover", "initialize", "ping"):
            raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
        return None


def _version(params: dict[str, Any] | None) -> object:
    return (params or {}).get("protocolVersion")


def _parameter_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Pick the headers that repeat arguments: the upstream compares them with the body."""
    return {name: value for name, value in headers.items() if name.startswith("mcp-param-")}


def _rpc_error(error: PlatformError) -> RpcError:
    if isinstance(error, UpstreamTimedOut):
        code = REQUEST_TIMEOUT
    elif isinstance(error, NotFound):
        code = METHOD_NOT_FOUND
    else:
        code = INTERNAL_ERROR
    return RpcError(code, str(error.detail), {"error_code": error.code, **error.fields})
