"""The door of the gateway: who may come in, and where each path leads."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from gateway.authorization.challenges import Challenges
from gateway.authorization.resources import path_of
from gateway.credentials import Credentials
from gateway.front.incoming import Incoming, header_map
from gateway.front.server import Front, lasts
from gateway.groups.endpoint import PREFIX
from gateway.groups.table import GroupTable
from gateway.limits import RateLimits
from gateway.policy.table import Policies
from gateway.relay import Relay
from gateway.rest import RestCalls
from mcp_platform.client_address import client_address
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.errors import (
    Forbidden,
    ForbiddenOrigin,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PlatformError,
    Unauthorized,
    Unavailable,
)
from mcp_platform.names import RouteClass
from mcp_platform.rendering import render_error, render_unexpected
from mcp_platform.request_context import current_request_id, read_on
from mcp_platform.settings import Settings

log = structlog.get_logger(__name__)

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_RECHECK: Final = 60.0
"""Seconds after which the credential of an open stream is looked at, in case a message was lost."""


class Entry:
    """Lets requests in whose path begins with `/mcp/`, and takes them where they belong."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        rates: RateLimits,
        relay: Relay,
        front: Front,
        rest: RestCalls,
        policies: Policies,
        challenges: Challenges,
        groups: GroupTable,
    ) -> None:
        self._proxies = settings.api.trusted_proxies
        self._max_body = settings.gateway.max_body_bytes
        self._call_timeout = settings.gateway.call_timeout
        self._hosts = _hosts(settings.gateway_url)
        self._credentials = credentials
        self._rates = rates
        self._relay = relay
        self._front = front
        self._rest = rest
        self._policies = policies
        self._challenges = challenges
        self._groups = groups

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._serve(scope, receive, watched)
        except PlatformError as error:
            rendered = self._refusal(scope, error)
            if isinstance(error, PayloadTooLarge):
                await read_on(receive)
        except Exception:
            log.exception("request_failed", path=scope["path"])
            rendered = render_unexpected(current_request_id())
        else:
            return
        status, body, headers = rendered
        if not begun:
            await JSONResponse(body, status, headers)(scope, receive, send)
        elif status == Unauthorized.status:
            # A stream whose credential ended: it ends in order, and the client asks again.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _refusal(self, scope: Scope, error: PlatformError) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Render an error, with where to sign in if the endpoint tells that."""
        status, body, headers = render_error(error, current_request_id())
        shown = not _shows_none(header_map(scope))
        return status, body, headers | self._challenges.of(scope["path"], error, shown)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = header_map(scope)
        self.check_origin(headers)
        principal = await self._authorize(scope, headers)
        endpoint, tool = _place(scope["path"])
        if tool is not None:
            if scope["method"] != "POST":
                raise MethodNotAllowed("POST")
            self._check_key(principal, endpoint)
            response = await self._rest.answer(
                endpoint, tool, receive, self._call_timeout, principal, headers
            )
            await response(scope, receive, send)
            return
        body_limit = self._max_body
        if "/" not in endpoint and endpoint != "smart":
            self._check_key(principal, endpoint)
            body_limit = self._relay.find(endpoint).body_limit
        if principal is not None and scope["method"] == "GET":
            self._check_group(principal, endpoint)
        charge = partial(self._charge, scope, principal)
        incoming = Incoming(scope, receive, send, headers, endpoint, principal, charge)
        work = self._front.serve(incoming, body_limit)
        # A call has a deadline; a stream of events would outlive its credential.
        if not lasts(incoming):
            await work
        elif principal is None:
            await _while(self._until_private(endpoint), work)
        else:
            await _while(self._until_refused(headers, principal, endpoint), work)

    def _check_key(self, principal: Principal | None, slug: str) -> None:
        if principal is None or principal.mcp_ids is None:
            return
        if not principal.may_use(self._relay.find(slug).route.mcp_id):
            raise Forbidden(Permission.TOOLS_CALL, "This API key is not for this MCP")

    def _check_group(self, principal: Principal, endpoint: str) -> None:
        if endpoint.startswith(PREFIX):
            self._groups.find(endpoint.removeprefix(PREFIX), principal)

    async def _until_private(self, slug: str) -> None:
        """Return once an MCP is not public any more."""
        await self._policies.until_private(self._relay.find(slug).route.mcp_id)

    async def _until_refused(self, headers: Mapping[str, str], principal: Principal, endpoint: str) -> None:
        """Return once the credential has ended, or is not good for calls at this endpoint any more."""
        generation = self._credentials.generation
        while principal.expires_at is None or principal.expires_at > datetime.now(UTC):
            ends = principal.expires_at
            left = (ends - datetime.now(UTC)).total_seconds() if ends else _RECHECK
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _RECHECK)):
                    generation = await self._credentials.next_change(generation)
            try:
                present = await self._credentials.authenticate(headers, path_of(principal.endpoint))
            except Unauthorized:
                return
            except Unavailable:
                continue
            if not self._admits(present, endpoint):
                return

    def _admits(self, principal: Principal, endpoint: str) -> bool:
        """Tell whether a caller may call, and listen, at an endpoint."""
        try:
            self._check_group(principal, endpoint)
            if "/" not in endpoint and endpoint != "smart":
                self._check_key(principal, endpoint)
        except (Forbidden, NotFound):
            return False
        return Permission.TOOLS_CALL in principal.permissions

    async def _authorize(self, scope: Scope, headers: Mapping[str, str]) -> Principal | None:
        """Find the caller; None where nobody says who they are, and the MCP is for everybody."""
        try:
            principal = await self._credentials.authenticate(headers, scope["path"])
        except Unauthorized:
            await self._charge(scope, None)
            if _shows_none(headers) and self._is_public(scope["path"]):
                return None
            raise
        await self._charge(scope, principal)
        if Permission.TOOLS_CALL not in principal.permissions:
            raise Forbidden(Permission.TOOLS_CALL)
        return principal

    async def _charge(self, scope: Scope, principal: Principal | None) -> None:
        """Charge a request to its credential, or to its address."""
        if principal is None:
            address = client_address(scope, self._proxies)
            await self._rates.charge_address(scope, RouteClass.CALL, address)
        else:
            await self._rates.charge(scope, RouteClass.CALL, principal)

    def _is_public(self, path: str) -> bool:
        """Tell whether a path is of a public MCP, and of nothing else."""
        try:
            endpoint, _ = _place(path)
            live = self._relay.find(endpoint)
        except NotFound:
            return False
        return self._policies.of(live.route.mcp_id).public

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse pages of other sites. The Host header proves nothing here: DNS rebinding forges it."""
        origin = headers.get("origin")
        if origin is None:
            return
        try:
            known = urlsplit(origin).hostname in self._hosts
        except ValueError:
            known = False
        if not known:
            raise ForbiddenOrigin(origin)


def _shows_none(headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes without any credential; one that does not hold is refused."""
    return "authorization" not in headers and "x-api-key" not in headers


async def _while(until: Coroutine[Any, Any, None], work: Coroutine[Any, Any, None]) -> None:
    """Do the work, as long as the other one has not returned.

    Raises:
        Unauthorized: It has.
    """
    serving, watching = asyncio.create_task(work), asyncio.create_task(until)
    try:
        await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            raise Unauthorized("The credential does not hold any more")
        serving.result()
    finally:
        serving.cancel()
        watching.cancel()
        await asyncio.gather(serving, watching, return_exceptions=True)


def _place(path: str) -> tuple[str, str | None]:
    """Give the endpoint that a path names, and for plain REST the tool.

    Raises:
        NotFound: No endpoint has this path.
    """
    parts = path.split("/", 5)
    match parts:
        case ["", "mcp", "smart"]:
            return "smart", None
        case ["", "mcp", "group", name] if name:
            return f"group/{name}", None
        case ["", "mcp", slug, "v1"] | ["", "mcp", slug, "v1", ""] if slug:
            return slug, None
        case ["", "mcp", slug, "v1", "tools", tool] if slug and tool:
            return slug, tool
    raise NotFound("path", path)


def _hosts(url: str) -> frozenset[str]:
    host = urlsplit(url).hostname or ""
    return _LOOPBACK if host in _LOOPBACK else frozenset({host})
