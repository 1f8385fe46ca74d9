"""Who may use the routes of this room."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from api.dependencies import Requires
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.errors import Forbidden

Owner = Annotated[Principal, Depends(Requires(Permission.ACCOUNT))]


def key_of(caller: Principal) -> UUID | None:
    """Give the id of the API key that the caller came with; None for a session."""
    kind, _, number = caller.credential.partition(":")
    return UUID(number) if kind == "key" else None


def session_of(caller: Principal) -> UUID:
    """Give the id of the caller's session; they are `SignedIn`."""
    return UUID(caller.credential.partition(":")[2])


async def _signed_in(caller: Owner) -> Principal:
    if key_of(caller) is not None:
        raise Forbidden(
            Permission.ACCOUNT, "An API key cannot change how its owner signs in: sign in and use that token"
        )
    return caller


SignedIn = Annotated[Principal, Depends(_signed_in)]
"""The owner by a session: a key that leaks must not become the whole account."""


def check_within(caller: Principal, permissions: frozenset[Permission], what: str) -> None:
    """Nobody gives away, or takes from others, what they do not have themselves.

    Raises:
        Forbidden: The caller lacks one of the permissions.
    """
    lacking = sorted(permissions - caller.permissions)
    if lacking:
        raise Forbidden(lacking[0], f"{what} has permissions that you do not have: {', '.join(lacking)}")
