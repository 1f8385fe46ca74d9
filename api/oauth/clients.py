"""Who a client is: registered here, or described by a document at the https address that is its id."""

import hmac
import time
from collections import OrderedDict
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from api.oauth.answers import OAuthError
from api.oauth.redirects import problem_of
from gateway.authorization.outbound import Outbound
from mcp_platform.contracts.oauth import ClientAuthentication, OAuthClient, RemoteAway
from mcp_platform.security.api_keys import api_key_hash
from storage.stores import Stores

logger = structlog.get_logger(__name__)

_KEPT: Final = 300.0
_FAILURE_KEPT: Final = 60.0
_MOST_KEPT: Final = 1000
_LONGEST_ID: Final = 500
_LONGEST_NAME: Final = 100
_MOST_REDIRECTS: Final = 20
_UNREADABLE: Final = (
    "The document at the program's client_id cannot be read from the internet, or does not describe it"
)
"""The one answer to whatever is wrong: another would tell of hosts and ports that only we can reach."""


class Clients:
    """Finds clients. Documents are kept for five minutes, and that there is none for one."""

    def __init__(self, stores: Stores, outbound: Outbound) -> None:
        self._stores = stores
        self.outbound = outbound
        """Reads what clients publish: never from a private network."""
        self._kept: OrderedDict[str, tuple[float, OAuthClient | None]] = OrderedDict()

    async def named(self, client_id: str, redirect_uri: str) -> OAuthClient:
        """Give a client as far as it is known before anybody signed in.

        Until then a document is not read, lest anybody can have the platform ask addresses for them: of
        such a client it is only known what it says here itself, and `find` has to follow.

        Raises:
            OAuthError: There is no such client, or there cannot be.
        """
        if not describes_itself(client_id):
            return await self.find(client_id)
        _check_address(client_id)
        problem = problem_of(redirect_uri)
        if problem is not None:
            raise OAuthError("invalid_request", f"redirect_uri {problem}")
        return OAuthClient(id=client_id, name=client_id, redirect_uris=[redirect_uri], registered=False)

    async def find(self, client_id: str) -> OAuthClient:
        """Find a client by its id.

        Raises:
            OAuthError: There is none, or its document cannot be had or says something else.
        """
        if describes_itself(client_id):
            return await self._described(client_id)
        async with self._stores.read() as rows:
            client = await rows.oauth_clients.get(client_id)
        if client is None:
            raise OAuthError("invalid_client", "There is no such client: register it anew", 401)
        return client

    async def authenticate(self, client_id: str, secret: str | None) -> None:
        """Check that a request to the token endpoint comes from this client.

        One that has no secret proves nothing here: its code's verifier, or its refresh token, does.

        Raises:
            OAuthError: There is no such client, or it does not show its secret.
        """
        if describes_itself(client_id):
            if secret is not None:
                raise OAuthError("invalid_client", "This client has no secret", 401)
            return
        client = await self.find(client_id)
        if client.authentication is ClientAuthentication.NONE:
            return
        shown = api_key_hash(secret or "")
        if secret is None or not hmac.compare_digest(shown, client.secret_hash or ""):
            raise OAuthError("invalid_client", "The client's secret is missing or wrong", 401)

    async def _described(self, client_id: str) -> OAuthClient:
        kept = self._kept.get(client_id)
        if kept is None or kept[0] <= time.monotonic():
            _check_address(client_id)
            client = await self._fetched(client_id)
            kept = (time.monotonic() + (_FAILURE_KEPT if client is None else _KEPT), client)
            self._kept[client_id] = kept
            self._kept.move_to_end(client_id)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        if kept[1] is None:
            raise OAuthError("invalid_client", _UNREADABLE, 401)
        return kept[1]

    async def _fetched(self, client_id: str) -> OAuthClient | None:
        """Read a client's document; the log alone says what is wrong with it."""
        try:
            answer = await self.outbound.get(client_id)
            if answer.status != 200:
                raise RemoteAway(f"it is answered with HTTP status {answer.status}")
            return described(client_id, answer.body)
        except (RemoteAway, OAuthError) as error:
            logger.info("client_document_refused", client_id=client_id, reason=str(error))
            return None


def describes_itself(client_id: str) -> bool:
    """Tell whether a client is described by its own document, or else was registered here."""
    return client_id.startswith("https://")


def described(client_id: str, document: dict[str, Any]) -> OAuthClient:
    """Read a client's own document (draft-ietf-oauth-client-id-metadata-document, section 4).

    Raises:
        OAuthError: It is of another client, or leaves out what we need.
    """
    if document.get("client_id") != client_id:
        raise OAuthError("invalid_client", "The client's document has another client_id", 401)
    try:
        if document.get("token_endpoint_auth_method", "none") != "none" or "client_secret" in document:
            raise OAuthError(
                "invalid_client_metadata", "token_endpoint_auth_method: only none is taken of such clients"
            )
        uris = redirect_uris_of(document)
    except OAuthError as error:
        raise OAuthError("invalid_client", f"The client's document: {error}", 401) from None
    return OAuthClient(id=client_id, name=name_of(document, client_id), redirect_uris=uris, registered=False)


def redirect_uris_of(document: dict[str, Any]) -> list[str]:
    """Read the redirect URIs of a client's metadata (RFC 7591, section 2).

    Raises:
        OAuthError: There are none, too many, or one that is not safe.
    """
    uris = document.get("redirect_uris")
    if not isinstance(uris, list) or not 1 <= len(uris) <= _MOST_REDIRECTS:
        raise OAuthError("invalid_redirect_uri", f"redirect_uris needs 1 to {_MOST_REDIRECTS} addresses")
    for uri in uris:
        problem = problem_of(uri) if isinstance(uri, str) else "is no text"
        if problem is not None:
            raise OAuthError("invalid_redirect_uri", f"{str(uri)[:200]} {problem}")
    return list(uris)


def name_of(document: dict[str, Any], otherwise: str) -> str:
    """Read what a client calls itself, as far as it can be shown in one line."""
    name = document.get("client_name")
    shown = " ".join(name.split()) if isinstance(name, str) else ""
    return "".join(letter for letter in shown if letter.isprintable())[:_LONGEST_NAME] or otherwise[:255]


def _check_address(client_id: str) -> None:
    """Refuse addresses that are no client's id (the same draft, section 3)."""
    try:
        parts = urlsplit(client_id)
        right = bool(parts.hostname) and parts.path not in {"", "/"} and parts.port != 0
    except ValueError:
        right = False
    segments = client_id.split("/")
    if not right or len(client_id) > _LONGEST_ID or "#" in client_id or "@" in parts.netloc:
        raise OAuthError("invalid_client", "client_id is no https address with a path", 401)
    if "." in segments or ".." in segments:
        raise OAuthError("invalid_client", "client_id has . or .. in its path", 401)
