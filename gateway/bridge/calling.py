"""Smart calls, batches of them, and direct calls."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.responses import Response

from gateway.bridge.envelope import (
    Refusal,
    read_order,
    refusal_of,
    service_missing,
    succeeded,
    tool_missing,
    unavailable,
    validated,
)
from gateway.bridge.finding import Finder
from gateway.bridge.routing import Question
from gateway.calls import Calls
from gateway.front.incoming import check_method, read_json
from gateway.relay import Relay
from gateway.requests import RelayedRequest
from gateway.results import ToolResult
from gateway.routes import LiveRoute
from mcp_platform.contracts.bridge import Batch, CallData, DirectCall, SmartCall
from mcp_platform.contracts.calls import Via
from mcp_platform.errors import NotFound, PlatformError, Unavailable
from mcp_platform.gateway_settings import GatewaySettings
from mcp_platform.wire import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PER_CLIENT_METHODS,
    Era,
    RpcError,
)

_SHORTEST: Final = 0.001


@dataclass(frozen=True)
class _Span:
    """How long something may take, as it was asked for and as a moment."""

    milliseconds: int
    deadline: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def over(self) -> Refusal:
        """Say that the time is over."""
        details = {"timeout": self.milliseconds}
        return Refusal("REQUEST_TIMEOUT", 408, f"No answer within {self.milliseconds} ms", details)


class Calling:
    """Calls tools for the bridge, by the path that everybody's calls take."""

    def __init__(self, own: GatewaySettings, relay: Relay, calls: Calls, finder: Finder) -> None:
        self._own = own
        self._relay = relay
        self._calls = calls
        self._finder = finder
        self._longest = int(own.call_timeout * 1000)

    async def smart(self, question: Question) -> Response:
        """Call the tool of whichever service has it."""
        order = read_order(SmartCall, question.body)
        data = await self._call(order, question, self._span(order.timeout), question.request_id)
        return succeeded(data.wire(), question.request_id)

    async def batch(self, question: Question) -> Response:
        """Call several tools, at once or in order; each has its own result, in the order of the calls."""
        order = read_order(Batch, question.body)
        if len(order.calls) > self._own.batch_calls:
            details = {"field": "calls", "limit": self._own.batch_calls}
            message = f"calls: at most {self._own.batch_calls} calls in a batch"
            raise Refusal("INVALID_REQUEST", 400, message, details)
        span, started = self._span(order.timeout), time.monotonic()
        for call in order.calls:
            self._span(call.timeout)  # one that asks for too much spoils the batch before it begins
        turn = asyncio.Semaphore(self._own.batch_parallel if order.parallel else 1)

        async def one(call: SmartCall) -> dict[str, Any]:
            try:
                data = await self._in_turn(call, question, span, turn)
            except Refusal as refusal:
                return {"success": False, "toolName": call.tool_name, "error": refusal.wire()}
            return {"success": True, "toolName": call.tool_name, "data": data.wire()}

        results = await _gathered([asyncio.ensure_future(one(call)) for call in order.calls])
        succeeded_calls = sum(result["success"] for result in results)
        data = {
            "results": results,
            "total": len(results),
            "successful": succeeded_calls,
            "failed": len(results) - succeeded_calls,
            "executionTime": round((time.monotonic() - started) * 1000),
        }
        return succeeded(data, question.request_id)

    async def direct(self, question: Question) -> Response:
        """Relay a JSON-RPC request to a service; its answer, or its error, as JSON-RPC."""
        live = self.service(question, question.names["serviceName"])
        try:
            raw = read_json(question.body)
        except RpcError as error:
            return _rpc(None, {"error": error.wire()}, 400)
        number = raw.get("id") if isinstance(raw, dict) else None
        try:
            order = validated(DirectCall, raw)
            check_method(order.method)
        except (Refusal, RpcError) as error:
            number = number if isinstance(number, str | int) else None
            return _rpc(number, {"error": RpcError(INVALID_REQUEST, error.message).wire()}, 400)
        request = RelayedRequest(
            slug=live.route.slug,
            method=order.method,
            params=order.params,
            # A caller without a stream cannot be asked for input, so it counts as an older client.
            era=Era.LEGACY,
            timeout=self._own.call_timeout,
            principal=question.principal,
            client_headers=question.headers,
            via=Via.BRIDGE,
            request_id=question.request_id,
        )
        try:
            result = await self._relayed(request)
        except RpcError as error:
            return _rpc(order.id, {"error": error.wire()})
        except PlatformError as error:
            raise self._refusal(error, request, live) from error
        return _rpc(order.id, {"result": result})

    def service(self, question: Question, name: str) -> LiveRoute:
        """Give a service that the caller may use.

        Raises:
            Refusal: There is none of this name.
        """
        try:
            live = self._relay.find(name)
        except NotFound:
            raise service_missing(name) from None
        if not question.principal.may_use(live.route.mcp_id):
            raise service_missing(name)
        return live

    async def _relayed(self, request: RelayedRequest) -> dict[str, Any]:
        """Answer what concerns the gateway, and relay all else."""
        if request.method == "ping":
            return {}
        if request.method == "initialize":
            server = await self._relay.describe(request.slug, request.timeout, None)
            return server.initialized((request.params or {}).get("protocolVersion"))
        if request.method in PER_CLIENT_METHODS or request.method.startswith("notifications/"):
            raise RpcError(METHOD_NOT_FOUND, "Method not found", request.method)
        return await self._calls.send(request)

    def _span(self, milliseconds: int | None) -> _Span:
        chosen = self._longest if milliseconds is None else milliseconds
        if chosen > self._longest:
            details = {"field": "timeout", "limit": self._longest}
            raise Refusal("INVALID_REQUEST", 400, f"timeout: at most {self._longest} ms", details)
        return _Span(chosen, time.monotonic() + chosen / 1000)

    async def _in_turn(
        self, call: SmartCall, question: Question, batch: _Span, turn: asyncio.Semaphore
    ) -> CallData:
        try:
            async with asyncio.timeout(max(batch.left, 0)):
                await turn.acquire()
        except TimeoutError:
            raise batch.over() from None
        try:
            # What a call may take begins with its turn.
            span = min(self._span(call.timeout), batch, key=_deadline)
            return await self._call(call, question, span, call.metadata.request_id or question.request_id)
        finally:
            turn.release()

    async def _call(self, order: SmartCall, question: Question, span: _Span, request_id: str) -> CallData:
        started = time.monotonic()
        try:
            async with asyncio.timeout(max(span.left, 0)):
                live = await self._finder.find(question.principal, order.tool_name, span.left)
        except TimeoutError:
            raise span.over() from None
        if live is None:
            raise tool_missing(order.tool_name)
        request = RelayedRequest(
            slug=live.route.slug,
            method="tools/call",
            params={"name": order.tool_name, "arguments": order.arguments},
            era=Era.LEGACY,
            timeout=max(span.left, _SHORTEST),
            principal=question.principal,
            client_headers=question.headers,
            via=Via.SMART,
            request_id=request_id,
        )
        try:
            result = ToolResult(await self._calls.send(request))
        except (PlatformError, RpcError) as error:
            raise self._refusal(error, request, live) from error
        instance = _instance(live, request)
        if result.is_error:
            raise _failure(result, request, live, instance)
        return CallData(
            result=_rendered(result),
            execution_time=round((time.monotonic() - started) * 1000),
            service_instance=instance,
        )

    def _refusal(self, error: PlatformError | RpcError, request: RelayedRequest, live: LiveRoute) -> Refusal:
        route = live.route
        if isinstance(error, Unavailable) and error.fields.get("part") == route.slug:
            return unavailable(route, error)
        refusal = refusal_of(error)
        refusal.details = {"serviceName": route.slug, **refusal.details}
        if request.tool is not None:
            refusal.details["toolName"] = request.tool
        return refusal


def _failure(result: ToolResult, request: RelayedRequest, live: LiveRoute, instance: str) -> Refusal:
    """Say that a tool failed; or that its arguments do not suit it, so that no instance was asked."""
    details = {"toolName": str(request.tool), "serviceName": live.route.slug}
    text = result.text or "The tool failed without a text"
    if request.replica_id is None:
        return Refusal("INVALID_REQUEST", 400, text, {"field": "arguments", **details})
    return Refusal("TOOL_ERROR", 422, text, {**details, "serviceInstance": instance})


def _deadline(span: _Span) -> float:
    return span.deadline


async def _gathered(tasks: list["asyncio.Future[dict[str, Any]]"]) -> list[dict[str, Any]]:
    """Give all results; none goes on when nobody waits any more."""
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _instance(live: LiveRoute, request: RelayedRequest) -> str:
    """Name the instance that answered, by its service and port."""
    url = next((u.address.url for u in live.upstreams if u.address.replica_id == request.replica_id), "")
    port = port_of(url)
    return f"{live.route.slug}:{port}" if port else live.route.slug


def port_of(url: str) -> int:
    """Give the port of an address; 0 where it cannot be read, as of one with a secret in it."""
    try:
        parts = urlsplit(url)
        return parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return 0


def _rendered(result: ToolResult) -> Any:
    if result.text:
        return result.text
    structured = result.raw.get("structuredContent")
    return result.content if structured is None else structured


def _rpc(number: str | int | None, body: dict[str, Any], status: int = 200) -> Response:
    message = {"jsonrpc": "2.0", "id": number, **body}
    return Response(orjson.dumps(message), status, media_type="application/json")
