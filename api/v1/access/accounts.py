"""`/api/v1/auth/register` and `/api/v1/auth/me`: one's own account."""

from datetime import UTC, datetime
from uuid import uuid4

from fastapi import APIRouter, Depends, Request, status

from api.dependencies import PartsDep, public
from api.v1.access.callers import InSession, Owner, SignedIn, session_of, still
from api.v1.access.proof import Proof, with_proof
from api.v1.answers import Message
from mcp_platform.contracts.access import (
    ChangePassword,
    ChangeProfile,
    Permission,
    Principal,
    Profile,
    RegisterUser,
    Role,
    User,
)
from mcp_platform.errors import Forbidden, ProofFailed, Unauthorized, ValidationFailed
from mcp_platform.security.password_rules import password_problem
from mcp_platform.security.passwords import hash_password
from storage.sql.engine import ReadSession, WriteSession
from storage.stores import Rows

router = APIRouter(prefix="/auth", tags=["Authentication"])


@router.post("/register", status_code=status.HTTP_201_CREATED, dependencies=[Depends(public)])
async def register(order: RegisterUser, parts: PartsDep) -> User:
    """Open an account; nobody can make themselves an administrator."""
    if order.role is Role.ADMIN:
        raise Forbidden(
            Permission.USERS_APPOINT,
            "Nobody can register as an administrator; register as developer or viewer",
        )
    if not parts.settings.api.registration:
        raise Forbidden(Permission.USERS_APPOINT, "Registration is closed; ask an administrator")
    password = order.password.get_secret_value()
    _check_password(password, order.username, order.email, "password")
    user = User(
        id=uuid4(),
        username=order.username,
        email=order.email,
        role=order.role,
        is_active=True,
        created_at=datetime.now(UTC),
    )
    password_hash = await hash_password(password)
    async with parts.stores.write() as rows:
        await rows.users.add(user, password_hash)
    return user


@router.get("/me")
async def read_profile(caller: Owner, parts: PartsDep) -> Profile:
    """Show the caller's own account, and what the credential may do."""
    async with parts.stores.read() as rows:
        return await _profile(rows, await _own(rows, caller), caller)


@router.patch("/me")
async def change_profile(order: ChangeProfile, caller: SignedIn, parts: PartsDep) -> Profile:
    """Change the caller's name or e-mail address; 409 when it is taken."""
    async with parts.stores.write() as rows:
        caller = await still(rows, caller, Permission.ACCOUNT)
        user = await _own(rows, caller)
        changed = user.model_copy(update=order.model_dump(exclude_none=True))
        await rows.users.change(changed)
        profile = await _profile(rows, changed, caller)
    await parts.credentials.changed(caller.user_id)
    return profile


@router.post("/me/password")
async def change_password(
    order: ChangePassword, caller: InSession, parts: PartsDep, request: Request
) -> Message:
    """Change the caller's password, and end all their other sessions and OAuth grants; API keys stay.

    A wrong current password counts like one at sign-in.
    """
    new = order.new_password.get_secret_value()
    async with parts.stores.read() as rows:
        user = await _own(rows, caller)
    _check_password(new, user.username, user.email, "new_password")
    proof = Proof(user.username, order.current_password.get_secret_value(), password_only=True)
    await with_proof(parts, request, proof, ProofFailed, "The current password is wrong", _nothing_more)
    # Only now: hashing takes its place in the queue of all who sign in.
    password_hash = await hash_password(new)
    async with parts.stores.write() as rows:
        # Where the password was changed by another session meanwhile, this one has ended.
        await still(rows, caller, None)
        await rows.users.set_password(user.id, password_hash)
        await rows.refresh_tokens.end_all(user.id, but=session_of(caller))
        await rows.grants.end_all(user.id, datetime.now(UTC))
    await parts.credentials.changed(caller.user_id)
    return Message(message="Password changed successfully; all other sessions have ended")


async def _nothing_more(_rows: Rows[WriteSession], _user: User) -> None:
    """Be content with the proof."""


def _check_password(password: str, username: str, email: str, field: str) -> None:
    problem = password_problem(password, username, email)
    if problem:
        raise ValidationFailed.at(("body", field), problem)


async def _own(rows: Rows[ReadSession] | Rows[WriteSession], caller: Principal) -> User:
    user = await rows.users.get(caller.user_id)
    if user is None:
        # It was deleted after this request was let in.
        raise Unauthorized
    return user


async def _profile(rows: Rows[ReadSession] | Rows[WriteSession], user: User, caller: Principal) -> Profile:
    return Profile(
        **user.model_dump(),
        mfa_enabled=bool(await rows.factors.confirmed([user.id])),
        permissions=sorted(caller.permissions),
    )
