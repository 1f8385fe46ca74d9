"""Who may use the routes of this room."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from api.dependencies import Requires, RequiresCredential
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.errors import Forbidden, Unauthorized
from mcp_platform.security.permissions import within_mcps, within_scopes
from storage.sql.engine import WriteSession
from storage.stores import Rows

Owner = Annotated[Principal, Depends(Requires(Permission.ACCOUNT))]


def key_of(caller: Principal) -> UUID | None:
    """Give the id of the API key that the caller came with; None for a session."""
    kind, _, number = caller.credential.partition(":")
    return UUID(number) if kind == "key" else None


def session_of(caller: Principal) -> UUID:
    """Give the id of the caller's session; they are `SignedIn`."""
    return UUID(caller.credential.partition(":")[2])


def _check_session(caller: Principal) -> Principal:
    if key_of(caller) is not None:
        raise Forbidden(
            Permission.ACCOUNT, "An API key cannot change how its owner signs in: sign in and use that token"
        )
    return caller


async def _signed_in(caller: Owner) -> Principal:
    return _check_session(caller)


async def _in_session(caller: Annotated[Principal, Depends(RequiresCredential())]) -> Principal:
    return _check_session(caller)


SignedIn = Annotated[Principal, Depends(_signed_in)]
"""The owner by a session: a key that leaks must not become the whole account."""
InSession = Annotated[Principal, Depends(_in_session)]
"""Whoever is signed in, whatever their role: to leave, and to change their password, is everybody's."""


async def still(
    rows: Rows[WriteSession],
    caller: Principal,
    permission: Permission | None,
    accounts: Collection[UUID] = (),
    roles: Collection[str] = (),
) -> Principal:
    """Give the caller with what they may do now, and keep it so until this transaction ends.

    Between a request's admission and its transaction the credential may have ended. It is read under the
    lock of its account, which everything that ends keys or demotes takes first.

    Args:
        rows: The transaction.
        caller: Who was admitted.
        permission: What they need.
        accounts: Others that the transaction changes; they are locked in the order of their ids.
        roles: Custom roles that it changes or gives; they are locked after the accounts, by their names.

    Raises:
        Unauthorized: The credential holds no longer, or the account is gone.
        Forbidden: The permission was taken away.
    """
    locked = {user_id: await rows.users.lock(user_id) for user_id in sorted({caller.user_id, *accounts})}
    own = locked[caller.user_id]
    if own is None or not own.user.is_active:
        raise Unauthorized
    for name in sorted({own.user.role, *roles}):
        await rows.roles.lock(name)
    held = await rows.roles.permissions(own.user.role) or frozenset()
    held = await _within_credential(rows, caller, held)
    if permission is not None and permission not in held:
        raise Forbidden(permission)
    return caller.model_copy(update={"permissions": held})


async def _within_credential(
    rows: Rows[WriteSession], caller: Principal, held: frozenset[Permission]
) -> frozenset[Permission]:
    """Give what the caller's credential leaves of these permissions, if it still holds."""
    key_id = key_of(caller)
    if key_id is None:
        if not await rows.refresh_tokens.lock(session_of(caller)):
            raise Unauthorized
        return held
    key = await rows.api_keys.living(key_id, datetime.now(UTC))
    if key is None:
        raise Unauthorized
    left = within_scopes(held, key.scopes)
    return left if key.mcp_ids is None else within_mcps(left)


def check_within(caller: Principal, permissions: frozenset[Permission], what: str) -> None:
    """Nobody gives away, or takes from others, what they do not have themselves.

    Raises:
        Forbidden: The caller lacks one of the permissions.
    """
    lacking = sorted(permissions - caller.permissions)
    if lacking:
        raise Forbidden(lacking[0], f"{what} has permissions that you do not have: {', '.join(lacking)}")
