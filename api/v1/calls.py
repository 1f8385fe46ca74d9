"""`/api/v1/calls`: which tools were called, by whom, and what came of it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.dependencies import PartsDep, Requires
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.calls import CallFilter, CallRecord, Outcome

router = APIRouter(prefix="/calls", tags=["Calls"])

Caller = Annotated[Principal, Depends(Requires(Permission.DEPLOYMENTS_READ))]


class CallPage(Contract):
    """Calls, the newest first; `next_cursor` leads to older ones."""

    calls: list[CallRecord]
    next_cursor: str | None


@router.get("")
async def list_calls(
    parts: PartsDep,
    caller: Caller,
    mcp: Annotated[str | None, Query(max_length=100, description="An MCP's id or slug")] = None,
    tool: Annotated[str | None, Query(max_length=128)] = None,
    user: Annotated[str | None, Query(max_length=255, description="An account's id or name")] = None,
    outcome: Outcome | None = None,
    since: Moment | None = None,
    until: Annotated[Moment | None, Query(description="Up to here, exclusive")] = None,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9a-f]{32}$", description="`next_cursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> CallPage:
    """List calls of tools: with `audit:read` all of them, else one's own and those of one's MCPs."""
    wanted = CallFilter(
        mcp=mcp,
        tool=tool,
        user=user,
        outcome=outcome,
        since=since,
        until=until,
        visible_to=None if Permission.AUDIT_READ in caller.permissions else caller.user_id,
        mcp_ids=caller.mcp_ids,
    )
    async with parts.stores.read() as rows:
        found = await rows.calls.newest(wanted, cursor, limit + 1)
    more = len(found) > limit
    return CallPage(calls=found[:limit], next_cursor=found[limit - 1].id if more else None)
