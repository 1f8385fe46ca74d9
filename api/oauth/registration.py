"""`POST /oauth/register`: clients make themselves known (RFC 7591)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from api.dependencies import PartsDep, public
from api.oauth.answers import NO_STORE, OAuthError
from api.oauth.clients import name_of, redirect_uris_of
from api.oauth.flows import new_word
from api.oauth.metadata import GRANT_TYPES
from api.oauth.trail import note
from api.parts import Parts
from mcp_platform.contracts.audit import AuditOutcome
from mcp_platform.contracts.oauth import TOOLS_SCOPE, ClientAuthentication, OAuthClient
from mcp_platform.errors import NotFound
from mcp_platform.security.api_keys import api_key_hash

_NEVER_USED_LASTS: Final = timedelta(hours=1)

router = APIRouter(prefix="/oauth", include_in_schema=False, dependencies=[Depends(public)])


@router.post("/register")
async def register(request: Request, parts: PartsDep) -> Response:
    """Give a client an id, and a secret if it wants one; this answer is the only one that shows it."""
    if not parts.settings.oauth.registration or not await parts.oauth_endpoints():
        raise NotFound("path", "/oauth/register", "No such path: /oauth/register")
    try:
        wanted = await _metadata(request)
        authentication = _authentication(wanted)
        client = OAuthClient(
            id=str(uuid4()),
            name=name_of(wanted, "An unnamed program"),
            redirect_uris=redirect_uris_of(wanted),
            authentication=authentication,
        )
        _check_types(wanted)
        secret = None if authentication is ClientAuthentication.NONE else new_word()
        if secret is not None:
            client = client.model_copy(update={"secret_hash": api_key_hash(secret)})
        now = datetime.now(UTC)
        await _store(parts, client, now)
    except OAuthError as error:
        return error.response()
    await note(
        parts,
        request,
        "register",
        AuditOutcome.SUCCESS,
        resource=("oauth_client", client.id),
        status=201,
        name=client.name,
    )
    return JSONResponse(_answer(client, secret, now), 201, NO_STORE)


async def _store(parts: Parts, client: OAuthClient, now: datetime) -> None:
    own = parts.settings.oauth
    async with parts.stores.write() as rows:
        # Anybody may register: what comes of it is kept for long only once somebody was signed in by it.
        unused = now - timedelta(seconds=own.unused_client_ttl)
        await rows.oauth_clients.forget_unused(unused, now - _NEVER_USED_LASTS)
        excess = await rows.oauth_clients.count() + 1 - own.most_clients
        if excess > 0 and not await rows.oauth_clients.make_room(excess):
            raise OAuthError(
                "temporarily_unavailable", "Too many clients are registered; try again later", 503
            )
        await rows.oauth_clients.add(client, now)


async def _metadata(request: Request) -> dict[str, Any]:
    try:
        wanted = json.loads(await request.body())
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise OAuthError("invalid_client_metadata", "The body must be a JSON object of client metadata")
    return wanted


def _authentication(wanted: dict[str, Any]) -> ClientAuthentication:
    # Without a word about it, RFC 7591 means client_secret_basic.
    try:
        return ClientAuthentication(wanted.get("token_endpoint_auth_method", ClientAuthentication.BASIC))
    except ValueError:
        known = ", ".join(ClientAuthentication)
        raise OAuthError(
            "invalid_client_metadata", f"token_endpoint_auth_method must be one of: {known}"
        ) from None


def _check_types(wanted: dict[str, Any]) -> None:
    """Refuse a client that wants none of what we offer; what it wants besides, it does not get."""
    for name, ours in (("grant_types", GRANT_TYPES[0]), ("response_types", "code")):
        given = wanted.get(name, [ours])
        if not isinstance(given, list) or ours not in given:
            raise OAuthError("invalid_client_metadata", f"{name} must have {ours} in it")


def _answer(client: OAuthClient, secret: str | None, now: datetime) -> dict[str, Any]:
    told: dict[str, Any] = {
        "client_id": client.id,
        "client_id_issued_at": int(now.timestamp()),
        "client_name": client.name,
        "redirect_uris": client.redirect_uris,
        "token_endpoint_auth_method": client.authentication.value,
        "grant_types": GRANT_TYPES,
        "response_types": ["code"],
        "scope": TOOLS_SCOPE,
    }
    return told if secret is None else {**told, "client_secret": secret, "client_secret_expires_at": 0}
