"""A plain HTTP API, seen from the gateway: it answers as an MCP server of 2026-07-28 would."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.rest_upstreams.requests import BadArguments, Request
from gateway.rest_upstreams.responses import failed, result_of
from gateway.upstreams.http import Http, Limits, Site, head
from mcp_platform.contracts.deployments import Route
from mcp_platform.contracts.mcps import McpConfig, ToolConfig
from mcp_platform.contracts.rest import ToolRequest
from mcp_platform.errors import UpstreamFailed
from mcp_platform.variables import Unresolvable, Variables
from mcp_platform.wire import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    SERVER_INFO_KEY,
    Era,
    RpcError,
    ServerDescription,
)

_KEPT: Final[tuple[str, ...]] = ("title", "annotations", "outputSchema", "icons", "_meta")
"""Fields of a tool that its author may add, as MCP knows them."""
_REFUSED: Final = frozenset({401, 403})
_LISTED: Final = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


@dataclass(frozen=True)
class ApiTarget:
    """An API as it is configured, with what its `${NAME}` stand for."""

    slug: str
    version: str
    """Of the MCP."""
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    tools: list[ToolConfig]
    variables: Variables = field(repr=False)

    @classmethod
    def read(
        cls,
        route: Route,
        config: McpConfig,
        url: str,
        variables: Variables,
        headers: Mapping[str, str],
    ) -> "ApiTarget":
        """Take what concerns the API out of a configuration; its URL is resolved already.

        Raises:
            Unresolvable: A header refers to what is no secret and not exposed, or cannot be sent.
        """
        tools = [tool for tool in config.tools if tool.request is not None]
        resolved = variables.resolve_headers(headers)
        return cls(route.slug, route.version, url, resolved, tools, variables)


class RestApi:
    """Answers MCP requests with the help of an API.

    A tool that refers to what is no secret, and not exposed, fails by itself: the others can be called.
    """

    def __init__(self, http: Http, target: ApiTarget, limits: Limits, *, private: bool) -> None:
        self._http = http
        self._limits = limits
        self._private = private
        self._mask = target.variables.mask
        self._tools = {tool.name: tool for tool in target.tools}
        self._requests: dict[str, Request] = {}
        self._unmade: dict[str, str] = {}
        for tool in target.tools:
            try:
                request = Request(tool, target.url, target.headers, target.variables)
                self._requests[tool.name] = request
            except Unresolvable as unknown:
                self._unmade[tool.name] = str(unknown)
        self._listed = [_definition(tool) for tool in target.tools]
        self.outdated = False
        """Whether a credential was refused: another may be stored by now."""
        info = {"name": target.slug, "version": target.version}
        raw = {
            "supportedVersions": [MODERN_VERSION],
            "capabilities": {"tools": {}},
            "_meta": {SERVER_INFO_KEY: info},
            **_LISTED,
        }
        self.description = ServerDescription(Era.MODERN, MODERN_VERSION, raw)

    def lacks(self, method: str, params: dict[str, Any] | None) -> bool:
        """Tell whether a request needs a secret that was not there."""
        return bool(self._unmade) and method == "tools/call" and (params or {}).get("name") in self._unmade

    async def request(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Give the result of one request.

        Raises:
            RpcError: There is no such method, or no such tool.
            Unreachable: The API could not be reached.
            UpstreamFailed: It broke, or answered with a status of 500 or above.
            UpstreamTimedOut: It did not answer in time.
        """
        if method == "server/discover":
            return self.description.raw
        if method == "tools/list":
            return {**_LISTED, "tools": self._listed}
        if method != "tools/call":
            raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
        name, arguments = (params or {}).get("name"), (params or {}).get("arguments") or {}
        if name not in self._tools or not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {name}")
        return await self._call(str(name), arguments, timeout)

    async def _call(self, name: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
        if name in self._unmade:
            return failed(f"The request of the tool cannot be made: {self._unmade[name]}")
        request, given = self._requests[name], self._tools[name].request or ToolRequest()
        try:
            outgoing = request.fill(arguments)
        except BadArguments as reason:
            return failed(str(reason))
        site = Site(outgoing.url, {}, private=self._private)
        response = await self._http.send(
            site,
            request.method,
            head(outgoing.headers),
            outgoing.body,
            self._limits,
            min(timeout, given.timeout or timeout),
            safe=request.safe,
        )
        if response.body is None:
            response.close()
            raise UpstreamFailed("The API answered with a stream of events, which no tool can give")
        self.outdated = response.status in _REFUSED
        kind = response.header("content-type") or ""
        return result_of(name, response.status, kind, response.body, given.response, self._mask)


def _definition(tool: ToolConfig) -> dict[str, Any]:
    """Write a tool as MCP lists it; what its method promises stands in its annotations."""
    request = tool.request or ToolRequest()
    extra = tool.model_extra or {}
    kept: dict[str, Any] = {name: extra[name] for name in _KEPT if name in extra}
    own = kept.get("annotations")
    hints = {**_hints(request.method), **(own if isinstance(own, dict) else {})}
    return {
        "name": tool.name,
        "description": tool.description or f"{request.method} {request.path}",
        "inputSchema": tool.input_schema,
        **kept,
        "annotations": hints,
    }


def _hints(method: str) -> dict[str, bool]:
    """Say what HTTP promises of a method (RFC 9110, section 9.2)."""
    if method in ("GET", "OPTIONS"):
        return {"readOnlyHint": True, "openWorldHint": True}
    return {"readOnlyHint": False, "idempotentHint": method in ("PUT", "DELETE"), "openWorldHint": True}
