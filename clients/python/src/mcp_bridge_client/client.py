"""The client: a thin layer over one HTTP request for each call."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from mcp_bridge_client.errors import BridgeError, ConnectionFailed, error_of
from mcp_bridge_client.models import (
    BatchOutcome,
    Call,
    ServiceInfo,
    Tool,
    ToolAnswer,
    milliseconds,
)

_GRACE = 5.0
"""Seconds by which we wait longer than the bridge does: its own error says more than ours."""


class _NoRedirects(HTTPRedirectHandler):
    """Refuses to follow: a redirect would take the API key to another server."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""
        return None


class McpBridgeClient:
    """Calls tools through the bridge.

    Args:
        base_url: Where the platform's gateway is, such as `https://mcp.example.com`.
        api_key: An API key, or an access token.
        timeout: How long a call may take, unless it says otherwise.
        opener: Sends requests, where proxies or certificates of one's own are needed.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout: timedelta = timedelta(seconds=30),
        opener: OpenerDirector | None = None,
    ) -> None:
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise ValueError("base_url must begin with http:// or https://")
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._timeout = timeout
        self._opener = opener or build_opener(_NoRedirects, ProxyHandler())

    def call_tool(
        self,
        tool_name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: timedelta | None = None,
        request_id: str | None = None,
    ) -> ToolAnswer:
        """Call a tool, of whichever service has it.

        Raises:
            BridgeError: By its code, see `mcp_bridge_client.errors`.
        """
        length = timeout or self._timeout
        body = Call(tool_name, arguments or {}, length).wire()
        if request_id is not None:
            body["metadata"] = {"requestId": request_id}
        answer = self._send("POST", "/mcp/smart/call", body, length)
        return ToolAnswer.read(answer["data"], _request_id(answer))

    def call_batch(
        self, calls: Sequence[Call], *, parallel: bool = True, timeout: timedelta | None = None
    ) -> list[BatchOutcome]:
        """Call several tools: at once, or one after the other. One that fails does not fail the others."""
        length = timeout or self._timeout
        body = {
            "calls": [call.wire() for call in calls],
            "parallel": parallel,
            "timeout": milliseconds(length),
        }
        answer = self._send("POST", "/mcp/smart/batch", body, length)
        request_id = _request_id(answer)
        return [BatchOutcome.read(item, request_id) for item in answer["data"]["results"]]

    def call_service(
        self, service_name: str, method: str, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a JSON-RPC request to one service; its `result`.

        Raises:
            BridgeError: With the code `RPC_ERROR` for the server's own JSON-RPC error.
        """
        body = {"id": 1, "method": method, "params": dict(params or {})}
        path = f"/mcp/bridge/route/{quote(service_name, safe='')}"
        answer = self._send("POST", path, body, self._timeout)
        if "error" in answer:
            error = answer["error"]
            raise BridgeError(str(error.get("message", "")), code="RPC_ERROR", status=200, details=error)
        result: dict[str, Any] = answer["result"]
        return result

    def get_services(self) -> list[ServiceInfo]:
        """List the services that the API key may use."""
        return [ServiceInfo.read(each) for each in self._get("/mcp/bridge/services")["services"]]

    def get_service(self, service_name: str) -> ServiceInfo:
        """Give one service."""
        return ServiceInfo.read(self._get(f"/mcp/bridge/services/{quote(service_name, safe='')}"))

    def get_tools(self, service_name: str | None = None, category: str | None = None) -> list[Tool]:
        """List tools: all, or of one service or category."""
        wanted = {"serviceName": service_name, "category": category}
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        return [Tool.read(each) for each in self._get(f"/mcp/bridge/tools?{query}")["tools"]]

    def get_stats(self) -> dict[str, Any]:
        """Give the platform's figures, as the bridge answers them."""
        return self._get("/mcp/bridge/stats")

    def _get(self, path: str) -> dict[str, Any]:
        return self._send("GET", path, None, self._timeout)

    def _send(self, method: str, path: str, body: Any, length: timedelta) -> dict[str, Any]:
        request = Request(
            self._base_url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Authorization": f"Bearer {self._api_key}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        try:
            with self._opener.open(request, timeout=length.total_seconds() + _GRACE) as response:
                return _read(response.read())
        except HTTPError as error:
            with error:
                raise _refused(error) from None
        except (URLError, OSError) as error:
            raise ConnectionFailed(
                f"The bridge cannot be reached: {error}", code="CONNECTION_FAILED"
            ) from error


class AsyncMcpBridgeClient:
    """The same client for asyncio: each request waits in a thread."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout: timedelta = timedelta(seconds=30),
        opener: OpenerDirector | None = None,
    ) -> None:
        self._client = McpBridgeClient(base_url, api_key, timeout, opener)

    async def call_tool(
        self,
        tool_name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: timedelta | None = None,
        request_id: str | None = None,
    ) -> ToolAnswer:
        """Call a tool, of whichever service has it."""
        return await asyncio.to_thread(
            self._client.call_tool, tool_name, arguments, timeout=timeout, request_id=request_id
        )

    async def call_batch(
        self, calls: Sequence[Call], *, parallel: bool = True, timeout: timedelta | None = None
    ) -> list[BatchOutcome]:
        """Call several tools: at once, or one after the other."""
        return await asyncio.to_thread(self._client.call_batch, calls, parallel=parallel, timeout=timeout)

    async def call_service(
        self, service_name: str, method: str, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a JSON-RPC request to one service; its `result`."""
        return await asyncio.to_thread(self._client.call_service, service_name, method, params)

    async def get_services(self) -> list[ServiceInfo]:
        """List the services that the API key may use."""
        return await asyncio.to_thread(self._client.get_services)

    async def get_service(self, service_name: str) -> ServiceInfo:
        """Give one service."""
        return await asyncio.to_thread(self._client.get_service, service_name)

    async def get_tools(self, service_name: str | None = None, category: str | None = None) -> list[Tool]:
        """List tools: all, or of one service or category."""
        return await asyncio.to_thread(self._client.get_tools, service_name, category)

    async def get_stats(self) -> dict[str, Any]:
        """Give the platform's figures, as the bridge answers them."""
        return await asyncio.to_thread(self._client.get_stats)


def _refused(error: HTTPError) -> BridgeError:
    retry_after = error.headers.get("Retry-After")
    try:
        body = _read(error.read())
    except ConnectionFailed:
        body = {}
    if not isinstance(body.get("error"), dict):
        message = f"What answered with HTTP {error.code} is no bridge"
        return ConnectionFailed(message, code="CONNECTION_FAILED", status=error.code)
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    return error_of(body["error"], error.code, _request_id(body), seconds)


def _read(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ConnectionFailed("What answered is no bridge: no JSON object", code="CONNECTION_FAILED")
    return answer


def _request_id(answer: Mapping[str, Any]) -> str | None:
    metadata = answer.get("metadata")
    given = metadata.get("requestId") if isinstance(metadata, dict) else None
    return given if isinstance(given, str) else None
