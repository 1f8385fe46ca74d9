"""`/api/v1/roles`: what accounts of each role may do."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, status

from api.audit import about
from api.dependencies import PartsDep, Requires
from api.v1.access.callers import check_within, still
from api.v1.answers import Message
from mcp_platform.contracts.access import CreateRole, Permission, Principal, Role, RoleDetails, RoleOrder
from mcp_platform.errors import Conflict, NotFound
from mcp_platform.security.permissions import ROLE_PERMISSIONS
from storage.sql.engine import WriteSession
from storage.stores import Rows

router = APIRouter(prefix="/roles", tags=["Roles"])

Reader = Annotated[Principal, Depends(Requires(Permission.USERS_READ))]
Maker = Annotated[Principal, Depends(Requires(Permission.USERS_APPOINT))]
RoleName = Annotated[str, Path(max_length=32, description="The role's name")]

_DESCRIPTIONS = {
    Role.ADMIN: "May do everything",
    Role.DEVELOPER: "Makes and deploys MCPs",
    Role.VIEWER: "Looks around and calls tools",
}


@router.get("")
async def list_roles(caller: Reader, parts: PartsDep) -> list[RoleDetails]:
    """List all roles, the built-in ones first."""
    built_in = [
        RoleDetails(
            name=role,
            description=_DESCRIPTIONS[role],
            permissions=sorted(ROLE_PERMISSIONS[role]),
            built_in=True,
        )
        for role in Role
    ]
    async with parts.stores.read() as rows:
        return built_in + await rows.roles.list()


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_role(order: CreateRole, caller: Maker, parts: PartsDep) -> RoleDetails:
    """Make a role of permissions that the caller has."""
    _check_custom(order.name)
    about("role", order.name)
    now = datetime.now(UTC)
    role = RoleDetails(**order.model_dump(), created_at=now, updated_at=now)
    async with parts.stores.write() as rows:
        _check_granted(await still(rows, caller, Permission.USERS_APPOINT), order)
        await rows.roles.add(role)
    return role


@router.put("/{name}")
async def change_role(name: RoleName, order: RoleOrder, caller: Maker, parts: PartsDep) -> RoleDetails:
    """Replace what a role may do; it acts on everybody who has it, at once."""
    _check_custom(name)
    async with parts.stores.write() as rows:
        caller = await still(rows, caller, Permission.USERS_APPOINT, roles=(name,))
        _check_granted(caller, order)
        present = await _find(rows, name, caller)
        changed = present.model_copy(update={**order.model_dump(), "updated_at": datetime.now(UTC)})
        await rows.roles.change(changed)
    await parts.credentials.changed()
    return changed


@router.delete("/{name}")
async def delete_role(name: RoleName, caller: Maker, parts: PartsDep) -> Message:
    """Delete a role; 409 while somebody has it."""
    _check_custom(name)
    async with parts.stores.write() as rows:
        caller = await still(rows, caller, Permission.USERS_APPOINT, roles=(name,))
        await _find(rows, name, caller)
        holders = await rows.roles.holders(name)
        if holders:
            raise Conflict(
                f"{holders} accounts have the role {name!r}: give them another one first",
                resource_type="role",
                resource_id=name,
                accounts=holders,
            )
        await rows.roles.delete(name)
    return Message(message="Role deleted successfully")


async def _find(rows: Rows[WriteSession], name: str, caller: Principal) -> RoleDetails:
    """Give the role to change, which is locked."""
    role = await rows.roles.lock(name)
    if role is None:
        raise NotFound("role", name)
    check_within(caller, frozenset(role.permissions), f"The role {name!r}")
    return role


def _check_custom(name: str) -> None:
    if name in set(Role):
        raise Conflict(
            f"The role {name!r} is built in and stays as it is; make one of another name",
            resource_type="role",
            resource_id=name,
        )


def _check_granted(caller: Principal, order: RoleOrder) -> None:
    check_within(caller, frozenset(order.permissions), "The role")
