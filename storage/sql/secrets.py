"""Secrets, sealed: this module never sees a value."""

import builtins
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert, select, update

from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.secrets import SHARED, Secret
from storage.sql.access.roles import permissions_of
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows, inserted
from storage.sql.tables import RoleRow, SecretRow, UserRow


class SecretRepository(Repository[SessionT]):
    """Secrets by holder and name; a holder is an account, or `shared`."""

    async def get(self, holder: str, name: str) -> Secret | None:
        """Find the secret of this holder and name."""
        query = select(SecretRow).where(SecretRow.holder == holder, SecretRow.name == name)
        row = await self._session.scalar(query)
        return _secret(row) if row else None

    async def list(self, *holders: str) -> builtins.list[Secret]:
        """List these holders' secrets by name."""
        query = (
            select(SecretRow).where(SecretRow.holder.in_(holders)).order_by(SecretRow.name, SecretRow.holder)
        )
        return [_secret(row) for row in await self._session.scalars(query)]

    async def add(self: "SecretRepository[WriteSession]", secret: Secret, sealed_value: str) -> bool:
        """Add a secret; false when its holder has one of this name."""
        values = secret.model_dump() | {"sealed_value": sealed_value}
        return await inserted(self._session, insert(SecretRow).values(values))

    async def replace(
        self: "SecretRepository[WriteSession]", secret_id: UUID, sealed_value: str, now: datetime
    ) -> bool:
        """Give a secret a new value; false when it is gone."""
        changed = update(SecretRow).where(SecretRow.id == secret_id)
        return bool(
            await changed_rows(self._session, changed.values(sealed_value=sealed_value, updated_at=now))
        )

    async def delete(self: "SecretRepository[WriteSession]", secret_id: UUID) -> bool:
        """Remove a secret; false when there is none."""
        return bool(await changed_rows(self._session, delete(SecretRow).where(SecretRow.id == secret_id)))

    async def using_shared(self, owner_ids: Collection[UUID]) -> set[UUID]:
        """Tell whose configurations may refer to shared secrets, by the roles that they have now."""
        query = (
            select(UserRow.id, UserRow.role, RoleRow.permissions)
            .outerjoin(RoleRow, RoleRow.name == UserRow.role)
            .where(UserRow.id.in_(owner_ids))
        )
        return {
            user_id
            for user_id, role, custom in await self._session.execute(query)
            if Permission.SECRETS_USE in permissions_of(role, custom)
        }

    async def sealed(self, owner_id: UUID, names: Collection[str]) -> dict[str, tuple[UUID, str]]:
        """Find what these names stand for in this owner's configurations: id and sealed value of each.

        The owner's own secret wins over a shared one, which counts only if they may use it.
        """
        holders = [owner_id.hex, *([SHARED] if await self.using_shared([owner_id]) else [])]
        query = select(SecretRow).where(SecretRow.holder.in_(holders), SecretRow.name.in_(names))
        found: dict[str, tuple[UUID, str]] = {}
        for row in await self._session.scalars(query):
            if row.name not in found or row.holder != SHARED:
                found[row.name] = (row.id, row.sealed_value)
        return found

    async def sealed_of(self, *holders: str) -> builtins.list[tuple[Secret, str]]:
        """List these holders' secrets with their sealed values."""
        rows = await self._session.scalars(select(SecretRow).where(SecretRow.holder.in_(holders)))
        return [(_secret(row), row.sealed_value) for row in rows]

    async def holders_of(self, name: str) -> set[str]:
        """Find who has a secret of this name."""
        return set(await self._session.scalars(select(SecretRow.holder).where(SecretRow.name == name)))


def _secret(row: SecretRow) -> Secret:
    return Secret.model_validate(row, from_attributes=True)
