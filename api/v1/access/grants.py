"""`/api/v1/auth/grants`: programs that one let in by OAuth."""

from datetime import UTC, datetime
from uuid import UUID

from fastapi import APIRouter

from api.dependencies import PartsDep
from api.v1.access.callers import Owner, still
from api.v1.answers import Deleted
from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.oauth import GrantList
from mcp_platform.errors import NotFound

router = APIRouter(prefix="/auth/grants", tags=["Authentication"])


@router.get("")
async def list_grants(caller: Owner, parts: PartsDep) -> GrantList:
    """List the programs that the caller let in, at which endpoint each, the newest first."""
    async with parts.stores.read() as rows:
        found = await rows.grants.list(caller.user_id, datetime.now(UTC))
    return GrantList(grants=found, total=len(found))


@router.delete("/{grant_id}")
async def end_grant(grant_id: UUID, caller: Owner, parts: PartsDep) -> Deleted:
    """End a program's access at once, everywhere."""
    async with parts.stores.write() as rows:
        await still(rows, caller, Permission.ACCOUNT)
        if not await rows.grants.end(grant_id, caller.user_id, datetime.now(UTC)):
            raise NotFound("grant", grant_id)
    await parts.credentials.changed(caller.user_id)
    return Deleted(message="Grant ended successfully", id=grant_id)
