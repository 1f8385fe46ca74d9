"""`/v0.1/servers`: the catalogue as the official registry's API shows one, to read only."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from api.dependencies import PartsDep, Requires
from api.parts import Parts
from api.v1.mcps.exchange import describe, gateway_remote
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Moment
from mcp_platform.contracts.exchange import (
    OFFICIAL,
    RegistryEntry,
    RegistryList,
    RegistryMetadata,
    RegistryState,
)
from mcp_platform.contracts.mcps import PublishedVersion
from mcp_platform.errors import NotFound, ValidationFailed
from mcp_platform.formats.server_json import write_packages
from mcp_platform.names import Collection

router = APIRouter(prefix="/v0.1/servers", tags=["Registry"])

Reader = Annotated[Principal, Depends(Requires(Permission.MCPS_READ))]
ServerName = Annotated[
    str, Path(description="The name, its slash written as %2F or as it is", max_length=200)
]

_CURSOR = re.compile(r"^([a-z0-9-]{1,100}):(\d{1,9})$")


@router.get("", response_model_exclude_none=True)
async def list_servers(
    caller: Reader,
    parts: PartsDep,
    cursor: Annotated[
        str | None, Query(max_length=128, description="`nextCursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
    search: Annotated[str | None, Query(max_length=200, description="A part of the name")] = None,
    updated_since: Annotated[Moment | None, Query(description="Only versions since then")] = None,
    version: Annotated[str | None, Query(max_length=64, description="`latest`, or a version")] = None,
) -> RegistryList:
    """List the versions of published MCPs, which are those that are active or deprecated."""
    async with parts.stores.read() as rows:
        found = await rows.registry.list(
            limit=limit + 1,
            after=_after(cursor),
            version=version,
            search=_slug_part(parts, search),
            updated_since=updated_since,
            ids=caller.mcp_ids,
        )
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return RegistryList(
        servers=await _entries(parts, page),
        metadata=RegistryMetadata(
            count=len(page), nextCursor=f"{last.slug}:{last.entry.revision}" if last else None
        ),
    )


@router.get("/{server_name:path}/versions", response_model_exclude_none=True)
async def list_server_versions(server_name: ServerName, caller: Reader, parts: PartsDep) -> RegistryList:
    """List the versions of one server, the newest first."""
    found = await _versions(parts, server_name, caller.mcp_ids)
    return RegistryList(servers=await _entries(parts, found), metadata=RegistryMetadata(count=len(found)))


@router.get("/{server_name:path}/versions/{version}", response_model_exclude_none=True)
async def get_server_version(
    server_name: ServerName,
    version: Annotated[str, Path(max_length=64, description="`latest`, or a version")],
    caller: Reader,
    parts: PartsDep,
) -> RegistryEntry:
    """Show one version of a server."""
    for each in await _versions(parts, server_name, caller.mcp_ids):
        if version in {each.entry.version, "latest"}:
            return (await _entries(parts, [each]))[0]
    raise NotFound("server", server_name, "The server has no such version")


async def _versions(parts: Parts, name: str, ids: frozenset[UUID] | None) -> list[PublishedVersion]:
    namespace, _, slug = name.rpartition("/")
    found: list[PublishedVersion] = []
    if namespace == parts.settings.registry.namespace:
        async with parts.stores.read() as rows:
            found = await rows.registry.versions(slug, ids)
    if not found:
        raise NotFound("server", name)
    return found


async def _entries(parts: Parts, versions: list[PublishedVersion]) -> list[RegistryEntry]:
    keys = {each.entry.config_key for each in versions}
    configs = await parts.stores.documents.get_many(Collection.CONFIGS, list(keys))
    entries = []
    for each in versions:
        fields = each.entry.fields or {}
        head = describe(
            parts,
            each.slug,
            fields.get("name", each.name),
            fields.get("description", each.description),
            each.entry.version,
        )
        packages = write_packages(configs.get(each.entry.config_key, {})) or None
        server = head.model_copy(update={"packages": packages, "remotes": [gateway_remote(parts, each.slug)]})
        entries.append(RegistryEntry.model_validate({"server": server, "_meta": {OFFICIAL: _state(each)}}))
    return entries


def _state(version: PublishedVersion) -> RegistryState:
    return RegistryState.model_validate(
        {
            "status": version.status.value,
            "publishedAt": version.entry.changed_at,
            "updatedAt": version.entry.changed_at,
            "isLatest": version.latest,
        }
    )


def _after(cursor: str | None) -> tuple[str, int] | None:
    if not cursor:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise ValidationFailed.at(("query", "cursor"), "is not the nextCursor of a page")
    return match[1], int(match[2])


def _slug_part(parts: Parts, search: str | None) -> str | None:
    """Give what a part of a name means for its slug; every name begins with the namespace."""
    if not search or search.lower() in f"{parts.settings.registry.namespace}/".lower():
        return None
    return search.lower().removeprefix(f"{parts.settings.registry.namespace}/".lower())
