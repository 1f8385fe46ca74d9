"""What all routes about MCPs need: finding one, and whose it is."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Query

from api.dependencies import Requires
from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.mcps import Mcp, McpFilter, McpStatus, McpVersion, Tag
from mcp_platform.errors import Conflict, Forbidden, NotFound

Reader = Annotated[Principal, Depends(Requires(Permission.MCPS_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.MCPS_WRITE))]
Deleter = Annotated[Principal, Depends(Requires(Permission.MCPS_DELETE))]
McpId = Annotated[UUID, Path(description="The MCP's id")]
IfMatch = Annotated[str | None, Header(description="The ETag that was read")]

_NAMED_VERSIONS = 10


async def wanted_mcps(
    caller: Reader,
    status: Annotated[McpStatus | None, Query(description="Only those of this status")] = None,
    author_id: Annotated[UUID | None, Query(description="Only those of this author")] = None,
    mine: Annotated[bool, Query(description="Only one's own")] = False,
    tag: Annotated[list[Tag], Query(max_length=20, description="Only those with all of these")] = [],  # noqa: B006
    search: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Words that all occur in name, slug, description, tags or tools, in whatever case",
        ),
    ] = None,
) -> McpFilter:
    """Read which MCPs are meant; a key that is limited to some MCPs means no others."""
    ids = caller.mcp_ids
    if mine and author_id not in {None, caller.user_id}:
        ids = frozenset()
    return McpFilter(
        status=status,
        author_id=caller.user_id if mine else author_id,
        tags=tag,
        search=search,
        ids=ids,
    )


Wanted = Annotated[McpFilter, Depends(wanted_mcps)]


async def find_mcp(parts: Parts, mcp_id: UUID, caller: Principal) -> Mcp:
    """Find an MCP.

    Raises:
        NotFound: There is none, or the credential is not good for it.
    """
    mcp = None
    if caller.may_use(mcp_id):
        async with parts.stores.read() as rows:
            mcp = await rows.mcps.get(mcp_id)
    if mcp is None:
        raise NotFound("mcp_tool", mcp_id)
    return mcp


async def find_own_mcp(parts: Parts, mcp_id: UUID, caller: Principal) -> Mcp:
    """Find an MCP that the caller may change.

    Raises:
        NotFound: There is none, or the credential is not good for it.
        Forbidden: It is somebody else's.
    """
    mcp = await find_mcp(parts, mcp_id, caller)
    if mcp.author_id != caller.user_id and Permission.MCPS_ALL not in caller.permissions:
        raise Forbidden(Permission.MCPS_ALL, "Only its author or an administrator may change an MCP")
    return mcp


async def find_version(parts: Parts, mcp_id: UUID, name: str) -> McpVersion:
    """Find a revision of an MCP by its number, or the newest one of a version.

    Raises:
        NotFound: There is none; the message names the newest ones that there are.
    """
    async with parts.stores.read() as rows:
        found = await rows.mcps.revision(mcp_id, int(name) if name.isdigit() else name)
        if found is None:
            newest = (await rows.mcps.history(mcp_id, page_size=_NAMED_VERSIONS)).items
            known = ", ".join(dict.fromkeys(entry.version for entry in newest))
            raise NotFound(
                "mcp_version",
                name,
                f"The MCP has no version or revision {name}; its newest versions are: {known}",
            )
    return found


def check_unlimited(caller: Principal) -> None:
    """Let only credentials that are good for all MCPs make new ones."""
    if caller.mcp_ids is not None:
        raise Forbidden(Permission.MCPS_WRITE, "This API key is limited to some MCPs and cannot make others")


def check_unchanged(mcp: Mcp, if_match: str | None) -> None:
    """Hold the MCP against the ETag that the caller read, if one is given.

    Raises:
        Conflict: It was changed since.
    """
    if if_match is not None and if_match.removeprefix("W/") not in {"*", etag(mcp)}:
        raise Conflict(
            "The MCP was changed since it was read; read it again",
            resource_type="mcp_tool",
            resource_id=str(mcp.id),
        )


def etag(mcp: Mcp) -> str:
    """Name the state of an MCP."""
    return f'"{mcp.revision}"'
