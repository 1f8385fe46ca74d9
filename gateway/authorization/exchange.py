"""Asking a remote authorization server for tokens: for a code, or for a refresh token."""

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from gateway.authorization.outbound import Outbound
from mcp_platform.contracts.oauth import (
    AuthorizationRefused,
    ClientAuthentication,
    IssuedTokens,
    Registration,
    RemoteAway,
    UpstreamTokens,
)

_FINAL: Final = frozenset(
    {"invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)
"""Errors that asking again does not mend (RFC 6749, section 5.2)."""
_LONGEST_LIFE: Final = 10 * 365 * 86_400.0


class TokenEndpoint:
    """The token endpoint of one authorization server, asked as the client that we are there."""

    def __init__(self, outbound: Outbound, registration: Registration) -> None:
        self._outbound = outbound
        self._known = registration

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> IssuedTokens:
        """Get the first tokens.

        Raises:
            AuthorizationRefused: The code is good for nothing.
            RemoteAway: No answer, or none that can be used.
        """
        return await self._ask(
            {
                "grant_type": "authorization_code",
                "code": code,
                "code_verifier": verifier,
                "redirect_uri": redirect_uri,
            }
        )

    async def refresh(self, refresh_token: str) -> IssuedTokens:
        """Get the next tokens; a refresh token that is not replaced stays good (RFC 6749, section 6).

        Raises:
            AuthorizationRefused: The authorization has ended.
            RemoteAway: No answer, or none that can be used.
        """
        issued = await self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})
        if issued.tokens.refresh_token is not None:
            return issued
        kept = issued.tokens.model_copy(update={"refresh_token": refresh_token})
        return issued.model_copy(update={"tokens": kept})

    async def revoke(self, tokens: UpstreamTokens) -> None:
        """Give the tokens back (RFC 7009), if the server takes them.

        Raises:
            RemoteAway: No answer.
        """
        if self._known.revocation_endpoint is None:
            return
        token = tokens.refresh_token or tokens.access_token
        fields, headers = self._authenticated({"token": token})
        await self._outbound.post_form(self._known.revocation_endpoint, fields, headers)

    async def _ask(self, wanted: Mapping[str, str]) -> IssuedTokens:
        fields, headers = self._authenticated({**wanted, "resource": self._known.resource})
        answer = await self._outbound.post_form(self._known.token_endpoint, fields, headers)
        error = answer.body.get("error")
        if answer.status >= 400 and error in _FINAL:
            told = answer.body.get("error_description")
            raise AuthorizationRefused(f"{error}: {str(told)[:300]}" if told else str(error))
        token = answer.body.get("access_token")
        if answer.status != 200 or not isinstance(token, str) or not _sendable(token):
            raise RemoteAway(f"{self._known.issuer} gives no token: HTTP status {answer.status}")
        if str(answer.body.get("token_type", "bearer")).lower() != "bearer":
            raise AuthorizationRefused("it gives tokens of a kind that we cannot send")
        return IssuedTokens(
            tokens=UpstreamTokens(access_token=token, refresh_token=_text(answer.body.get("refresh_token"))),
            expires_in=_lifetime(answer.body.get("expires_in")),
            scope=_text(answer.body.get("scope")),
        )

    def _authenticated(self, fields: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        known = self._known
        if known.client_secret is None:
            return {**fields, "client_id": known.client_id}, {}
        if known.authentication is ClientAuthentication.POST:
            return {**fields, "client_id": known.client_id, "client_secret": known.client_secret}, {}
        pair = f"{quote(known.client_id, safe='')}:{quote(known.client_secret, safe='')}"
        return dict(fields), {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _lifetime(value: object) -> float | None:
    """Read how many seconds a token lasts; some servers write the number as a text."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        return None
    return min(seconds, _LONGEST_LIFE) if seconds > 0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _sendable(token: str) -> bool:
    """Tell whether a token can stand in a header (RFC 6750, section 2.1)."""
    return bool(token) and token.isascii() and token.isprintable() and " " not in token
