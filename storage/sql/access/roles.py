"""Roles that administrators make, and what each role allows."""

from collections.abc import Iterable

from sqlalchemy import delete, func, insert, select, update

from mcp_platform.contracts.access import Permission, Role, RoleDetails
from mcp_platform.errors import Conflict
from mcp_platform.security.permissions import ROLE_PERMISSIONS
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows, inserted
from storage.sql.tables import RoleRow, UserRow


class RoleRepository(Repository[SessionT]):
    """Custom roles; the built-in ones are no rows."""

    async def list(self) -> list[RoleDetails]:
        """List them in the order of their names."""
        rows = await self._session.scalars(select(RoleRow).order_by(RoleRow.name))
        return [_details(row) for row in rows]

    async def permissions(self, role: str) -> frozenset[Permission] | None:
        """Tell what a role allows, built-in or not; None when there is no such role."""
        if role in set(Role):
            return ROLE_PERMISSIONS[Role(role)]
        stored = await self._session.scalar(select(RoleRow.permissions).where(RoleRow.name == role))
        return None if stored is None else permissions_of(role, stored)

    async def lock(self: "RoleRepository[WriteSession]", name: str) -> RoleDetails | None:
        """Find a custom role, and keep others from changing it until this transaction ends."""
        row = await self._session.scalar(select(RoleRow).where(RoleRow.name == name).with_for_update())
        return _details(row) if row else None

    async def add(self: "RoleRepository[WriteSession]", role: RoleDetails) -> None:
        """Add a role.

        Raises:
            Conflict: There is one of this name.
        """
        if not await inserted(self._session, insert(RoleRow).values(_values(role))):
            raise Conflict(
                f"There is a role {role.name!r} already", resource_type="role", resource_id=role.name
            )

    async def change(self: "RoleRepository[WriteSession]", role: RoleDetails) -> None:
        """Replace a role's description and permissions."""
        await self._session.execute(update(RoleRow).where(RoleRow.name == role.name).values(_values(role)))

    async def delete(self: "RoleRepository[WriteSession]", name: str) -> bool:
        """Delete a role; false when there is none of this name."""
        return await changed_rows(self._session, delete(RoleRow).where(RoleRow.name == name)) == 1

    async def holders(self, name: str) -> int:
        """Count the accounts that have a role."""
        query = select(func.count(UserRow.id)).where(UserRow.role == name)
        return await self._session.scalar(query) or 0


def permissions_of(role: str, custom: Iterable[str] | None) -> frozenset[Permission]:
    """Tell what an account may do.

    Args:
        role: Its role.
        custom: The permissions in the role's row, where there is one. A permission that an older
            release knew allows nothing.
    """
    if role in set(Role):
        return ROLE_PERMISSIONS[Role(role)]
    known = set(Permission)
    return frozenset(Permission(name) for name in custom or () if name in known)


def _details(row: RoleRow) -> RoleDetails:
    return RoleDetails(
        name=row.name,
        description=row.description,
        permissions=sorted(permissions_of(row.name, row.permissions)),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _values(role: RoleDetails) -> dict[str, object]:
    return role.model_dump(mode="python", exclude={"built_in"})
