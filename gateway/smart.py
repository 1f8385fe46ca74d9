"""`/mcp/smart`: all tools of the platform behind three, so that a client need not be told of thousands."""

import time
from typing import Any, Final

import orjson

from gateway.calls import Calls
from gateway.discovery.discovery import Discovery, FoundTool
from gateway.endpoint import rpc_error
from gateway.openings import opening
from gateway.requests import ClientRequest, Refused, RelayedRequest
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.calls import Via
from mcp_platform.errors import NotFound, PayloadTooLarge, PlatformError, RateLimited, Unavailable
from mcp_platform.wire import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Era,
    RpcError,
    translate_result,
)

SMART: Final = "smart"
"""The name of the endpoint."""
_TITLE: Final = "MCP Platform"
_INSTRUCTIONS: Final = (
    "Many tools are behind this server. Search for one with find_tools by what it should do, look at its"
    " parameters with describe_tool, and use it with call_tool."
)
_FOUND: Final = 5
_MOST_FOUND: Final = 20
_SHORTENED: Final = 200
"""Characters of a description among several tools."""
_NAMED: Final = {"type": "string", "description": "The tool's name, as find_tools gives it"}

DEFINITIONS: Final[list[dict[str, Any]]] = [
    {
        "name": "find_tools",
        "title": "Find tools",
        "description": "Find tools by what they should do, described in plain words (English or Chinese)."
        " Gives the best ones with name, description and arguments; `?` marks optional arguments.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What the tool should do"},
                "limit": {"type": "integer", "minimum": 1, "maximum": _MOST_FOUND, "default": _FOUND},
            },
            "required": ["query"],
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": "describe_tool",
        "title": "Describe a tool",
        "description": "Give the whole definition of one tool, with the JSON Schema of its arguments.",
        "inputSchema": {"type": "object", "properties": {"name": _NAMED}, "required": ["name"]},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": "call_tool",
        "title": "Call a tool",
        "description": "Call a tool that find_tools found, and give its result.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "name": _NAMED,
                "arguments": {"type": "object", "description": "As the tool's schema wants them"},
            },
            "required": ["name"],
        },
    },
]


class SmartEndpoint:
    """Answers the requests of MCP clients at `/mcp/smart`."""

    def __init__(self, discovery: Discovery, calls: Calls, call_timeout: float) -> None:
        self._discovery = discovery
        self._calls = calls
        self._timeout = call_timeout
        self._tools = {
            "find_tools": self._find,
            "describe_tool": self._describe,
            "call_tool": self._call,
        }

    async def answer(self, request: ClientRequest) -> dict[str, Any]:
        """Answer one request with its result.

        Raises:
            RpcError: The error to answer with.
        """
        method, era = request.method, request.era
        if method == "tools/call":
            try:
                return await self._use(request)
            except (PayloadTooLarge, RateLimited, Unavailable) as error:
                raise Refused(rpc_error(error), error.status, error.headers) from error
            except PlatformError as error:
                raise rpc_error(error) from error
        if method == "tools/list":
            return translate_result(method, {"tools": DEFINITIONS}, Era.LEGACY, era)
        if method == ("server/discover" if era is Era.MODERN else "initialize"):
            wanted = (request.params or {}).get("protocolVersion")
            return opening(era, wanted, SMART, _TITLE, {"tools": {}}, _INSTRUCTIONS)
        if method == "ping" and era is Era.LEGACY:
            return {}
        raise RpcError(METHOD_NOT_FOUND, "Method not found", method)

    async def _use(self, request: ClientRequest) -> dict[str, Any]:
        params = request.params or {}
        if request.principal is None:
            raise NotFound("path", "/mcp/smart")
        tool = self._tools.get(str(params.get("name")))
        if tool is None:
            raise RpcError(
                INVALID_PARAMS, f"Unknown tool: {params.get('name')}; there are {', '.join(self._tools)}"
            )
        arguments = params.get("arguments")
        return await tool(request, request.principal, arguments if isinstance(arguments, dict) else {})

    async def _find(
        self, request: ClientRequest, caller: Principal, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        query, limit = arguments.get("query"), arguments.get("limit", _FOUND)
        if not isinstance(query, str) or not query.strip():
            return _told(request, "query is missing: say in plain words what the tool should do", wrong=True)
        if isinstance(limit, bool) or not isinstance(limit, int):
            limit = _FOUND
        found = await self._discovery.search(caller, query, min(max(limit, 1), _MOST_FOUND))
        if not found:
            return _told(request, "There are no tools that you may call")
        return _told(request, _json([_summary(each) for each in found]))

    async def _describe(
        self, request: ClientRequest, caller: Principal, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        found = await self._discovery.find(caller, str(arguments.get("name", "")))
        if found is None:
            return await self._unknown(request, caller, arguments)
        return _told(request, _json({**found.tool, "name": found.shown, "server": found.slug}))

    async def _call(
        self, request: ClientRequest, caller: Principal, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        found = await self._discovery.find(caller, str(arguments.get("name", "")))
        if found is None:
            return await self._unknown(request, caller, arguments)
        given = arguments.get("arguments", {})
        if not isinstance(given, dict):
            return _told(
                request, "arguments has to be an object; see describe_tool for its schema", wrong=True
            )
        return await self._calls.send(
            RelayedRequest(
                slug=found.slug,
                method="tools/call",
                params={**(request.params or {}), "name": found.tool["name"], "arguments": given},
                era=request.era,
                timeout=self._timeout,
                principal=caller,
                channel=request.channel,
                client_headers=request.headers,
                session=request.session,
                via=Via.SMART,
            )
        )

    async def _unknown(
        self, request: ClientRequest, caller: Principal, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """Say that there is no such tool, so that a model may choose another one.

        Raises:
            Unavailable: There is, at a server that cannot be called now.
        """
        name = str(arguments.get("name", ""))[:200]
        if (left_out := self._discovery.left_out(caller, name)) is not None:
            raise left_out.unavailable(time.monotonic())
        similar = await self._discovery.similar(caller, name, 3) if name else []
        hint = f" Did you mean {', '.join(similar)}?" if similar else ""
        return _told(request, f"There is no tool {name!r}.{hint} Search with find_tools.", wrong=True)


def _summary(found: FoundTool) -> dict[str, Any]:
    description = str(found.tool.get("description") or found.tool.get("title") or "")
    text = " ".join(description.split())
    if len(text) > _SHORTENED:
        text = f"{text[: _SHORTENED - 1].rsplit(' ', 1)[0]}…"
    return {
        "name": found.shown,
        "server": found.slug,
        "description": text,
        "arguments": _signature(found.tool.get("inputSchema")),
    }


def _signature(schema: object) -> str:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(properties, dict):
        return ""
    required = schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    return ", ".join(name if name in needed else f"{name}?" for name in properties)


def _told(request: ClientRequest, text: str, *, wrong: bool = False) -> dict[str, Any]:
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if wrong:
        result["isError"] = True
    return translate_result(request.method, result, Era.LEGACY, request.era)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
