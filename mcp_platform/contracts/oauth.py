"""OAuth 2.1: clients that sign in here for a user, what users granted them, and what we were granted."""

from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field, StrictBool

from mcp_platform.contracts.base import Contract, Moment, Order

TOOLS_SCOPE: Final = "mcp:tools"
"""The one scope: to speak to the endpoint that the token is for, as the user may."""


class ClientAuthentication(StrEnum):
    """How a client proves at the token endpoint who it is (RFC 7591, section 2)."""

    NONE = "none"
    POST = "client_secret_post"
    BASIC = "client_secret_basic"


class OAuthClient(Contract):
    """A program that asks users to let it in."""

    id: str
    """A number that we gave at its registration, or the https address of its own metadata document."""
    name: str
    redirect_uris: list[str]
    authentication: ClientAuthentication = ClientAuthentication.NONE
    secret_hash: str | None = None
    registered: bool = True
    """Whether we registered it; else its own document describes it."""


class Grant(Contract):
    """What a user lets a client do, at one endpoint, until they end it."""

    id: UUID
    client_id: str
    client_name: str
    resource: str
    """The address of the endpoint."""
    scope: str
    created_at: Moment
    last_used_at: Moment | None = None
    """When it last got new tokens."""
    expires_at: Moment


class GrantList(Contract):
    """One's own grants, the newest first."""

    grants: list[Grant]
    total: int


class NewGrant(Contract):
    """A grant whose code was not exchanged yet."""

    id: UUID
    user_id: UUID
    client_id: str
    client_name: str
    resource: str
    scope: str
    redirect_uri: str
    code_hash: str
    challenge: str
    """Of PKCE, by S256."""
    created_at: Moment
    expires_at: Moment


class AuthorizationState(StrEnum):
    """Where the platform's own authorization at a remote server stands."""

    PREPARING = "preparing"
    """The remote server is asked who authorizes for it, and the platform makes itself known there."""
    PENDING = "pending"
    """Somebody has to open the address and agree."""
    ACTIVE = "active"
    EXPIRED = "expired"
    """The remote authorization server refuses to refresh it: authorize again."""
    FAILED = "failed"
    ENDED = "ended"


class UpstreamAuthorization(Contract):
    """An authorization of the platform at a remote server; the tokens themselves are sealed elsewhere."""

    id: UUID
    mcp_id: UUID
    server: str
    """The server's name in the configuration."""
    user_id: UUID | None
    """Whose it is; None: it is for all callers of the MCP."""
    state: AuthorizationState
    detail: str = ""
    """Why it failed or expired."""
    resource: str = ""
    """The remote server, as its authorization server calls it."""
    issuer: str = ""
    scope: str = ""
    created_by: UUID
    created_at: Moment
    updated_at: Moment
    expires_at: Moment | None = None
    """When the present access token ends; it is refreshed before."""


class UpstreamAuthorizationList(Contract):
    """The authorizations of an MCP that the caller may see."""

    authorizations: list[UpstreamAuthorization]
    total: int


class AuthorizeUpstream(Order):
    """Body of `POST /mcps/{id}/authorizations`."""

    server: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The server's name in the configuration; not needed where there is one alone."""
    for_all: StrictBool = False
    """Whether it is for all callers of the MCP; else for the caller alone."""
    scope: Annotated[str, Field(max_length=1000, pattern=r"^[\x21\x23-\x5b\x5d-\x7e ]*$")] | None = None
    """What to ask for; unless given, what the remote server says that it needs."""


class StartedAuthorization(Contract):
    """Where to go to authorize the platform at the remote server."""

    id: UUID
    authorization_url: str
    """To be opened in a browser, by whom it is for, before `expires_in` seconds are over."""
    expires_in: int
    issuer: str
    """The authorization server that will ask."""


class AuthorizationOrder(Contract):
    """What the workflow of an authorization is started with; it carries ids alone."""

    authorization_id: UUID
    refreshed: "AuthorizationStep | None" = None
    """What the run before came to, where this one carries on."""


class AuthorizationStep(Contract):
    """What came of one step: nothing secret."""

    state: AuthorizationState
    detail: str = ""
    refresh_in: float | None = None
    """Seconds until the token is to be refreshed; None: it lasts until it is ended."""
    replaced: list[UUID] = []
    """Authorizations that this one took the place of, whose tokens are to be given back."""


class Registration(Contract):
    """How we are known to an authorization server, and where that is; sealed as a whole."""

    client_id: str
    client_secret: str | None = None
    authentication: ClientAuthentication = ClientAuthentication.NONE
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str | None = None
    issuer: str
    tells_issuer: bool = False
    """Whether its answers carry `iss` (RFC 9207)."""
    resource: str
    scope: str = ""


class UpstreamTokens(Contract):
    """What an authorization server gave us; sealed as a whole."""

    access_token: str
    refresh_token: str | None = None


class IssuedTokens(Contract):
    """An authorization server's answer."""

    tokens: UpstreamTokens
    expires_in: float | None
    scope: str | None


class OwnClient(Contract):
    """How the platform presents itself to authorization servers."""

    redirect_uri: str
    metadata_url: str | None = None
    """Its client metadata document, where others can read it."""
    client_id: str | None = None
    """What it was registered as by hand."""
    client_secret: str | None = None
    issuer: str | None = None
    """The authorization server that alone is sent them, where the configuration names it."""


class RemoteAway(Exception):
    """No answer, or none that can be used; the message says why."""


class AuthorizationRefused(Exception):
    """A remote server, or its authorization server, will not have it; asking again does not mend that."""


class PendingCode(Contract):
    """A code that was not exchanged yet; sealed as a whole."""

    code: str
    verifier: str


class SealedAuthorization(Contract):
    """All that is kept of an authorization; what is secret of it is sealed."""

    authorization: UpstreamAuthorization
    wanted_scope: str | None = None
    sealed_registration: str | None = None
    """A `Registration`."""
    sealed_tokens: str | None = None
    """`UpstreamTokens`."""
    sealed_code: str | None = None
    """A `PendingCode`."""


def upstream_purpose(authorization_id: UUID, what: str) -> str:
    """Name what a part of an authorization is sealed for: in another row it does not open."""
    return f"upstream-{what}:{authorization_id}"
