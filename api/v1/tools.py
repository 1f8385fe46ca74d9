"""`/api/v1/tools`: finding tools over all servers, for people and programs that do not speak MCP."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from api.dependencies import PartsDep, Requires
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.discovery import ToolsFound

router = APIRouter(prefix="/tools", tags=["Tools"])

Caller = Annotated[Principal, Depends(Requires(Permission.TOOLS_CALL))]

_PATIENCE: Final = 10.0


@router.get("/search")
async def search_tools(
    caller: Caller,
    parts: PartsDep,
    q: Annotated[
        str,
        Query(min_length=1, max_length=1000, description="What the tool should do, in English or Chinese"),
    ],
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> ToolsFound:
    """Find tools by what they are for, among those that one may call, the best first."""
    question = {"caller": caller.model_dump(mode="json"), "query": q, "limit": limit}
    return ToolsFound.model_validate(await parts.stores.questions.ask("tools.search", question, _PATIENCE))
