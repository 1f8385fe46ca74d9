"""JSON Web Tokens (RFC 7519), signed by HS256 with a key derived from the master key."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from jose import JWTError, jwt

from mcp_platform.contracts.access import Principal, Role, User
from mcp_platform.errors import Unauthorized
from mcp_platform.security.keys import MasterKey
from mcp_platform.security.permissions import ROLE_PERMISSIONS

_ALGORITHM = "HS256"


@dataclass(frozen=True)
class RefreshClaims:
    """What a refresh token says: which one it is, of which family, whose."""

    token_id: UUID
    family_id: UUID
    user_id: UUID
    expires_at: datetime


class Tokens:
    """Issues and reads tokens; keeps no record of them."""

    def __init__(self, key: MasterKey, access_ttl: int, refresh_ttl: int) -> None:
        self._key = key.derive("jwt")
        self.access_ttl = access_ttl
        self._refresh_ttl = timedelta(seconds=refresh_ttl)

    def issue_access(self, user: User, family_id: UUID) -> str:
        """Issue a token for requests; valid for `access_ttl` seconds."""
        now = datetime.now(UTC)
        return self._sign(
            {
                "sub": str(user.id),
                "name": user.username,
                "roles": [user.role.value],
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

    def read_access(self, token: str) -> Principal:
        """Who the token speaks for.

        Raises:
            Unauthorized: It is not ours, not an access token, or over its time.
        """
        claims = self._read(token, "access")
        try:
            roles = [Role(role) for role in claims["roles"]]
            return Principal(
                user_id=UUID(claims["sub"]),
                username=claims["name"],
                permissions=frozenset().union(*(ROLE_PERMISSIONS[role] for role in roles)),
                credential=f"session:{claims['sid']}",
            )
        except (KeyError, ValueError):
            raise Unauthorized from None

    def read_expiry(self, token: str) -> datetime:
        """When an access token ends.

        Raises:
            Unauthorized: It is not ours, or over its time.
        """
        return datetime.fromtimestamp(self._read(token, "access")["exp"], UTC)

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

    def _read(self, token: str, kind: Literal["access", "refresh"]) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key, algorithms=[_ALGORITHM], options={"require_exp": True}
            )
        except JWTError:
            raise Unauthorized from None
        if claims.get("typ") != kind:
            raise Unauthorized
        return claims
