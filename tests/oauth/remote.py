"""Somebody else's MCP server that wants OAuth, and the authorization server that gives it: both small."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.gateway.conftest import serving

TOOLS = [{"name": "whoami", "description": "Say whose token it is.", "inputSchema": {"type": "object"}}]


@dataclass
class Remote:
    """The server's settings, and what it saw."""

    url: str = ""
    lifetime: float = 3600.0
    registers: bool = True
    reads_documents: bool = False
    names_itself: bool = True
    """Whether answers carry `iss`."""
    secret: str | None = None
    """What its one client, registered by hand, has to show."""
    legacy: bool = False
    issuer: str | None = None
    """Another authorization server than its own."""
    account: str = "alice"
    """Who agrees next."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: dict[str, str] = field(default_factory=dict)
    """Whose each access token is."""
    refresh: dict[str, str] = field(default_factory=dict)
    refreshed: int = 0
    while_refreshing: Callable[[], Awaitable[None]] | None = None
    """Awaited when a refresh is done, and before it is answered."""
    revoked: list[str] = field(default_factory=list)
    registered: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    """The `Authorization` of each request to the MCP server."""

    @property
    def mcp(self) -> str:
        """The MCP server's address."""
        return f"{self.url}/mcp"

    def end_refreshing(self) -> None:
        """Revoke all refresh tokens."""
        self.refresh.clear()


class Service:
    """Answers for both servers."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.application = Starlette(
            routes=[
                Route("/.well-known/oauth-protected-resource/mcp", self.resource),
                Route("/.well-known/oauth-authorization-server", self.server),
                Route("/register", self.register, methods=["POST"]),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
                Route("/revoke", self.revoke, methods=["POST"]),
                Route("/mcp", self.mcp, methods=["POST"]),
            ]
        )

    async def resource(self, _request: Request) -> Response:
        """Describe the MCP server."""
        told = {
            "resource": self._remote.mcp,
            "authorization_servers": [self._remote.issuer or self._remote.url],
        }
        return JSONResponse({**told, "scopes_supported": ["calls"]})

    async def server(self, _request: Request) -> Response:
        """Describe the authorization server."""
        url = self._remote.url
        told = {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "revocation_endpoint": f"{url}/revoke",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
            "authorization_response_iss_parameter_supported": self._remote.names_itself,
            "client_id_metadata_document_supported": self._remote.reads_documents,
        }
        if self._remote.registers:
            told["registration_endpoint"] = f"{url}/register"
        return JSONResponse(told)

    async def register(self, request: Request) -> Response:
        """Register a client."""
        wanted = await request.json()
        self._remote.registered.append(wanted)
        return JSONResponse({**wanted, "client_id": f"client-{len(self._remote.registered)}"}, 201)

    async def authorize(self, request: Request) -> Response:
        """Agree at once."""
        asked = dict(request.query_params)
        self._remote.asked.append(asked)
        code = secrets.token_urlsafe(16)
        self._remote.codes[code] = {**asked, "account": self._remote.account}
        told = {"code": code, "state": asked["state"]}
        if self._remote.names_itself:
            told["iss"] = self._remote.url
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(told)}", 302)

    async def token(self, request: Request) -> Response:
        """Give tokens for a code or a refresh token, each of which is good once."""
        remote = self._remote
        form = {name: str(value) for name, value in (await request.form()).items()}
        remote.asked.append(form)
        if remote.secret is not None and form.get("client_secret") != remote.secret:
            return JSONResponse({"error": "invalid_client"}, 401)
        if form["grant_type"] == "refresh_token":
            account = remote.refresh.pop(form["refresh_token"], None)
            remote.refreshed += account is not None
        else:
            account = _account(remote, form)
        if account is None or form.get("resource") != remote.mcp:
            return JSONResponse({"error": "invalid_grant", "error_description": "it was revoked"}, 400)
        access, again = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        remote.access[access], remote.refresh[again] = account, account
        if form["grant_type"] == "refresh_token" and remote.while_refreshing is not None:
            await remote.while_refreshing()
        told = {"access_token": access, "refresh_token": again, "expires_in": remote.lifetime}
        return JSONResponse({**told, "token_type": "Bearer"})

    async def revoke(self, request: Request) -> Response:
        """Take a token back."""
        self._remote.revoked.append(str((await request.form())["token"]))
        return Response(status_code=200)

    async def mcp(self, request: Request) -> Response:
        """Answer an MCP request."""
        return await _mcp(self._remote, request)


def _account(remote: Remote, form: dict[str, str]) -> str | None:
    asked = remote.codes.pop(form["code"], None)
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form["redirect_uri"]:
        return None
    return asked["account"]


async def _mcp(remote: Remote, request: Request) -> Response:
    shown = request.headers.get("authorization", "")
    remote.seen.append(shown)
    account = remote.access.get(shown.removeprefix("Bearer "))
    if account is None:
        place = f"{remote.url}/.well-known/oauth-protected-resource/mcp"
        challenge = f'Bearer resource_metadata="{place}", scope="calls"'
        return JSONResponse({"error": "who are you"}, 401, {"WWW-Authenticate": challenge})
    message = await request.json()
    result = _result(remote, message, account)
    if "id" not in message:
        return Response(status_code=202)
    if result is None:
        error = {"code": -32601, "message": "Method not found"}
        status = 200 if remote.legacy else 404
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error}, status)
    return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})


def _result(remote: Remote, message: dict[str, Any], account: str) -> dict[str, Any] | None:
    info = {"name": "remote", "version": "1"}
    common: dict[str, Any] = {} if remote.legacy else {"resultType": "complete"}
    cached = {} if remote.legacy else {"ttlMs": 0, "cacheScope": "private"}
    match message.get("method"):
        case "server/discover" if not remote.legacy:
            return {
                **common,
                **cached,
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
        case "initialize" if remote.legacy:
            return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        case "ping" if remote.legacy:
            return {}
        case "tools/list":
            return {**common, **cached, "tools": TOOLS}
        case "tools/call":
            return {**common, "content": [{"type": "text", "text": account}]}
    return None


@asynccontextmanager
async def running_remote(**settings: Any) -> AsyncIterator[Remote]:
    """Serve both on a free port."""
    remote = Remote(**settings)
    async with serving(Service(remote).application) as url:
        remote.url = url
        yield remote
