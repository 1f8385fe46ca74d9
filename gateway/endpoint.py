"""What an MCP client's request means: answered here where it concerns the gateway, relayed otherwise."""

import math
from collections.abc import Mapping
from typing import Any, Final

from gateway.calls import Calls
from gateway.relay import Relay
from gateway.requests import ClientRequest, Refused, RelayedRequest
from mcp_platform.errors import (
    NotFound,
    PayloadTooLarge,
    PlatformError,
    RateLimited,
    Unavailable,
    UpstreamTimedOut,
)
from mcp_platform.wire import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    Era,
    RpcError,
)

_LISTEN: Final = "subscriptions/listen"
"""It is answered when the client or the server ends it."""
_ONLY_LEGACY: Final = frozenset(
    {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
)
_ONLY_MODERN: Final = frozenset({"server/discover", _LISTEN})


class Endpoint:
    """Answers the requests of MCP clients to one server."""

    def __init__(self, relay: Relay, calls: Calls, call_timeout: float) -> None:
        self._relay = relay
        self._calls = calls
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
            return await self._calls.send(
                RelayedRequest(
                    slug=request.endpoint,
                    method=request.method,
                    params=request.params,
                    era=request.era,
                    timeout=math.inf if request.method == _LISTEN else self._timeout,
                    principal=request.principal,
                    channel=request.channel,
                    headers=_parameter_headers(request.headers),
                    client_headers=request.headers,
                    session=request.session,
                )
            )
        except (Unavailable, RateLimited) as error:
            raise Refused(rpc_error(error), error.status, error.headers) from error
        except PlatformError as error:
            raise rpc_error(error) from error

    async def _own_answer(self, request: ClientRequest) -> dict[str, Any] | None:
        method, modern = request.method, request.era is Era.MODERN
        opening = "server/discover" if modern else "initialize"
        if method == opening:
            own = self._calls.own_headers(request.endpoint, request.principal)
            server = await self._relay.describe(request.endpoint, self._timeout, request.session, own)
            return server.discovered() if modern else server.initialized(_version(request.params))
        if method == "ping" and not modern:
            return {}
        if method in (_ONLY_LEGACY if modern else _ONLY_MODERN):
            raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
        return None


def _version(params: dict[str, Any] | None) -> object:
    return (params or {}).get("protocolVersion")


def _parameter_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Pick the headers that repeat arguments: the upstream compares them with the body."""
    return {name: value for name, value in headers.items() if name.startswith("mcp-param-")}


def rpc_error(error: PlatformError) -> RpcError:
    """Give the JSON-RPC error for an error of the platform."""
    if isinstance(error, UpstreamTimedOut):
        code = REQUEST_TIMEOUT
    elif isinstance(error, NotFound):
        code = METHOD_NOT_FOUND
    elif isinstance(error, PayloadTooLarge):
        code = INVALID_REQUEST
    else:
        code = INTERNAL_ERROR
    return RpcError(code, str(error.detail), {"error_code": error.code, **error.fields})
