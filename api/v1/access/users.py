"""`/api/v1/users`: the administration of accounts."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from api.dependencies import PartsDep, Requires
from api.v1.access.callers import check_within, still
from api.v1.answers import Deleted, pages
from mcp_platform.contracts.access import ChangeUser, Permission, Principal, Role, User, UserDetails
from mcp_platform.contracts.base import Contract
from mcp_platform.errors import Conflict, Forbidden, NotFound, ValidationFailed
from storage.sql.engine import WriteSession
from storage.stores import Rows

router = APIRouter(prefix="/users", tags=["Users"])

Reader = Annotated[Principal, Depends(Requires(Permission.USERS_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.USERS_WRITE))]
UserId = Annotated[UUID, Path(description="The account's id")]


class UserPage(Contract):
    """One page of a list."""

    items: list[UserDetails]
    total: int
    page: int
    page_size: int
    pages: int


@router.get("")
async def list_users(
    caller: Reader,
    parts: PartsDep,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    search: Annotated[str | None, Query(max_length=255, description="Part of a name or address")] = None,
    role: Annotated[str | None, Query(max_length=32)] = None,
    is_active: bool | None = None,
) -> UserPage:
    """List accounts in the order of their names."""
    async with parts.stores.read() as rows:
        found = await rows.users.list(
            page=page, page_size=page_size, search=search, role=role, is_active=is_active
        )
        secured = await rows.factors.confirmed([user.id for user in found.items])
    return UserPage(
        items=[_details(user, user.id in secured) for user in found.items],
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


@router.get("/{user_id}")
async def read_user(user_id: UserId, caller: Reader, parts: PartsDep) -> UserDetails:
    """Show an account."""
    async with parts.stores.read() as rows:
        user = await rows.users.get(user_id)
        if user is None:
            raise NotFound("user", user_id)
        return _details(user, bool(await rows.factors.confirmed([user_id])))


@router.patch("/{user_id}")
async def change_user(user_id: UserId, order: ChangeUser, caller: Writer, parts: PartsDep) -> UserDetails:
    """Change an account's role or address, disable it or enable it again; it acts at once, everywhere.

    Disabling ends its sessions and OAuth grants for good; its API keys hold again once it is enabled.
    """
    async with parts.stores.write() as rows:
        given = () if order.role is None else (order.role,)
        caller, administrators = await _with_administrators(rows, caller, user_id, given)
        user = await _find(rows, caller, user_id)
        if order.role is not None and order.role != user.role:
            await _check_role(rows, caller, order.role)
        changed = user.model_copy(update=order.model_dump(exclude_none=True))
        if not changed.is_active or changed.role != Role.ADMIN:
            _check_another(administrators, user_id)
        await rows.users.change(changed)
        if not changed.is_active:
            await rows.refresh_tokens.end_all(user_id)
            await rows.grants.end_all(user_id, datetime.now(UTC))
        secured = bool(await rows.factors.confirmed([user_id]))
    await parts.credentials.changed(user_id)
    return _details(changed, secured)


@router.delete("/{user_id}")
async def delete_user(user_id: UserId, caller: Writer, parts: PartsDep) -> Deleted:
    """Delete an account; 409 while it owns MCPs, active deployments or connections: disable it instead."""
    async with parts.stores.write() as rows:
        caller, administrators = await _with_administrators(rows, caller, user_id)
        await _find(rows, caller, user_id)
        _check_another(administrators, user_id)
        owned = await rows.users.belongings(user_id)
        if owned.mcps or owned.deployments or owned.connections:
            raise Conflict(
                f"This account owns {owned.mcps} MCPs, {owned.deployments} active deployments and"
                f" {owned.connections} connections to repositories:"
                " delete these first, or disable the account by PATCH with is_active false",
                resource_type="user",
                resource_id=str(user_id),
                mcps=owned.mcps,
                deployments=owned.deployments,
                connections=owned.connections,
            )
        await rows.users.delete(user_id)
    await parts.credentials.changed(user_id)
    return Deleted(message="User deleted successfully", id=user_id)


@router.delete("/{user_id}/mfa")
async def turn_off_factor(user_id: UserId, caller: Writer, parts: PartsDep) -> Deleted:
    """Turn off the second factor of somebody else who lost it, and their recovery codes with it."""
    if user_id == caller.user_id:
        raise Forbidden(
            Permission.USERS_WRITE,
            "Your own second factor you turn off by DELETE /api/v1/auth/me/mfa, with password and code;"
            " when you lost it ask another administrator",
        )
    async with parts.stores.write() as rows:
        caller = await still(rows, caller, Permission.USERS_WRITE, accounts=(user_id,))
        await _find(rows, caller, user_id)
        if not await rows.factors.remove(user_id):
            raise NotFound("second_factor", user_id, "This account has no second factor")
    return Deleted(message="The second factor is off", id=user_id)


async def _with_administrators(
    rows: Rows[WriteSession], caller: Principal, user_id: UUID, roles: Collection[str] = ()
) -> tuple[Principal, set[UUID]]:
    """Give the caller as they are now, and administrators who stay that until this transaction ends.

    All are locked in one pass by their ids; whoever becomes an administrator meanwhile is left out.
    """
    seen = await rows.users.administrators()
    now = await still(rows, caller, Permission.USERS_WRITE, accounts={user_id, *seen}, roles=roles)
    return now, seen & await rows.users.administrators()


async def _find(rows: Rows[WriteSession], caller: Principal, user_id: UUID) -> User:
    """Give the account to change, which is locked."""
    user = await rows.users.get(user_id)
    if user is None:
        raise NotFound("user", user_id)
    held = await rows.roles.permissions(user.role)
    check_within(caller, held or frozenset(), "This account")
    return user


async def _check_role(rows: Rows[WriteSession], caller: Principal, role: str) -> None:
    given = await rows.roles.permissions(role)
    if given is None:
        names = [*Role, *(found.name for found in await rows.roles.list())]
        raise ValidationFailed.at(
            ("body", "role"), f"there is no role {role!r}; there are: {', '.join(names)}"
        )
    check_within(caller, given, f"The role {role!r}")


def _check_another(administrators: set[UUID], user_id: UUID) -> None:
    if administrators == {user_id}:
        raise Conflict(
            "This is the last active administrator: make another one first",
            resource_type="user",
            resource_id=str(user_id),
        )


def _details(user: User, mfa_enabled: bool) -> UserDetails:
    return UserDetails(**user.model_dump(), mfa_enabled=mfa_enabled)
