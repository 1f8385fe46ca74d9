"""`/api/v1/auth`: signing in and out, and the sessions that go on."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request

from api.audit import signing_in
from api.dependencies import PartsDep, public
from api.parts import Parts
from api.v1.access.callers import InSession, session_of, still
from api.v1.access.proof import Proof, with_proof
from api.v1.answers import Deleted, Message
from mcp_platform.client_address import client_address
from mcp_platform.contracts.access import Login, PasswordForm, Refresh, Session, TokenPair, User
from mcp_platform.errors import NotFound, Unauthorized
from mcp_platform.security.tokens import RefreshClaims
from storage.sql.access import Spending
from storage.sql.engine import WriteSession
from storage.stores import Rows

router = APIRouter(prefix="/auth", tags=["Authentication"])


@router.post("/login", dependencies=[Depends(public)])
async def login(order: Login, parts: PartsDep, request: Request) -> TokenPair:
    """Sign in; an unknown name and a wrong password are answered alike, and take as long.

    Where a second factor is on, an answer with the code `MFA_REQUIRED` asks for `code`: six digits or a
    recovery code. After several failures in a row further attempts have to wait, ever longer.
    """
    return await _sign_in(parts, request, order)


@router.post("/token", dependencies=[Depends(public)])
async def sign_in_by_form(
    form: Annotated[PasswordForm, Form()], parts: PartsDep, request: Request
) -> TokenPair:
    """Sign in by the password form of OAuth2, as the Authorize button of the documentation does."""
    return await _sign_in(parts, request, form)


@router.post("/refresh", dependencies=[Depends(public)])
async def refresh(order: Refresh, parts: PartsDep, request: Request) -> TokenPair:
    """Trade a refresh token for a new pair; one that is used twice ends the whole session."""
    old = parts.tokens.read_refresh(order.refresh_token.get_secret_value())
    address = client_address(request.scope, parts.settings.api.trusted_proxies)
    pair = None
    async with parts.stores.write() as rows:
        spending = await rows.refresh_tokens.spend(old.token_id)
        user = await rows.users.get(old.user_id) if spending is Spending.SPENT else None
        if user and user.is_active:
            pair, claims = _pair(parts, user, old.family_id)
            await rows.refresh_tokens.add(claims, address)
    if spending is Spending.REUSED:
        await parts.credentials.changed(old.user_id)
    if pair is None or user is None:
        raise Unauthorized
    signing_in(user.username, user.id, f"session:{old.family_id}")
    return pair


@router.post("/logout")
async def sign_out(caller: InSession, parts: PartsDep) -> Message:
    """End this session: its tokens hold no longer."""
    async with parts.stores.write() as rows:
        await still(rows, caller, None)
        await rows.refresh_tokens.end(session_of(caller), caller.user_id)
    await parts.credentials.changed(caller.user_id)
    return Message(message="Signed out successfully")


@router.get("/sessions")
async def list_sessions(caller: InSession, parts: PartsDep) -> list[Session]:
    """List the caller's sessions that go on, the one refreshed last first."""
    async with parts.stores.read() as rows:
        sessions = await rows.refresh_tokens.sessions(caller.user_id)
    own = session_of(caller)
    return [session.model_copy(update={"current": session.id == own}) for session in sessions]


@router.delete("/sessions/{session_id}")
async def end_session(session_id: UUID, caller: InSession, parts: PartsDep) -> Deleted:
    """End one of the caller's sessions at once, everywhere."""
    async with parts.stores.write() as rows:
        await still(rows, caller, None)
        if not await rows.refresh_tokens.end(session_id, caller.user_id):
            raise NotFound("session", session_id)
    await parts.credentials.changed(caller.user_id)
    return Deleted(message="Session ended successfully", id=session_id)


async def _sign_in(parts: Parts, request: Request, shown: Login | PasswordForm) -> TokenPair:
    signing_in(shown.username)
    code = shown.code.get_secret_value() if shown.code else None
    proof = Proof(shown.username, shown.password.get_secret_value(), code)
    address = client_address(request.scope, parts.settings.api.trusted_proxies)

    async def begin(rows: Rows[WriteSession], user: User) -> TokenPair:
        pair, claims = _pair(parts, user)
        await rows.refresh_tokens.add(claims, address, request.headers.get("user-agent"))
        signing_in(user.username, user.id, f"session:{claims.family_id}")
        return pair

    return await with_proof(parts, request, proof, Unauthorized, "Wrong username or password", begin)


def _pair(parts: Parts, user: User, family_id: UUID | None = None) -> tuple[TokenPair, RefreshClaims]:
    refresh_token, claims = parts.tokens.issue_refresh(user.id, family_id)
    pair = TokenPair(
        access_token=parts.tokens.issue_access(user, claims.family_id),
        refresh_token=refresh_token,
        expires_in=parts.tokens.access_ttl,
    )
    return pair, claims
