"""Authorizing the platform at a remote server: `/oauth/connect` leads there, `/oauth/callback` back.

Whoever wants the authorization signs in here first, in the browser that goes there: so nobody can be made
to let somebody else's account into their own at the remote server.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from temporalio.client import WorkflowHandle, WorkflowUpdateRPCTimeoutOrCancelledError

from api.dependencies import PartsDep, public
from api.oauth.answers import redirect_to
from api.oauth.flows import Flow, Flows, new_word
from api.oauth.pages import notice_page, sign_in_page
from api.oauth.redirects import form_target
from api.oauth.signing_in import COOKIE, bind
from api.oauth.trail import note
from api.parts import Parts
from gateway.authorization.discovery import own_metadata
from mcp_platform.contracts.access import User
from mcp_platform.contracts.audit import AuditOutcome
from mcp_platform.contracts.oauth import (
    AuthorizationState,
    AuthorizationStep,
    PendingCode,
    Registration,
    upstream_purpose,
)
from mcp_platform.errors import NotFound
from mcp_platform.names import authorization_workflow_id
from mcp_platform.security.api_keys import api_key_hash
from workflows.authorizations import AuthorizationWorkflow

router = APIRouter(prefix="/oauth", include_in_schema=False, dependencies=[Depends(public)])

_OVER = "This authorization is over, or was begun in another browser. Begin it again."
_NOT_DONE = "Not authorized"
_PATIENCE = timedelta(seconds=45)
"""How long the remote server may take to give its tokens."""


@router.get("/client-metadata.json")
async def client_metadata(parts: PartsDep) -> Response:
    """Describe the platform as a client, for remote authorization servers that read such documents."""
    if not parts.settings.oauth.client_metadata:
        path = "/oauth/client-metadata.json"
        raise NotFound("path", path, f"No such path: {path}")
    issuer = parts.settings.issuer
    told = {**own_metadata(f"{issuer}/oauth/callback"), "client_uri": issuer}
    return JSONResponse({"client_id": f"{issuer}/oauth/client-metadata.json", **told})


@router.get("/connect")
async def connect(request: Request, parts: PartsDep) -> Response:
    """Ask who it is, before the browser is led to the remote server."""
    flows = Flows(parts.stores.cache)
    flow = await flows.end(request.query_params.get("flow", ""))
    if flow is None or flow.authorization_id is None:
        return notice_page(_NOT_DONE, _OVER, 400)
    browser = request.cookies.get(COOKIE) or new_word()
    flow = flow.model_copy(update={"browser": api_key_hash(browser), "csrf": new_word()})
    number = await flows.begin(flow)
    page = sign_in_page(number, flow, form_target(flow.redirect_uri), username=flow.username)
    bind(parts, page, browser)
    return page


async def lead_on(parts: Parts, request: Request, flow: Flow, user: User) -> Response:
    """Send the browser of somebody who signed in to the remote authorization server."""
    assert flow.authorization_id is not None
    if user.id != flow.expected:
        return notice_page(_NOT_DONE, "Somebody else began this: sign in as they.", 403)
    known = await _registration(parts, flow.authorization_id)
    if known is None:
        return notice_page(_NOT_DONE, _OVER, 400)
    verifier = new_word()
    sealed = parts.sealer.seal(verifier.encode(), _purpose(flow.authorization_id))
    state = await Flows(parts.stores.cache).begin(flow.model_copy(update={"verifier": sealed}))
    asked = {
        "response_type": "code",
        "client_id": known.client_id,
        "redirect_uri": f"{parts.settings.issuer}/oauth/callback",
        "state": state,
        "scope": known.scope or None,
        "code_challenge": _s256(verifier),
        "code_challenge_method": "S256",
        "resource": known.resource,
    }
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return RedirectResponse(redirect_to(known.authorization_endpoint, asked), 303, headers)


@router.get("/callback")
async def callback(request: Request, parts: PartsDep) -> Response:
    """Take what the remote authorization server sends the browser back with; its state is good once."""
    given = request.query_params
    flow = await Flows(parts.stores.cache).end(given.get("state", ""))
    cookie = api_key_hash(request.cookies.get(COOKIE, ""))
    if flow is None or flow.verifier is None or not hmac.compare_digest(cookie, flow.browser):
        return notice_page(_NOT_DONE, _OVER, 400)
    assert flow.authorization_id is not None
    known = await _registration(parts, flow.authorization_id)
    if known is None:
        return notice_page(_NOT_DONE, _OVER, 400)
    problem = _problem(known, given)
    step = await _settle(parts, flow, given.get("code", ""), problem)
    outcome = AuditOutcome.SUCCESS if step.state is AuthorizationState.ACTIVE else AuditOutcome.FAILED
    await note(
        parts,
        request,
        "connect",
        outcome,
        actor_id=flow.expected,
        actor_name=flow.username,
        resource=("authorization", str(flow.authorization_id)),
        issuer=known.issuer,
    )
    if step.state is not AuthorizationState.ACTIVE:
        return notice_page(_NOT_DONE, step.detail or "The remote server did not authorize it.", 400)
    return notice_page("Authorized", "The platform may use the remote server now. Close this page.", 200)


def _problem(known: Registration, given: Any) -> str | None:
    """Say what is wrong with what came back; by RFC 9207 also, who it must come from."""
    issuer = given.get("iss")
    if (issuer is None and known.tells_issuer) or (issuer is not None and issuer != known.issuer):
        return "The answer does not come from the authorization server that was asked"
    if "error" in given:
        told = given.get("error_description")
        return f"The remote server refused: {given['error'][:100]}{f': {told[:300]}' if told else ''}"
    return None if given.get("code") else "The remote server sent no code"


async def _settle(parts: Parts, flow: Flow, code: str, problem: str | None) -> AuthorizationStep:
    """Lay the code down, sealed, or the refusal; and hear from the workflow what came of it."""
    number = flow.authorization_id
    assert number is not None
    assert flow.verifier is not None
    values: dict[str, object] = {"state": AuthorizationState.FAILED, "detail": problem}
    if problem is None:
        verifier = parts.sealer.unseal(flow.verifier, _purpose(number)).decode()
        pending = PendingCode(code=code, verifier=verifier).model_dump_json().encode()
        values = {"sealed_code": parts.sealer.seal(pending, upstream_purpose(number, "code"))}
    async with parts.stores.write() as rows:
        await rows.upstream_authorizations.change(
            number, [AuthorizationState.PENDING], datetime.now(UTC), **values
        )
    handle: WorkflowHandle[AuthorizationWorkflow, AuthorizationStep] = parts.temporal.get_workflow_handle_for(
        AuthorizationWorkflow.run, authorization_workflow_id(number)
    )
    try:
        return await handle.execute_update(AuthorizationWorkflow.settled, rpc_timeout=_PATIENCE)
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        detail = "The remote server has not answered yet; the list of authorizations tells what comes of it."
        return AuthorizationStep(state=AuthorizationState.PENDING, detail=detail)


async def _registration(parts: Parts, number: UUID) -> Registration | None:
    """Read how we are known for an authorization that waits for somebody's word."""
    async with parts.stores.read() as rows:
        kept = await rows.upstream_authorizations.get(number)
    if kept is None or kept.sealed_registration is None:
        return None
    if kept.authorization.state is not AuthorizationState.PENDING:
        return None
    text = parts.sealer.unseal(kept.sealed_registration, upstream_purpose(number, "registration"))
    return Registration.model_validate_json(text)


def _purpose(number: UUID) -> str:
    return upstream_purpose(number, "verifier")


def _s256(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
