"""JSON Web Tokens (RFC 7519), signed by HS256 with a key derived from the master key."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from jose import JWTError, jwt

from mcp_platform.contracts.access import User
from mcp_platform.errors import Unauthorized
from mcp_platform.security.keys import MasterKey, load_master_key, load_previous_key
from mcp_platform.settings import Settings

_ALGORITHM = "HS256"


@dataclass(frozen=True)
class AccessClaims:
    """What an access token says: whose it is, of which session. What they may do is in the rows."""

    user_id: UUID
    family_id: UUID
    expires_at: datetime


@dataclass(frozen=True)
class GrantClaims:
    """What an access token of an OAuth client says: of which grant it is, whose, and what it is for."""

    user_id: UUID
    grant_id: UUID
    client_id: str
    resource: str
    """The one address at which it is good: its audience (RFC 8707)."""
    scope: str
    expires_at: datetime


@dataclass(frozen=True)
class RefreshClaims:
    """What a refresh token says: which one it is, of which family, whose."""

    token_id: UUID
    family_id: UUID
    user_id: UUID
    expires_at: datetime


class Tokens:
    """Issues and reads tokens; keeps no record of them.

    Args:
        key: What tokens are signed with.
        access_ttl: Seconds for which an access token is good.
        refresh_ttl: The same of refresh tokens.
        older: Keys that were in use before; tokens that they signed are still good.
    """

    def __init__(self, key: MasterKey, access_ttl: int, refresh_ttl: int, *older: MasterKey) -> None:
        self._key = key.derive("jwt")
        self._known = [each.derive("jwt") for each in (key, *older)]
        self.access_ttl = access_ttl
        self._refresh_ttl = timedelta(seconds=refresh_ttl)

    def issue_access(self, user: User, family_id: UUID) -> str:
        """Issue a token for requests; valid for `access_ttl` seconds."""
        now = datetime.now(UTC)
        return self._sign(
            {
                "sub": str(user.id),
                "name": user.username,
                "roles": [user.role],
                "typ": "access",
                "sid": str(family_id),
                "iat": now,
                "exp": now + timedelta(seconds=self.access_ttl),
            }
        )

    def issue_refresh(self, user_id: UUID, family_id: UUID | None = None) -> tuple[str, RefreshClaims]:
        """Issue a token to get the next pair with; without a family it begins one, that is a session."""
        now = datetime.now(UTC).replace(microsecond=0)
        claims = RefreshClaims(uuid4(), family_id or uuid4(), user_id, now + self._refresh_ttl)
        token = self._sign(
            {
                "sub": str(user_id),
                "typ": "refresh",
                "sid": str(claims.family_id),
                "jti": str(claims.token_id),
                "iat": now,
                "exp": claims.expires_at,
            }
        )
        return token, claims

    def read_access(self, token: str) -> AccessClaims:
        """Read what an access token says.

        Raises:
            Unauthorized: It is not ours, not an access token, or over its time.
        """
        claims = self._read(token, "access")
        try:
            return AccessClaims(
                UUID(claims["sub"]), UUID(claims["sid"]), datetime.fromtimestamp(claims["exp"], UTC)
            )
        except (KeyError, ValueError):
            raise Unauthorized from None

    def issue_grant(self, claims: GrantClaims, issuer: str) -> str:
        """Issue an access token for an OAuth client (RFC 9068); no session's reader takes it."""
        return self._sign(
            {
                "iss": issuer,
                "sub": str(claims.user_id),
                "aud": claims.resource,
                "client_id": claims.client_id,
                "scope": claims.scope,
                "typ": "grant",
                "sid": str(claims.grant_id),
                "jti": str(uuid4()),
                "iat": datetime.now(UTC),
                "exp": claims.expires_at,
            }
        )

    def read_grant(self, token: str) -> GrantClaims:
        """Read what an OAuth client's access token says; for which address it is, its reader has to check.

        Raises:
            Unauthorized: It is not ours, not such a token, or over its time.
        """
        claims = self._read(token, "grant", verify_aud=False)
        try:
            return GrantClaims(
                UUID(claims["sub"]),
                UUID(claims["sid"]),
                str(claims["client_id"]),
                str(claims["aud"]),
                str(claims["scope"]),
                datetime.fromtimestamp(claims["exp"], UTC),
            )
        except (KeyError, ValueError):
            raise Unauthorized from None

    def read_refresh(self, token: str) -> RefreshClaims:
        """Read what the refresh token says.

        Raises:
            Unauthorized: It is not ours, not a refresh token, or over its time.
        """
        claims = self._read(token, "refresh")
        try:
            return RefreshClaims(
                UUID(claims["jti"]),
                UUID(claims["sid"]),
                UUID(claims["sub"]),
                datetime.fromtimestamp(claims["exp"], UTC),
            )
        except (KeyError, ValueError):
            raise Unauthorized from None

    def _sign(self, claims: dict[str, object]) -> str:
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def _read(
        self, token: str, kind: Literal["access", "refresh", "grant"], verify_aud: bool = True
    ) -> dict[str, Any]:
        for key in self._known:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=[_ALGORITHM],
                    options={"require_exp": True, "verify_aud": verify_aud},
                )
            except JWTError:
                continue
            if claims.get("typ") == kind:
                return claims
        raise Unauthorized


def load_tokens(settings: Settings) -> Tokens:
    """Make tokens of the master key, which also reads those that the previous one signed.

    Raises:
        UnusableKey: One of the keys is not 32 bytes in base64, or its file can be read by others.
    """
    security, previous = settings.security, load_previous_key(settings)
    older = [previous] if previous else []
    return Tokens(load_master_key(settings), security.access_ttl, security.refresh_ttl, *older)
