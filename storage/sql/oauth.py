"""OAuth clients, and what users granted them."""

import builtins
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import and_, delete, func, insert, or_, select, update

from mcp_platform.contracts.access import Permission, User
from mcp_platform.contracts.oauth import Grant, NewGrant, OAuthClient
from storage.sql.access.accounts import user_of
from storage.sql.access.roles import permissions_of
from storage.sql.engine import SessionT, WriteSession
from storage.sql.oauth_tables import OAuthClientRow, OAuthGrantRow, OAuthRefreshTokenRow
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import GroupMemberRow, RoleRow, UserRow


@dataclass(frozen=True)
class GrantOwner:
    """A grant that holds, whom it speaks for, and what they may do now."""

    grant: Grant
    user: User
    permissions: frozenset[Permission]
    group_ids: frozenset[UUID] = frozenset()
    """The groups that they are a member of."""


@dataclass(frozen=True)
class KeptGrant:
    """A grant as it is kept, whether it holds or not."""

    grant: Grant
    user_id: UUID
    redirect_uri: str
    challenge: str
    revoked: bool


class Redeemed(StrEnum):
    """What became of an attempt to use a code or a refresh token up."""

    SPENT = "spent"
    """It was good, and is used up now."""
    REUSED = "reused"
    """It was used up before: its grant is ended now."""
    UNKNOWN = "unknown"
    """It does not exist, is over its time, or its grant was ended."""


_NEVER_USED: Final = OAuthClientRow.last_used_at == OAuthClientRow.created_at
_NOT_GRANTED: Final = OAuthClientRow.id.not_in(
    select(OAuthGrantRow.client_id).where(OAuthGrantRow.revoked_at.is_(None))
)


class OAuthClientRepository(Repository[SessionT]):
    """Clients that registered themselves."""

    async def add(self: "OAuthClientRepository[WriteSession]", client: OAuthClient, now: datetime) -> None:
        """Record a new client."""
        values = client.model_dump(exclude={"registered", "authentication"})
        values |= {"authentication": client.authentication.value, "created_at": now, "last_used_at": now}
        await self._session.execute(insert(OAuthClientRow).values(values))

    async def get(self, client_id: str) -> OAuthClient | None:
        """Find a client."""
        row = await self._session.scalar(select(OAuthClientRow).where(OAuthClientRow.id == client_id))
        return OAuthClient.model_validate(row, from_attributes=True) if row else None

    async def count(self) -> int:
        """Count the clients."""
        return await self._session.scalar(select(func.count()).select_from(OAuthClientRow)) or 0

    async def used(self: "OAuthClientRepository[WriteSession]", client_id: str, now: datetime) -> None:
        """Note that a client got tokens."""
        known = update(OAuthClientRow).where(OAuthClientRow.id == client_id)
        await self._session.execute(known.values(last_used_at=now))

    async def forget_unused(
        self: "OAuthClientRepository[WriteSession]", before: datetime, never_before: datetime
    ) -> int:
        """Remove clients that no grant is for, and that got no tokens for long.

        Args:
            before: When those that ever got any were used last.
            never_before: When those that never got any registered.
        """
        abandoned = and_(_NEVER_USED, OAuthClientRow.created_at < never_before)
        old = or_(OAuthClientRow.last_used_at < before, abandoned)
        return await changed_rows(self._session, delete(OAuthClientRow).where(old, _NOT_GRANTED))

    async def make_room(self: "OAuthClientRepository[WriteSession]", wanted: int) -> bool:
        """Remove the oldest of those that never got tokens; tells whether there were so many."""
        oldest = select(OAuthClientRow.id).where(_NEVER_USED, _NOT_GRANTED)
        oldest = oldest.order_by(OAuthClientRow.created_at, OAuthClientRow.id).limit(wanted)
        found = list(await self._session.scalars(oldest))
        await self._session.execute(delete(OAuthClientRow).where(OAuthClientRow.id.in_(found)))
        return len(found) == wanted


class GrantRepository(Repository[SessionT]):
    """Grants, and the codes and refresh tokens that carry them on: each is spent once."""

    async def add(self: "GrantRepository[WriteSession]", grant: NewGrant) -> None:
        """Record what a user agreed to, until its code is exchanged."""
        await self._session.execute(insert(OAuthGrantRow).values(grant.model_dump()))

    async def by_code(self: "GrantRepository[WriteSession]", code_hash: str) -> KeptGrant | None:
        """Find the grant of a code, and hold off others who would use it up."""
        query = select(OAuthGrantRow).where(OAuthGrantRow.code_hash == code_hash).with_for_update()
        row = await self._session.scalar(query.execution_options(populate_existing=True))
        return _kept(row) if row else None

    async def by_id(self: "GrantRepository[WriteSession]", grant_id: UUID) -> KeptGrant | None:
        """Find a grant, and hold off others who would change it."""
        query = select(OAuthGrantRow).where(OAuthGrantRow.id == grant_id).with_for_update()
        row = await self._session.scalar(query.execution_options(populate_existing=True))
        return _kept(row) if row else None

    async def by_refresh_token(self: "GrantRepository[WriteSession]", token_hash: str) -> KeptGrant | None:
        """Find the grant of a refresh token, spent or not, and hold off others who would use it up."""
        grant_id = await self._session.scalar(
            select(OAuthRefreshTokenRow.grant_id).where(OAuthRefreshTokenRow.token_hash == token_hash)
        )
        return await self.by_id(grant_id) if grant_id is not None else None

    async def spend_code(self: "GrantRepository[WriteSession]", kept: KeptGrant, now: datetime) -> Redeemed:
        """Use the code of a locked grant up; a second use ends the grant and all that came of it."""
        if kept.revoked:
            return Redeemed.UNKNOWN
        unspent = update(OAuthGrantRow).where(
            OAuthGrantRow.id == kept.grant.id, OAuthGrantRow.code_spent_at.is_(None)
        )
        fresh = unspent.where(OAuthGrantRow.expires_at > now).values(code_spent_at=now)
        if await changed_rows(self._session, fresh):
            return Redeemed.SPENT
        spent = select(OAuthGrantRow.code_spent_at).where(OAuthGrantRow.id == kept.grant.id)
        if await self._session.scalar(spent) is None:
            return Redeemed.UNKNOWN
        await self.revoke(kept.grant.id, now)
        return Redeemed.REUSED

    async def spend_refresh_token(
        self: "GrantRepository[WriteSession]", kept: KeptGrant, token_hash: str, now: datetime
    ) -> Redeemed:
        """Use a refresh token of a locked grant up; a second use ends the grant."""
        if kept.revoked:
            return Redeemed.UNKNOWN
        same = OAuthRefreshTokenRow.token_hash == token_hash
        expires_at = await self._session.scalar(select(OAuthRefreshTokenRow.expires_at).where(same))
        unspent = update(OAuthRefreshTokenRow).where(same, OAuthRefreshTokenRow.spent_at.is_(None))
        if not await changed_rows(self._session, unspent.values(spent_at=now)):
            await self.revoke(kept.grant.id, now)
            return Redeemed.REUSED
        return Redeemed.SPENT if expires_at is not None and expires_at > now else Redeemed.UNKNOWN

    async def carry_on(
        self: "GrantRepository[WriteSession]",
        grant_id: UUID,
        token_hash: str,
        now: datetime,
        expires_at: datetime,
    ) -> None:
        """Record the next refresh token of a grant, which lasts as long as that."""
        token = insert(OAuthRefreshTokenRow).values(
            token_hash=token_hash, grant_id=grant_id, expires_at=expires_at, spent_at=None
        )
        await self._session.execute(token)
        extended = update(OAuthGrantRow).where(OAuthGrantRow.id == grant_id)
        await self._session.execute(extended.values(expires_at=expires_at, last_used_at=now))

    async def owner(self, grant_id: UUID, now: datetime) -> GrantOwner | None:
        """Find whom a grant speaks for; nobody when it was ended or its user is not active."""
        query = (
            select(OAuthGrantRow, UserRow, RoleRow.permissions, GroupMemberRow.group_id)
            .join(UserRow, UserRow.id == OAuthGrantRow.user_id)
            .outerjoin(RoleRow, RoleRow.name == UserRow.role)
            .outerjoin(GroupMemberRow, GroupMemberRow.user_id == UserRow.id)
            .where(
                OAuthGrantRow.id == grant_id,
                OAuthGrantRow.revoked_at.is_(None),
                OAuthGrantRow.expires_at > now,
                UserRow.is_active,
            )
        )
        found = list(await self._session.execute(query))
        if not found:
            return None
        grant, user, custom, _ = found[0]
        groups = frozenset(group_id for *_, group_id in found if group_id is not None)
        return GrantOwner(_grant(grant), user_of(user), permissions_of(user.role, custom), groups)

    async def list(self, user_id: UUID, now: datetime) -> builtins.list[Grant]:
        """List a user's grants that hold and were used, the newest first."""
        query = (
            select(OAuthGrantRow)
            .where(
                OAuthGrantRow.user_id == user_id,
                OAuthGrantRow.revoked_at.is_(None),
                OAuthGrantRow.code_spent_at.is_not(None),
                OAuthGrantRow.expires_at > now,
            )
            .order_by(OAuthGrantRow.created_at.desc(), OAuthGrantRow.id)
        )
        return [_grant(row) for row in await self._session.scalars(query)]

    async def end(
        self: "GrantRepository[WriteSession]", grant_id: UUID, user_id: UUID, now: datetime
    ) -> bool:
        """End a user's grant; false when the user has no such grant."""
        theirs = update(OAuthGrantRow).where(
            OAuthGrantRow.id == grant_id,
            OAuthGrantRow.user_id == user_id,
            OAuthGrantRow.revoked_at.is_(None),
        )
        return await changed_rows(self._session, theirs.values(revoked_at=now)) == 1

    async def end_all(self: "GrantRepository[WriteSession]", user_id: UUID, now: datetime) -> int:
        """End all grants of a user; tells how many."""
        theirs = update(OAuthGrantRow).where(
            OAuthGrantRow.user_id == user_id, OAuthGrantRow.revoked_at.is_(None)
        )
        return await changed_rows(self._session, theirs.values(revoked_at=now))

    async def revoke(self: "GrantRepository[WriteSession]", grant_id: UUID, now: datetime) -> bool:
        """End a grant; false when it was ended before."""
        living = update(OAuthGrantRow).where(OAuthGrantRow.id == grant_id, OAuthGrantRow.revoked_at.is_(None))
        return await changed_rows(self._session, living.values(revoked_at=now)) == 1

    async def delete_expired(self: "GrantRepository[WriteSession]", now: datetime) -> int:
        """Forget refresh tokens and grants that are over their time; tells how many grants."""
        tokens = delete(OAuthRefreshTokenRow).where(OAuthRefreshTokenRow.expires_at <= now)
        await self._session.execute(tokens)
        return await changed_rows(self._session, delete(OAuthGrantRow).where(OAuthGrantRow.expires_at <= now))


def _grant(row: OAuthGrantRow) -> Grant:
    return Grant.model_validate(row, from_attributes=True)


def _kept(row: OAuthGrantRow) -> KeptGrant:
    return KeptGrant(_grant(row), row.user_id, row.redirect_uri, row.challenge, row.revoked_at is not None)
