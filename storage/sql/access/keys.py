"""API keys, known by their hashes."""

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, func, insert, or_, select, update

from mcp_platform.contracts.access import ApiKey, Permission, User
from storage.sql.access.accounts import user_of
from storage.sql.access.roles import permissions_of
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import ApiKeyRow, GroupMemberRow, McpRow, RoleRow, UserRow


@dataclass(frozen=True)
class KeyOwner:
    """A key, whom it speaks for, and what they may do now."""

    key: ApiKey
    user: User
    permissions: frozenset[Permission]
    group_ids: frozenset[UUID] = frozenset()
    """The groups that they are a member of."""


class ApiKeyRepository(Repository[SessionT]):
    """API keys."""

    async def add(self: "ApiKeyRepository[WriteSession]", key: ApiKey, user_id: UUID, key_hash: str) -> None:
        """Record a new key."""
        values = key.model_dump() | {
            "user_id": user_id,
            "key_hash": key_hash,
            "mcp_ids": None if key.mcp_ids is None else [str(mcp_id) for mcp_id in key.mcp_ids],
        }
        await self._session.execute(insert(ApiKeyRow).values(values))

    async def list(self, user_id: UUID) -> builtins.list[ApiKey]:
        """List a user's keys that are not revoked, newest first."""
        query = (
            select(ApiKeyRow)
            .where(ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None))
            .order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)
        )
        return [_key(row) for row in await self._session.scalars(query)]

    async def living(self, key_id: UUID, now: datetime) -> ApiKey | None:
        """Find the key with this id, as it is now, unless it was revoked or has expired."""
        query = select(ApiKeyRow).where(ApiKeyRow.id == key_id, *_living(now))
        row = await self._session.scalar(query.execution_options(populate_existing=True))
        return _key(row) if row else None

    async def count_living(self, user_id: UUID, now: datetime) -> int:
        """Count a user's keys that are neither revoked nor expired."""
        query = select(func.count()).select_from(ApiKeyRow).where(ApiKeyRow.user_id == user_id, *_living(now))
        return await self._session.scalar(query) or 0

    async def revoke(self: "ApiKeyRepository[WriteSession]", key_id: UUID, user_id: UUID) -> bool:
        """Revoke a user's key; false when the user has no such key."""
        theirs = update(ApiKeyRow).where(
            ApiKeyRow.id == key_id, ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None)
        )
        return await changed_rows(self._session, theirs.values(revoked_at=datetime.now(UTC))) == 1

    async def find_by_hash(self, key_hash: str) -> KeyOwner | None:
        """Find whom a key speaks for; nobody when it was revoked or its user is not active."""
        query = (
            select(ApiKeyRow, UserRow, RoleRow.permissions, GroupMemberRow.group_id)
            .join(UserRow, UserRow.id == ApiKeyRow.user_id)
            .outerjoin(RoleRow, RoleRow.name == UserRow.role)
            .outerjoin(GroupMemberRow, GroupMemberRow.user_id == UserRow.id)
            .where(ApiKeyRow.key_hash == key_hash, ApiKeyRow.revoked_at.is_(None), UserRow.is_active)
        )
        found = list(await self._session.execute(query))
        if not found:
            return None
        key, user, custom, _ = found[0]
        groups = frozenset(group_id for *_, group_id in found if group_id is not None)
        return KeyOwner(_key(key), user_of(user), permissions_of(user.role, custom), groups)

    async def note_uses(self: "ApiKeyRepository[WriteSession]", uses: Mapping[UUID, datetime]) -> None:
        """Record when keys were last used; an older moment never replaces a newer one."""
        if not uses:
            return
        statement = (
            update(ApiKeyRow)
            .where(
                ApiKeyRow.id == bindparam("key_id"),
                or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < bindparam("moment")),
            )
            .values(last_used_at=bindparam("moment"))
        )
        # In the order of their ids, as everybody who writes several rows.
        noted = [{"key_id": key_id, "moment": uses[key_id]} for key_id in sorted(uses)]
        connection = await self._session.connection()
        await connection.execute(statement, noted)

    async def unknown_mcps(self, mcp_ids: builtins.list[UUID]) -> set[UUID]:
        """Tell which of these are no MCPs."""
        known = await self._session.scalars(select(McpRow.id).where(McpRow.id.in_(mcp_ids)))
        return set(mcp_ids) - set(known)


def _living(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return ApiKeyRow.revoked_at.is_(None), or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now)


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey.model_validate(row, from_attributes=True)
