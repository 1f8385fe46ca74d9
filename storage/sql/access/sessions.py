"""Sessions, and the refresh tokens that carry them on."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import delete, insert, select, update

from mcp_platform.contracts.access import Permission, Session, User
from mcp_platform.security.tokens import RefreshClaims
from storage.sql.access.accounts import user_of
from storage.sql.access.roles import permissions_of
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import GroupMemberRow, RefreshTokenRow, RoleRow, TokenFamilyRow, UserRow

_ADDRESS_LENGTH = 64
_USER_AGENT_LENGTH = 255


class Spending(StrEnum):
    """What became of an attempt to spend a refresh token."""

    SPENT = "spent"
    """It was good, and is used up now."""
    REUSED = "reused"
    """It was used up before: its family is revoked now."""
    UNKNOWN = "unknown"
    """It does not exist, or its family was revoked."""


@dataclass(frozen=True)
class SessionOwner:
    """Whom a session speaks for, and what they may do now."""

    user: User
    permissions: frozenset[Permission]
    group_ids: frozenset[UUID] = frozenset()
    """The groups that they are a member of."""


class RefreshTokenRepository(Repository[SessionT]):
    """Refresh tokens, which rotate: each is spent once, and a second use ends the whole session."""

    async def add(
        self: "RefreshTokenRepository[WriteSession]",
        claims: RefreshClaims,
        address: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        """Record an issued token; the first of a family begins it."""
        now = datetime.now(UTC)
        seen: dict[str, object] = {"expires_at": claims.expires_at, "refreshed_at": now}
        if address is not None:
            seen["address"] = address[:_ADDRESS_LENGTH]
        extended = update(TokenFamilyRow).where(TokenFamilyRow.id == claims.family_id)
        if not await changed_rows(self._session, extended.values(seen)):
            family = insert(TokenFamilyRow).values(
                id=claims.family_id,
                user_id=claims.user_id,
                created_at=now,
                user_agent=user_agent[:_USER_AGENT_LENGTH] if user_agent else None,
                **seen,
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

    async def owner(self, family_id: UUID) -> SessionOwner | None:
        """Find whom a session speaks for; nobody when it was ended or its user is not active."""
        query = (
            select(UserRow, RoleRow.permissions, GroupMemberRow.group_id)
            .join(TokenFamilyRow, TokenFamilyRow.user_id == UserRow.id)
            .outerjoin(RoleRow, RoleRow.name == UserRow.role)
            .outerjoin(GroupMemberRow, GroupMemberRow.user_id == UserRow.id)
            .where(TokenFamilyRow.id == family_id, TokenFamilyRow.revoked_at.is_(None), UserRow.is_active)
        )
        found = list(await self._session.execute(query))
        if not found:
            return None
        user, custom, _ = found[0]
        groups = frozenset(group_id for *_, group_id in found if group_id is not None)
        return SessionOwner(user_of(user), permissions_of(user.role, custom), groups)

    async def lock(self: "RefreshTokenRepository[WriteSession]", family_id: UUID) -> bool:
        """Keep a session from being ended until this transaction ends; false when it was ended before."""
        living = select(TokenFamilyRow.id).where(
            TokenFamilyRow.id == family_id, TokenFamilyRow.revoked_at.is_(None)
        )
        return await self._session.scalar(living.with_for_update()) is not None

    async def sessions(self, user_id: UUID) -> list[Session]:
        """List a user's sessions that go on, the one last refreshed first."""
        query = (
            select(TokenFamilyRow)
            .where(
                TokenFamilyRow.user_id == user_id,
                TokenFamilyRow.revoked_at.is_(None),
                TokenFamilyRow.expires_at > datetime.now(UTC),
            )
            .order_by(TokenFamilyRow.expires_at.desc(), TokenFamilyRow.id)
        )
        rows = await self._session.scalars(query)
        return [Session.model_validate(row, from_attributes=True) for row in rows]

    async def end(self: "RefreshTokenRepository[WriteSession]", family_id: UUID, user_id: UUID) -> bool:
        """End a user's session; false when the user has no such session."""
        theirs = update(TokenFamilyRow).where(
            TokenFamilyRow.id == family_id,
            TokenFamilyRow.user_id == user_id,
            TokenFamilyRow.revoked_at.is_(None),
        )
        return await changed_rows(self._session, theirs.values(revoked_at=datetime.now(UTC))) == 1

    async def end_all(
        self: "RefreshTokenRepository[WriteSession]", user_id: UUID, but: UUID | None = None
    ) -> None:
        """End all sessions of a user, but one."""
        theirs = update(TokenFamilyRow).where(
            TokenFamilyRow.user_id == user_id, TokenFamilyRow.revoked_at.is_(None)
        )
        if but is not None:
            theirs = theirs.where(TokenFamilyRow.id != but)
        await self._session.execute(theirs.values(revoked_at=datetime.now(UTC)))

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
