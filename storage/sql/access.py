"""Accounts, refresh tokens and API keys."""

import builtins
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update

from mcp_platform.contracts.access import ApiKey, User
from mcp_platform.errors import Conflict
from mcp_platform.security.tokens import RefreshClaims
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows, inserted
from storage.sql.tables import ApiKeyRow, RefreshTokenRow, TokenFamilyRow, UserRow


@dataclass(frozen=True)
class Account:
    """A user with what proves that it is them."""

    user: User
    password_hash: str


class Spending(StrEnum):
    """What became of an attempt to spend a refresh token."""

    SPENT = "spent"
    """It was good, and is used up now."""
    REUSED = "reused"
    """It was used up before: its family is revoked now."""
    UNKNOWN = "unknown"
    """It does not exist, or its family was revoked."""


@dataclass(frozen=True)
class KeyOwner:
    """Whom an API key speaks for, and until when."""

    key_id: UUID
    user: User
    expires_at: datetime | None


class UserRepository(Repository[SessionT]):
    """Accounts."""

    async def add(self: "UserRepository[WriteSession]", user: User, password_hash: str) -> None:
        """Add an account.

        Raises:
            Conflict: The username or the e-mail address is taken, in whatever case; `field` says which.
        """
        values = user.model_dump() | {
            "password_hash": password_hash,
            "username_key": user.username.lower(),
            "email_key": user.email.lower(),
        }
        if await inserted(self._session, insert(UserRow).values(values)):
            return
        same_name = select(UserRow.id).where(UserRow.username_key == user.username.lower())
        if await self._session.scalar(same_name):
            raise Conflict("This username is taken", resource_type="user", field="username")
        raise Conflict("This e-mail address is taken", resource_type="user", field="email")

    async def get(self, user_id: UUID) -> User | None:
        """Find the account with this id."""
        row = await self._session.get(UserRow, user_id)
        return _user(row) if row else None

    async def find_by_username(self, username: str) -> Account | None:
        """Find the account with this name, in whatever case."""
        query = select(UserRow).where(UserRow.username_key == username.lower())
        row = await self._session.scalar(query)
        return Account(_user(row), row.password_hash) if row else None

    async def count(self) -> int:
        """Count the accounts."""
        return await self._session.scalar(select(func.count()).select_from(UserRow)) or 0


class RefreshTokenRepository(Repository[SessionT]):
    """Refresh tokens, which rotate: each is spent once, and a second use ends the whole session."""

    async def add(self: "RefreshTokenRepository[WriteSession]", claims: RefreshClaims) -> None:
        """Record an issued token; the first of a family begins it."""
        extended = update(TokenFamilyRow).where(TokenFamilyRow.id == claims.family_id)
        if not await changed_rows(self._session, extended.values(expires_at=claims.expires_at)):
            family = insert(TokenFamilyRow).values(
                id=claims.family_id, user_id=claims.user_id, expires_at=claims.expires_at
            )
            await self._session.execute(family)
        token = insert(RefreshTokenRow).values(
            id=claims.token_id, family_id=claims.family_id, expires_at=claims.expires_at
        )
        await self._session.execute(token)

    async def spend(self: "RefreshTokenRepository[WriteSession]", token_id: UUID) -> Spending:
        """Use a token up; of any number of callers exactly one hears `SPENT`."""
        family_id = await self._session.scalar(
            select(RefreshTokenRow.family_id).where(RefreshTokenRow.id == token_id)
        )
        family = select(TokenFamilyRow).where(TokenFamilyRow.id == family_id).with_for_update()
        locked = await self._session.scalar(family)
        if locked is None or locked.revoked_at is not None:
            return Spending.UNKNOWN
        unspent = update(RefreshTokenRow).where(
            RefreshTokenRow.id == token_id, RefreshTokenRow.spent_at.is_(None)
        )
        if await changed_rows(self._session, unspent.values(spent_at=datetime.now(UTC))):
            return Spending.SPENT
        await self.revoke_family(locked.id)
        return Spending.REUSED

    async def revoke_family(self: "RefreshTokenRepository[WriteSession]", family_id: UUID) -> None:
        """End a session: none of its tokens can be spent any more."""
        living = update(TokenFamilyRow).where(
            TokenFamilyRow.id == family_id, TokenFamilyRow.revoked_at.is_(None)
        )
        await self._session.execute(living.values(revoked_at=datetime.now(UTC)))

    async def delete_expired(self: "RefreshTokenRepository[WriteSession]", now: datetime) -> int:
        """Forget tokens, and whole sessions, that are over their time; tells how many tokens."""
        tokens = await changed_rows(
            self._session, delete(RefreshTokenRow).where(RefreshTokenRow.expires_at <= now)
        )
        await self._session.execute(delete(TokenFamilyRow).where(TokenFamilyRow.expires_at <= now))
        return tokens


class ApiKeyRepository(Repository[SessionT]):
    """API keys, known by their hashes."""

    async def add(self: "ApiKeyRepository[WriteSession]", key: ApiKey, user_id: UUID, key_hash: str) -> None:
        """Record a new key."""
        values = key.model_dump() | {"user_id": user_id, "key_hash": key_hash}
        await self._session.execute(insert(ApiKeyRow).values(values))

    async def list(self, user_id: UUID) -> builtins.list[ApiKey]:
        """List a user's keys that are not revoked, newest first."""
        query = (
            select(ApiKeyRow)
            .where(ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None))
            .order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)
        )
        rows = await self._session.scalars(query)
        return [ApiKey.model_validate(row, from_attributes=True) for row in rows]

    async def revoke(self: "ApiKeyRepository[WriteSession]", key_id: UUID, user_id: UUID) -> bool:
        """Revoke a user's key; false when the user has no such key."""
        theirs = update(ApiKeyRow).where(
            ApiKeyRow.id == key_id, ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None)
        )
        return await changed_rows(self._session, theirs.values(revoked_at=datetime.now(UTC))) == 1

    async def find_by_hash(self, key_hash: str) -> KeyOwner | None:
        """Find whom a key speaks for; nobody when it was revoked or its user is not active."""
        query = (
            select(ApiKeyRow, UserRow)
            .join(UserRow, UserRow.id == ApiKeyRow.user_id)
            .where(ApiKeyRow.key_hash == key_hash, ApiKeyRow.revoked_at.is_(None), UserRow.is_active)
        )
        found = (await self._session.execute(query)).one_or_none()
        if found is None:
            return None
        key, user = found
        return KeyOwner(key.id, _user(user), key.expires_at)


def _user(row: UserRow) -> User:
    return User.model_validate(row, from_attributes=True)
