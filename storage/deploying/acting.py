"""Acting for somebody who is not there: with the rights that their account has at this moment."""

from uuid import UUID

from mcp_platform.contracts.access import Principal
from storage.stores import Stores


async def acting_for(stores: Stores, user_id: UUID, credential: str) -> Principal | None:
    """Give an account as who acts; None if it is gone, or may not sign in any more.

    Args:
        stores: Where accounts and roles are.
        user_id: Whose account.
        credential: What a log line may say of why it acts, such as `connection:<id>`.
    """
    async with stores.read() as rows:
        user = await rows.users.get(user_id)
        permissions = await rows.roles.permissions(user.role) if user else None
    if user is None or not user.is_active:
        return None
    return Principal(
        user_id=user.id,
        username=user.username,
        permissions=permissions or frozenset(),
        credential=credential,
        role=user.role,
    )
