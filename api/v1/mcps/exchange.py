"""Taking MCPs in from other programs' files, and giving them out as such."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.mcps.importing import import_entry
from api.v1.mcps.lookup import McpId, Reader, Wanted, Writer, check_unlimited, find_mcp
from mcp_platform.contracts.exchange import (
    ExportTarget,
    Format,
    ImportFile,
    ImportReport,
    McpServersFile,
    RegistryEntry,
    RegistryList,
    RegistryMetadata,
    ServerJson,
    Skipped,
)
from mcp_platform.contracts.mcps import Mcp, McpOrder
from mcp_platform.errors import ValidationFailed
from mcp_platform.formats.entries import Entry, NotImported, entries_of
from mcp_platform.formats.mcp_servers import write_servers
from mcp_platform.formats.server_json import whole_config, write_packages, write_remotes
from mcp_platform.names import Collection
from storage.registration import read_config

router = APIRouter(prefix="/mcps", tags=["MCPs"])

_MOST_EXPORTED = 1000
_LONGEST_TEXT = 100
"""Of a title or a description in a `server.json`."""

In = Annotated[Format, Query(alias="format", description="What to write")]
To = Annotated[ExportTarget, Query(description="Whether to lead to the servers themselves or to the gateway")]


@router.post("/import")
async def import_mcps(file: ImportFile, caller: Writer, parts: PartsDep) -> ImportReport:
    """Make MCPs out of a file: `mcpServers` (Claude, Cursor), `servers` (VS Code) or a `server.json`.

    Each entry is an MCP of its own, wholly or not at all. Values in `env` and `headers` that look like
    credentials are stored as the caller's secrets, and `${NAME}` takes their place.
    """
    check_unlimited(caller)
    if file.mcp_servers is None and file.servers is None and not file.name:
        raise ValidationFailed.at(("body",), "needs mcpServers, servers, or the fields of a server.json")
    report = ImportReport(created=[], skipped=[])
    for name, entry in entries_of(file).items():
        try:
            if not isinstance(entry, Entry):
                raise entry
            report.created.append(await import_entry(parts, entry, caller))
        except NotImported as reason:
            report.skipped.append(Skipped(name=name, reason=str(reason)))
    return report


@router.get("/export", response_model_exclude_none=True)
async def export_mcps(
    wanted: Wanted,
    parts: PartsDep,
    form: In = Format.MCP_SERVERS,
    target: To = ExportTarget.SOURCE,
) -> McpServersFile | RegistryList:
    """Write several MCPs into one file; the filters are those of the list."""
    async with parts.stores.read() as rows:
        found = await rows.mcps.list(
            wanted, page=1, page_size=_MOST_EXPORTED, sort=McpOrder.SLUG, ascending=True
        )
    if found.total > _MOST_EXPORTED:
        raise ValidationFailed.at(("query",), f"means {found.total} MCPs; narrow it to {_MOST_EXPORTED}")
    keys = [mcp.config_key for mcp in found.items]
    configs = await parts.stores.documents.get_many(Collection.CONFIGS, keys)
    pairs = [(mcp, configs.get(mcp.config_key, {})) for mcp in found.items]
    if form is Format.MCP_SERVERS:
        entries: dict[str, dict[str, Any]] = {}
        for mcp, config in pairs:
            entries |= _client_entries(parts, mcp, config, target)
        return McpServersFile(mcpServers=entries)
    servers = [RegistryEntry(server=_server_json(parts, mcp, config, target)) for mcp, config in pairs]
    return RegistryList(servers=servers, metadata=RegistryMetadata(count=len(servers)))


@router.get("/{mcp_id:uuid}/export", response_model_exclude_none=True)
async def export_mcp(
    mcp_id: McpId,
    caller: Reader,
    parts: PartsDep,
    form: In = Format.MCP_SERVERS,
    target: To = ExportTarget.SOURCE,
) -> McpServersFile | ServerJson:
    """Write an MCP as other programs read it; `${NAME}` stays as it is, so no secret is in it."""
    mcp = await find_mcp(parts, mcp_id, caller)
    config = await read_config(parts.stores, mcp.config_key)
    if form is Format.MCP_SERVERS:
        return McpServersFile(mcpServers=_client_entries(parts, mcp, config, target))
    return _server_json(parts, mcp, config, target)


def _client_entries(
    parts: Parts, mcp: Mcp, config: dict[str, Any], target: ExportTarget
) -> dict[str, dict[str, Any]]:
    if target is ExportTarget.SOURCE:
        return write_servers(mcp.slug, config)
    return {
        mcp.slug: {
            "type": "http",
            "url": f"{parts.settings.gateway_url}/mcp/{mcp.slug}/v1",
            "headers": {"Authorization": "Bearer YOUR_API_KEY"},
        }
    }


def _server_json(parts: Parts, mcp: Mcp, config: dict[str, Any], target: ExportTarget) -> ServerJson:
    head = describe(parts, mcp.slug, mcp.name, mcp.description, mcp.version)
    if target is ExportTarget.GATEWAY:
        return head.model_copy(update={"remotes": [gateway_remote(parts, mcp.slug)]})
    written = {"packages": write_packages(config), "remotes": write_remotes(config)}
    return head.model_copy(
        update={
            **{name: value or None for name, value in written.items()},
            "meta": whole_config(mcp.slug, config, written),
        }
    )


def describe(parts: Parts, slug: str, name: str, description: str, version: str) -> ServerJson:
    """Write the head of a `server.json`, whose texts are short."""
    # Model fields go by the names of the format.
    return ServerJson.model_validate(
        {
            "name": f"{parts.settings.registry.namespace}/{slug}",
            "title": _short(name),
            "description": _short(description.strip() or name),
            "version": version,
        }
    )


def gateway_remote(parts: Parts, slug: str) -> dict[str, Any]:
    """Write how the gateway serves an MCP."""
    return {
        "type": "streamable-http",
        "url": f"{parts.settings.gateway_url}/mcp/{slug}/v1",
        "headers": [
            {
                "name": "Authorization",
                "description": "An API key of the platform",
                "value": "Bearer {api_key}",
                "isRequired": True,
                "isSecret": True,
                "variables": {"api_key": {"isRequired": True, "isSecret": True}},
            }
        ],
    }


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
