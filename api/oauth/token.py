"""`/oauth/token` and `/oauth/revoke`: clients exchange codes and refresh tokens, and give tokens back."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from api.dependencies import PartsDep, public
from api.oauth.answers import NO_STORE, OAuthError, parameters
from api.oauth.flows import new_word
from api.oauth.trail import note
from api.parts import Parts
from gateway.authorization.resources import Resources
from mcp_platform.contracts.audit import AuditOutcome
from mcp_platform.errors import Unauthorized
from mcp_platform.security.api_keys import api_key_hash
from mcp_platform.security.tokens import GrantClaims
from storage.sql.engine import WriteSession
from storage.sql.oauth import KeptGrant, Redeemed
from storage.stores import Rows

router = APIRouter(prefix="/oauth", include_in_schema=False, dependencies=[Depends(public)])

Spend = Callable[[Rows[WriteSession], KeptGrant, datetime], Awaitable[Redeemed]]


@dataclass(frozen=True)
class _Shown:
    """What a client shows to get tokens, once it is clear which client it is."""

    client_id: str
    form: dict[str, str]


@router.post("/token")
async def token(request: Request, parts: PartsDep) -> Response:
    """Give tokens for a code (RFC 6749, section 4.1.3) or for a refresh token (section 6)."""
    try:
        shown = await _authenticated(parts, request)
        kind = shown.form.get("grant_type")
        if kind == "authorization_code":
            answer = await _exchange(parts, request, shown)
        elif kind == "refresh_token":
            answer = await _refresh(parts, request, shown)
        else:
            raise OAuthError(
                "unsupported_grant_type", "grant_type must be authorization_code or refresh_token"
            )
    except OAuthError as error:
        return error.response()
    return JSONResponse(answer, headers=NO_STORE)


@router.post("/revoke")
async def revoke(request: Request, parts: PartsDep) -> Response:
    """End a grant by either of its tokens (RFC 7009); an unknown token is as good as revoked."""
    try:
        shown = await _authenticated(parts, request)
        if "token" not in shown.form:
            raise OAuthError("invalid_request", "token is missing")
    except OAuthError as error:
        return error.response()
    now, word = datetime.now(UTC), shown.form["token"]
    ended = None
    async with parts.stores.write() as rows:
        kept = await _kept(parts, rows, word)
        if (
            kept is not None
            and kept.grant.client_id == shown.client_id
            and await rows.grants.revoke(kept.grant.id, now)
        ):
            ended = kept
    if ended is not None:
        await _ended(parts, request, ended, "revoke", AuditOutcome.SUCCESS)
    return Response(status_code=200, headers=NO_STORE)


async def _exchange(parts: Parts, request: Request, shown: _Shown) -> dict[str, Any]:
    code, verifier = shown.form.get("code"), shown.form.get("code_verifier", "")
    if code is None:
        raise OAuthError("invalid_request", "code is missing")
    if not 43 <= len(verifier) <= 128:
        raise OAuthError("invalid_request", "code_verifier is missing, or has not 43 to 128 characters")
    code_hash = api_key_hash(code)

    async def spend(rows: Rows[WriteSession], kept: KeptGrant, now: datetime) -> Redeemed:
        if shown.form.get("redirect_uri", kept.redirect_uri) != kept.redirect_uri:
            raise OAuthError("invalid_grant", "redirect_uri is not the one that the code was sent to")
        if not hmac.compare_digest(_s256(verifier), kept.challenge):
            raise OAuthError("invalid_grant", "code_verifier does not fit the code_challenge")
        return await rows.grants.spend_code(kept, now)

    async def find(rows: Rows[WriteSession]) -> KeptGrant | None:
        return await rows.grants.by_code(code_hash)

    return await _redeem(parts, request, shown, find, spend)


async def _refresh(parts: Parts, request: Request, shown: _Shown) -> dict[str, Any]:
    if "refresh_token" not in shown.form:
        raise OAuthError("invalid_request", "refresh_token is missing")
    token_hash = api_key_hash(shown.form["refresh_token"])

    async def spend(rows: Rows[WriteSession], kept: KeptGrant, now: datetime) -> Redeemed:
        wanted = shown.form.get("scope")
        if wanted is not None and not set(wanted.split()) <= set(kept.grant.scope.split()):
            raise OAuthError("invalid_scope", "scope has more in it than was granted")
        return await rows.grants.spend_refresh_token(kept, token_hash, now)

    async def find(rows: Rows[WriteSession]) -> KeptGrant | None:
        return await rows.grants.by_refresh_token(token_hash)

    return await _redeem(parts, request, shown, find, spend)


async def _redeem(
    parts: Parts,
    request: Request,
    shown: _Shown,
    find: Callable[[Rows[WriteSession]], Awaitable[KeptGrant | None]],
    spend: Spend,
) -> dict[str, Any]:
    """Use something up that is good once, and give tokens for it."""
    now, refresh_token = datetime.now(UTC), new_word()
    ends = now + timedelta(seconds=parts.settings.oauth.refresh_ttl)
    spent = Redeemed.UNKNOWN
    async with parts.stores.write() as rows:
        kept = await find(rows)
        if kept is not None and kept.grant.client_id == shown.client_id:
            _check_resource(parts, kept, shown.form.get("resource"))
            spent = await spend(rows, kept, now)
        if kept is not None and spent is Redeemed.SPENT:
            account = await rows.users.get(kept.user_id)
            if account is None or not account.is_active:
                spent = Redeemed.UNKNOWN
                await rows.grants.revoke(kept.grant.id, now)
            else:
                await rows.grants.carry_on(kept.grant.id, api_key_hash(refresh_token), now, ends)
                await rows.oauth_clients.used(shown.client_id, now)
    if kept is not None and spent is Redeemed.REUSED:
        await _ended(parts, request, kept, "reuse", AuditOutcome.DENIED)
    if kept is None or spent is not Redeemed.SPENT:
        raise OAuthError("invalid_grant", "It is unknown, used up, over its time, or ended: sign in again")
    return _tokens(parts, kept, refresh_token, now)


def _tokens(parts: Parts, kept: KeptGrant, refresh_token: str, now: datetime) -> dict[str, Any]:
    lasts = parts.settings.oauth.access_ttl
    claims = GrantClaims(
        user_id=kept.user_id,
        grant_id=kept.grant.id,
        client_id=kept.grant.client_id,
        resource=kept.grant.resource,
        scope=kept.grant.scope,
        expires_at=now + timedelta(seconds=lasts),
    )
    return {
        "access_token": parts.tokens.issue_grant(claims, parts.settings.issuer),
        "token_type": "Bearer",
        "expires_in": lasts,
        "refresh_token": refresh_token,
        "scope": kept.grant.scope,
    }


async def _authenticated(parts: Parts, request: Request) -> _Shown:
    """Read the form, and find out which client sends it (RFC 6749, section 2.3).

    Raises:
        OAuthError: It is no form, or not from the client that it names.
    """
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise OAuthError("invalid_request", "The body must be application/x-www-form-urlencoded")
    form = parameters(await request.form())
    client_id, secret = form.get("client_id"), form.get("client_secret")
    basic = request.headers.get("authorization", "")
    if basic:
        if secret is not None:
            raise OAuthError("invalid_request", "The client's secret is there twice")
        named, secret = _basic(basic)
        if client_id not in {None, named}:
            raise OAuthError("invalid_request", "client_id is not the one in Authorization")
        client_id = named
    if client_id is None:
        raise OAuthError("invalid_client", "client_id is missing", 401)
    await parts.oauth_clients.authenticate(client_id, secret)
    return _Shown(client_id, form)


def _basic(header: str) -> tuple[str, str]:
    scheme, _, value = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        name, separator, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise OAuthError("invalid_client", "Authorization must be Basic, if it is there", 401) from None
    if not separator:
        raise OAuthError("invalid_client", "Authorization has no secret", 401)
    return unquote_plus(name), unquote_plus(secret)


async def _kept(parts: Parts, rows: Rows[WriteSession], word: str) -> KeptGrant | None:
    """Find the grant of a refresh token or of an access token."""
    kept = await rows.grants.by_refresh_token(api_key_hash(word))
    if kept is not None:
        return kept
    try:
        claims = parts.tokens.read_grant(word)
    except Unauthorized:
        return None
    return await rows.grants.by_id(claims.grant_id)


async def _ended(parts: Parts, request: Request, kept: KeptGrant, action: str, outcome: AuditOutcome) -> None:
    await parts.credentials.changed(kept.user_id)
    await note(
        parts,
        request,
        action,
        outcome,
        actor_id=kept.user_id,
        resource=("oauth_grant", str(kept.grant.id)),
        client=kept.grant.client_id,
        at=kept.grant.resource,
    )


def _check_resource(parts: Parts, kept: KeptGrant, resource: str | None) -> None:
    """Hold the resource that a client names against the one that was granted (RFC 8707, section 2.2)."""
    resources = Resources(parts.settings.gateway_url)
    if resource is not None and resources.endpoint(resource) != resources.endpoint(kept.grant.resource):
        raise OAuthError("invalid_target", "resource is not the one that was granted")


def _s256(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
