"""The bridge's door: credentials, scopes and limits, and its own words for what goes wrong."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.bodies import read_body
from gateway.bridge import routing
from gateway.bridge.actuator import Actuator
from gateway.bridge.administration import Administration
from gateway.bridge.calling import Calling
from gateway.bridge.counting import Counting
from gateway.bridge.denials import Denials
from gateway.bridge.describing import Describing
from gateway.bridge.envelope import Refusal, failed, plain, refusal_of, request_id_in
from gateway.bridge.routing import PERMISSIONS, BridgeRoute, BridgeRoutes, Question
from gateway.credentials import Credentials
from gateway.limits import RateLimits
from mcp_platform.client_address import client_address
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.bridge import UpOrDown
from mcp_platform.errors import (
    Forbidden,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PlatformError,
    Unauthorized,
)
from mcp_platform.names import RouteClass
from mcp_platform.request_context import current_request_id, read_on
from mcp_platform.settings import Settings
from mcp_platform.wire import RpcError

log = structlog.get_logger(__name__)

_READ, _WRITE, _ADMIN = routing.Scope.READ, routing.Scope.WRITE, routing.Scope.ADMIN
_INSTANCE: Final = "/mcp/bridge/admin/services/{serviceName}/instances/{instanceId}"
_CONNECTIONS: Final = "/mcp/bridge/admin/connections"
_OWN: Final = ("/mcp/bridge", "/mcp/smart/call", "/mcp/smart/batch")


class Bridge:
    """Answers everything under `/mcp/bridge/`, smart calls and batches, and `/actuator/health`."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        rates: RateLimits,
        check_origin: Callable[[Mapping[str, str]], None],
        calling: Calling,
        describing: Describing,
        counting: Counting,
        administration: Administration,
        actuator: Actuator,
        denials: Denials,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._rates = rates
        self._check_origin = check_origin
        self._actuator = actuator
        self._denials = denials
        self.routes = BridgeRoutes(_table(calling, describing, counting, administration))

    def owns(self, path: str) -> bool:
        """Tell whether a path is the bridge's to answer, whatever it is."""
        return path.startswith(_OWN) and any(path == own or path.startswith(f"{own}/") for own in _OWN)

    async def health(self) -> Response:
        """Answer `/actuator/health`, which monitoring asks without a credential."""
        answer = await self._actuator.health()
        response = plain(answer)
        response.status_code = 200 if answer.status is UpOrDown.UP else 503
        return response

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = _Asked(current_request_id())
        try:
            response = await self._answer(scope, receive, asked)
        except (Refusal, PlatformError, RpcError) as error:
            if isinstance(error, PayloadTooLarge):
                await read_on(receive)
            refusal = refusal_of(error)
            await self._note_denial(scope, asked, refusal)
            response = failed(refusal, asked.request_id)
        except Exception:
            log.exception("request_failed", path=scope["path"])
            refusal = Refusal("INTERNAL_ERROR", 500, "An internal error occurred")
            response = failed(refusal, asked.request_id)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, asked: "_Asked") -> Response:
        headers = Headers(scope=scope)
        self._check_origin(headers)
        address = client_address(scope, self._settings.api.trusted_proxies)
        principal = await self._authorize(scope, headers, address, asked)
        route, names = self.routes.find(scope["method"], scope["path"])
        _check_scope(principal, route)
        body = b""
        if route.method in {"POST", "PUT"}:
            body = await read_body(receive, self._settings.gateway.max_body_bytes)
            asked.request_id = request_id_in(body, asked.request_id)
        query = QueryParams(scope["query_string"])
        question = Question(principal, names, query, body, asked.request_id, address, headers)
        return await _while_connected(receive, route, question)

    async def _note_denial(self, scope: Scope, asked: "_Asked", refusal: Refusal) -> None:
        try:
            route, names = self.routes.find(scope["method"], scope["path"])
        except (NotFound, MethodNotAllowed):
            return
        address = client_address(scope, self._settings.api.trusted_proxies)
        await self._denials.record(route, names, refusal, asked.principal, address, asked.request_id)

    async def _authorize(self, scope: Scope, headers: Headers, address: str, asked: "_Asked") -> Principal:
        kind = self.routes.kind(scope["path"])
        try:
            principal = await self._credentials.authenticate(headers)
        except Unauthorized:
            await self._rates.charge_address(scope, kind, address)
            raise
        asked.principal = principal
        await self._rates.charge(scope, kind, principal)
        return principal


class _Asked:
    """What the request is called, which its body may name, and who makes it, once that is known."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.principal: Principal | None = None


def _check_scope(principal: Principal, route: BridgeRoute) -> None:
    permission = PERMISSIONS[route.scope]
    if permission not in principal.permissions:
        raise Forbidden(permission, f"This needs the scope {route.scope}: the permission {permission}")
    if principal.endpoint is not None:
        raise Forbidden(permission, "This credential is good for one MCP endpoint alone")


async def _while_connected(receive: Receive, route: BridgeRoute, question: Question) -> Response:
    """Give the answer; when the caller leaves, nothing goes on for it."""
    answering = asyncio.ensure_future(route.handler(question))
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            return Response(status_code=499)  # nobody reads it: the caller left
        answer = answering.result()
    finally:
        answering.cancel()
        gone.cancel()
        await asyncio.gather(answering, gone, return_exceptions=True)
    return answer if isinstance(answer, Response) else plain(answer)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _table(
    calling: Calling, describing: Describing, counting: Counting, administration: Administration
) -> list[BridgeRoute]:
    """List all routes: each with its scope, and the limit that it counts in."""
    query = RouteClass.BRIDGE_QUERY
    calls = [
        BridgeRoute("POST", "/mcp/smart/call", _WRITE, RouteClass.BRIDGE_SMART, calling.smart),
        BridgeRoute("POST", "/mcp/smart/batch", _WRITE, RouteClass.BRIDGE_BATCH, calling.batch),
        BridgeRoute(
            "POST", "/mcp/bridge/route/{serviceName}", _WRITE, RouteClass.BRIDGE_DIRECT, calling.direct
        ),
    ]
    queries = [
        BridgeRoute("GET", f"/mcp/bridge/{path}", _READ, query, handler)
        for path, handler in (
            ("services", describing.services),
            ("services/{serviceName}", describing.service),
            ("tools", describing.tools),
            ("health/{serviceName}", describing.health),
            ("connections/status", counting.connections),
            ("stats", counting.stats),
            ("metrics/tools", counting.tools),
            ("metrics/loadbalancing", counting.balancing),
            ("config", administration.config),
        )
    ]
    changes = [
        BridgeRoute(method, path, _ADMIN, query, handler, f"gateway.{action}", resource)
        for method, path, handler, action, resource in (
            ("PUT", "/mcp/bridge/config", administration.change_config, "change_config", "configuration"),
            ("POST", f"{_INSTANCE}/offline", administration.offline, "take_offline", "replica"),
            ("POST", f"{_INSTANCE}/online", administration.online, "put_online", "replica"),
            ("PUT", f"{_INSTANCE}/weight", administration.weigh, "change_weight", "replica"),
            ("POST", f"{_CONNECTIONS}/reset", administration.reset, "reset_connections", "connections"),
            ("POST", f"{_CONNECTIONS}/cleanup", administration.cleanup, "cleanup_connections", "connections"),
        )
    ]
    return calls + queries + changes
