"""`/oauth/authorize`: a client sends a browser here; a person signs in and says whether it may."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from api.dependencies import PartsDep, public
from api.oauth import connect
from api.oauth.answers import OAuthError, parameters, redirect_to
from api.oauth.clients import Clients
from api.oauth.flows import Flow, Flows, belongs, new_word
from api.oauth.pages import consent_page, notice_page, sign_in_page
from api.oauth.redirects import form_target, matches
from api.oauth.signing_in import COOKIE, attempt, bind
from api.oauth.trail import note
from api.parts import Parts
from gateway.authorization.resources import Resources
from mcp_platform.contracts.audit import AuditOutcome
from mcp_platform.contracts.oauth import TOOLS_SCOPE, NewGrant, OAuthClient
from mcp_platform.security.api_keys import api_key_hash

router = APIRouter(prefix="/oauth", include_in_schema=False, dependencies=[Depends(public)])

CODE_LASTS: Final = timedelta(seconds=60)
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_REFUSED: Final = "This program cannot sign in here"
_OVER: Final = "This sign-in is over, or was begun in another browser. Begin it again in your program."


@router.get("/authorize")
async def authorize(request: Request, parts: PartsDep) -> Response:
    """Begin to sign somebody in for a client (RFC 6749, section 4.1.1; PKCE by RFC 7636; RFC 8707)."""
    try:
        asked = parameters(request.query_params)
        flow = await _flow(parts, asked)
    except OAuthError as error:
        # Nobody is sent on before they signed in: anybody can register a client, and would have a
        # redirector on our host (RFC 9700, section 4.11.2).
        return notice_page(_REFUSED, error.description, 400)
    browser = request.cookies.get(COOKIE) or new_word()
    flow = flow.model_copy(update={"browser": api_key_hash(browser)})
    number = await Flows(parts.stores.cache).begin(flow)
    page = sign_in_page(number, flow, form_target(flow.redirect_uri))
    bind(parts, page, browser)
    return page


@router.post("/sign-in")
async def sign_in(request: Request, parts: PartsDep) -> Response:
    """Take what somebody typed; then ask whether the client may, or lead on to a remote server."""
    flows = Flows(parts.stores.cache)
    form = await _form(request)
    number = form.get("flow", "")
    flow = await flows.read(number)
    if flow is None or not belongs(flow, request.cookies.get(COOKIE), form.get("csrf", "")):
        return notice_page("Not signed in", _OVER, 400)
    came = await attempt(parts, request, flow, form)
    if came.user is None:
        target = form_target(flow.redirect_uri)
        return sign_in_page(number, flow, target, came.problem, form.get("username", ""), came.code_needed)
    if await flows.end(number) is None:
        return notice_page("Not signed in", _OVER, 400)
    # What was known before the sign-in is good for nothing after it.
    signed_in = {"user_id": came.user.id, "username": came.user.username, "proof": came.proof}
    flow = flow.model_copy(update={**signed_in, "csrf": new_word()})
    if flow.authorization_id is not None:
        return await connect.lead_on(parts, request, flow, came.user)
    try:
        flow = await _known(parts.oauth_clients, flow)
    except OAuthError as error:
        return notice_page(_REFUSED, error.description, 400)
    number = await flows.begin(flow)
    return consent_page(number, flow, parts.settings.oauth.refresh_ttl // 86_400)


@router.post("/consent")
async def consent(request: Request, parts: PartsDep) -> Response:
    """Take the person's word, and send the browser back to the client: with a code, or with the refusal."""
    flows = Flows(parts.stores.cache)
    form = await _form(request)
    flow = await flows.read(form.get("flow", ""))
    if flow is None or not belongs(flow, request.cookies.get(COOKIE), form.get("csrf", "")):
        return notice_page("Not signed in", _OVER, 400)
    if flow.user_id is None or await flows.end(form["flow"]) is None:
        return notice_page("Not signed in", _OVER, 400)
    if form.get("decision") != "allow":
        await _note(parts, request, flow, "refuse")
        text = "The user refused"
        return _back(parts, flow.redirect_uri, flow.state, error="access_denied", text=text)
    code = await _grant(parts, flow)
    if code is None:
        text = "The account is disabled, or its password was changed"
        return _back(parts, flow.redirect_uri, flow.state, error="access_denied", text=text)
    await _note(parts, request, flow, "grant")
    return _back(parts, flow.redirect_uri, flow.state, code=code)


async def _form(request: Request) -> dict[str, str]:
    """Read what a page of ours sends; anything else is as good as nothing."""
    try:
        return parameters(await request.form())
    except OAuthError:
        return {}


async def _flow(parts: Parts, asked: dict[str, str]) -> Flow:
    """Read what is asked for; by whom is looked up last."""
    endpoint = await _endpoint(parts, asked.get("resource"))
    challenge = _challenge(asked)
    scope = _scope(asked.get("scope"))
    if "client_id" not in asked:
        raise OAuthError("invalid_request", "client_id is missing")
    redirect_uri = asked.get("redirect_uri", "")
    client = await parts.oauth_clients.named(asked["client_id"], redirect_uri)
    _check_redirect(client, redirect_uri)
    return Flow(
        purpose=f"{client.name} asks for access to {endpoint}.",
        browser="",
        csrf=new_word(),
        client_id=client.id,
        client_name=client.name,
        client_registered=client.registered,
        redirect_uri=redirect_uri,
        state=asked.get("state"),
        challenge=challenge,
        resource=Resources(parts.settings.gateway_url).address(endpoint),
        endpoint=endpoint,
        scope=scope,
    )


def _challenge(asked: dict[str, str]) -> str:
    """Check how it is asked, and give PKCE's challenge."""
    if asked.get("response_type") != "code":
        raise OAuthError("unsupported_response_type", "response_type must be code")
    if asked.get("response_mode", "query") != "query":
        raise OAuthError("invalid_request", "response_mode must be query")
    if asked.get("code_challenge_method") != "S256":
        raise OAuthError("invalid_request", "code_challenge_method must be S256: PKCE is required")
    challenge = asked.get("code_challenge", "")
    if not _CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "code_challenge must be the S256 of a verifier: 43 characters")
    return challenge


def _check_redirect(client: OAuthClient, redirect_uri: str) -> None:
    if not matches(client.redirect_uris, redirect_uri):
        raise OAuthError("invalid_request", "redirect_uri is missing, or is none that this client registered")


async def _known(clients: Clients, flow: Flow) -> Flow:
    """Check a client that describes itself by its document, now that somebody has signed in."""
    if flow.client_registered:
        return flow
    client = await clients.find(flow.client_id)
    _check_redirect(client, flow.redirect_uri)
    return flow.model_copy(update={"client_name": client.name})


async def _endpoint(parts: Parts, resource: str | None) -> str:
    """Find which endpoint is meant: access is always for one."""
    if resource is None:
        raise OAuthError("invalid_target", "resource is missing: the address of the MCP endpoint (RFC 8707)")
    endpoint = Resources(parts.settings.gateway_url).endpoint(resource)
    if endpoint is None or endpoint not in await parts.oauth_endpoints():
        raise OAuthError("invalid_target", f"{resource[:200]} is no endpoint that is signed in to by OAuth")
    return endpoint


def _scope(asked: str | None) -> str:
    if asked is not None and TOOLS_SCOPE not in asked.split():
        raise OAuthError("invalid_scope", f"the only scope here is {TOOLS_SCOPE}")
    return TOOLS_SCOPE


async def _grant(parts: Parts, flow: Flow) -> str | None:
    """Record what was agreed to, and make the code for it; None if the sign-in holds no longer."""
    assert flow.user_id is not None
    code, now = new_word(), datetime.now(UTC)
    async with parts.stores.write() as rows:
        account = await rows.users.lock(flow.user_id)
        if account is None or not account.user.is_active or api_key_hash(account.password_hash) != flow.proof:
            return None
        await rows.grants.add(
            NewGrant(
                id=uuid4(),
                user_id=flow.user_id,
                client_id=flow.client_id,
                client_name=flow.client_name,
                resource=flow.resource,
                scope=flow.scope,
                redirect_uri=flow.redirect_uri,
                code_hash=api_key_hash(code),
                challenge=flow.challenge,
                created_at=now,
                expires_at=now + CODE_LASTS,
            )
        )
    return code


async def _note(parts: Parts, request: Request, flow: Flow, action: str) -> None:
    await note(
        parts,
        request,
        action,
        AuditOutcome.SUCCESS,
        actor_id=flow.user_id,
        actor_name=flow.username,
        resource=("oauth_client", flow.client_id),
        at=flow.resource,
    )


def _back(
    parts: Parts, redirect_uri: str, state: str | None, *, text: str | None = None, **told: str
) -> Response:
    """Send the browser back, with who says so (RFC 9207)."""
    answer = {**told, "error_description": text, "state": state, "iss": parts.settings.issuer}
    return RedirectResponse(
        redirect_to(redirect_uri, answer),
        303,
        headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
    )
