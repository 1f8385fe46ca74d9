"""Finding out who authorizes for a remote MCP server (RFC 9728, RFC 8414), and becoming known there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.authorization.exchange import TokenEndpoint
from gateway.authorization.outbound import Outbound
from mcp_platform.contracts.oauth import (
    AuthorizationRefused,
    ClientAuthentication,
    OwnClient,
    Registration,
    RemoteAway,
)

_PARAMETER: Final = re.compile(r'([a-z_]+)="([^"]*)"')
_MOST_NAMED: Final = 20


class RemoteServers:
    """Remote servers that want authorization, and those who give it."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def discover(
        self, url: str, headers: Mapping[str, str], own: OwnClient, wanted_scope: str | None
    ) -> Registration:
        """Find the authorization server of a remote MCP server, and become a client of it.

        Raises:
            AuthorizationRefused: The server wants no authorization, or none that we can get.
        """
        return await discover(self._outbound, url, headers, own, wanted_scope)

    def endpoint(self, registration: Registration) -> TokenEndpoint:
        """Give the token endpoint where we are known so."""
        return TokenEndpoint(self._outbound, registration)


@dataclass(frozen=True)
class _Resource:
    address: str
    issuers: list[str]
    scope: str


async def discover(
    outbound: Outbound, url: str, headers: Mapping[str, str], own: OwnClient, wanted_scope: str | None
) -> Registration:
    """Find the authorization server of a remote MCP server, and become a client of it.

    Raises:
        AuthorizationRefused: It wants no authorization, or none that we can get.
    """
    try:
        resource = await _resource(outbound, url, headers)
        metadata = await _server(outbound, resource.issuers)
        scope = resource.scope if wanted_scope is None else wanted_scope
        client = await _client(outbound, metadata, own, scope)
    except RemoteAway as error:
        raise AuthorizationRefused(str(error)) from None
    return Registration(
        client_id=client.client_id,
        client_secret=client.secret,
        authentication=client.authentication,
        authorization_endpoint=_address(outbound, metadata, "authorization_endpoint"),
        token_endpoint=_address(outbound, metadata, "token_endpoint"),
        revocation_endpoint=_optional(outbound, metadata, "revocation_endpoint"),
        issuer=str(metadata["issuer"]),
        tells_issuer=metadata.get("authorization_response_iss_parameter_supported") is True,
        resource=resource.address,
        scope=scope,
    )


async def _resource(outbound: Outbound, url: str, headers: Mapping[str, str]) -> _Resource:
    """Read the metadata of the remote server: where its challenge says, else at the well-known places."""
    answer = await outbound.challenge(url, headers)
    told = _challenge(answer.headers.get("WWW-Authenticate", "")) if answer.status == 401 else {}
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}"
    places = [told["resource_metadata"]] if "resource_metadata" in told else []
    places += [f"{root}/.well-known/oauth-protected-resource{parts.path.rstrip('/')}"]
    places += [f"{root}/.well-known/oauth-protected-resource"]
    for place in dict.fromkeys(places):
        found = await outbound.get(place)
        issuers = [each for each in _texts(found.body.get("authorization_servers")) if each]
        if found.status == 200 and issuers:
            address = found.body.get("resource")
            if not isinstance(address, str) or not _covers(address, url):
                # RFC 9728, section 3.3: it must not be used, or tokens could be meant for somebody else.
                raise AuthorizationRefused("Its metadata names another resource than this server")
            supported = " ".join(_texts(found.body.get("scopes_supported")))
            return _Resource(address, issuers, told.get("scope", supported))
    if answer.status != 401:
        raise AuthorizationRefused(
            f"The server asks for no authorization (HTTP status {answer.status}), and publishes no metadata"
        )
    # As servers of 2025-03-26 do, which are their own authorization servers.
    return _Resource(url, [root], told.get("scope", ""))


async def _server(outbound: Outbound, issuers: list[str]) -> dict[str, Any]:
    """Read the metadata of the first authorization server that has any."""
    for issuer in issuers[:_MOST_NAMED]:
        for place in _places(issuer):
            found = await outbound.get(place)
            if found.status != 200 or "issuer" not in found.body:
                continue
            if str(found.body["issuer"]).rstrip("/") != issuer.rstrip("/"):
                # RFC 8414, section 3.3: it is somebody else's.
                raise AuthorizationRefused(f"The metadata of {issuer} names another issuer")
            if "S256" not in _texts(found.body.get("code_challenge_methods_supported")):
                raise AuthorizationRefused(f"{issuer} does not say that it supports PKCE with S256")
            return found.body
    raise AuthorizationRefused(f"No authorization server publishes metadata: {', '.join(issuers[:3])}")


def _places(issuer: str) -> list[str]:
    """List where metadata may be: OAuth's place, then OpenID Connect's two (MCP 2025-11-25)."""
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    places = [
        f"{root}/.well-known/oauth-authorization-server{path}",
        f"{root}/.well-known/openid-configuration{path}",
        f"{root}{path}/.well-known/openid-configuration",
    ]
    return list(dict.fromkeys(places))


@dataclass(frozen=True)
class _Client:
    client_id: str
    secret: str | None = None
    authentication: ClientAuthentication = ClientAuthentication.NONE


async def _client(outbound: Outbound, metadata: dict[str, Any], own: OwnClient, scope: str) -> _Client:
    """Be who we were registered as by hand; else name our document; else register."""
    if own.client_id is not None:
        how = _authentication(metadata) if own.client_secret else ClientAuthentication.NONE
        return _Client(own.client_id, own.client_secret, how)
    if own.metadata_url and metadata.get("client_id_metadata_document_supported") is True:
        return _Client(own.metadata_url)
    place = _optional(outbound, metadata, "registration_endpoint")
    if place is None:
        raise AuthorizationRefused(
            f"{metadata['issuer']} takes only clients that it knows: register the platform there, with"
            f" {own.redirect_uri}, and put client_id and client_secret into the server's oauth field"
        )
    wanted = own_metadata(own.redirect_uri)
    if scope:
        wanted["scope"] = scope
    answer = await outbound.post_json(place, wanted)
    client_id, secret = answer.body.get("client_id"), answer.body.get("client_secret")
    if answer.status not in (200, 201) or not isinstance(client_id, str):
        raise AuthorizationRefused(
            f"{metadata['issuer']} refuses to register the platform: {_reason(answer.body)}"
        )
    if not isinstance(secret, str):
        return _Client(client_id)
    try:
        how = ClientAuthentication(answer.body.get("token_endpoint_auth_method", ClientAuthentication.BASIC))
    except ValueError:
        raise AuthorizationRefused(
            f"{metadata['issuer']} wants a way to authenticate that we have not"
        ) from None
    return _Client(client_id, secret, how)


def own_metadata(redirect_uri: str) -> dict[str, Any]:
    """Describe the platform as a client, for a registration or for its own document."""
    return {
        "client_name": "MCP Platform",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": ClientAuthentication.NONE.value,
    }


def _authentication(metadata: dict[str, Any]) -> ClientAuthentication:
    known = _texts(metadata.get("token_endpoint_auth_methods_supported")) or ["client_secret_basic"]
    return ClientAuthentication.BASIC if "client_secret_basic" in known else ClientAuthentication.POST


def _challenge(header: str) -> dict[str, str]:
    return dict(_PARAMETER.findall(header))


def _covers(resource: str, url: str) -> bool:
    """Tell whether a resource is the server's address, or one above it at the same origin."""
    one, other = urlsplit(resource), urlsplit(url)
    if (one.scheme, one.netloc.lower()) != (other.scheme, other.netloc.lower()):
        return False
    return f"{other.path.rstrip('/')}/".startswith(f"{one.path.rstrip('/')}/")


def _address(outbound: Outbound, metadata: dict[str, Any], name: str) -> str:
    value = _optional(outbound, metadata, name)
    if value is None:
        raise AuthorizationRefused(f"The authorization server's metadata has no {name} with https")
    return value


def _optional(outbound: Outbound, metadata: dict[str, Any], name: str) -> str | None:
    value = metadata.get(name)
    return value if isinstance(value, str) and outbound.allows(value) else None


def _texts(value: object) -> list[str]:
    return [each for each in value[:_MOST_NAMED] if isinstance(each, str)] if isinstance(value, list) else []


def _reason(body: dict[str, Any]) -> str:
    return str(body.get("error_description") or body.get("error") or "it does not say why")[:300]
