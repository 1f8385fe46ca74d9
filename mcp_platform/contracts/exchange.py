"""Formats in which other programs keep MCP servers: `mcpServers` files, and the registry's `server.json`."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mcp_platform.contracts.base import Contract, Moment, plain_json

SCHEMA_URL = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
PUBLISHER = "io.modelcontextprotocol.registry/publisher-provided"
"""Where publishers may put what the format has no field for."""
OFFICIAL = "io.modelcontextprotocol.registry/official"
"""Where a registry puts what it knows of an entry."""


class Format(StrEnum):
    """What an export is written in."""

    MCP_SERVERS = "mcpServers"
    """As Claude, Cursor and most other clients keep it."""
    SERVER_JSON = "server.json"
    """As the official registry keeps it."""


class ExportTarget(StrEnum):
    """What an export leads to."""

    SOURCE = "source"
    """The servers as they are configured, with their `${NAME}`."""
    GATEWAY = "gateway"
    """The platform's own endpoint of the MCP."""


class ImportFile(BaseModel):
    """Body of `POST /mcps/import`: a file as other programs write it, whole.

    Either `mcpServers` (Claude, Cursor), or `servers` (VS Code), or a registry's `server.json`. Fields
    that are not listed here are theirs.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        json_schema_extra={
            "anyOf": [
                {"required": [field], "properties": {field: {"type": kind, "minLength": 1}}}
                for field, kind in (("mcpServers", "object"), ("servers", "object"), ("name", "string"))
            ],
            "example": {"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}},
        },
    )

    mcp_servers: Annotated[dict[str, dict[str, Any]] | None, Field(alias="mcpServers", max_length=100)] = None
    servers: Annotated[dict[str, dict[str, Any]] | None, Field(max_length=100)] = None
    name: Annotated[str | None, Field(max_length=200)] = None
    title: str | None = None
    description: str | None = None
    version: str | None = None
    packages: Annotated[list[dict[str, Any]] | None, Field(max_length=100)] = None
    remotes: Annotated[list[dict[str, Any]] | None, Field(max_length=100)] = None
    meta: Annotated[dict[str, Any] | None, Field(alias="_meta")] = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain_json(value)


class Imported(Contract):
    """An entry that is an MCP now."""

    name: str
    """Its name in the file."""
    id: UUID
    slug: str
    secrets: list[str]
    """Names of the caller's secrets that hold what the file had in plain."""
    unknown: list[str]
    """Names that the configuration refers to and that stand for nothing yet: secrets to store."""


class Skipped(Contract):
    """An entry that is none, and why."""

    name: str
    reason: str


class ImportReport(Contract):
    """What became of each entry."""

    created: list[Imported]
    skipped: list[Skipped]


class McpServersFile(Contract):
    """A file as Claude, Cursor and most other clients read it."""

    mcp_servers: dict[str, dict[str, Any]] = Field(alias="mcpServers")


class ServerJson(Contract):
    """A `server.json`."""

    schema_url: str = Field(SCHEMA_URL, alias="$schema")
    name: str
    title: str | None = None
    description: str
    version: str
    packages: list[dict[str, Any]] | None = None
    remotes: list[dict[str, Any]] | None = None
    meta: dict[str, Any] | None = Field(None, alias="_meta")


class RegistryState(Contract):
    """What the registry knows of an entry."""

    status: str
    published_at: Moment = Field(alias="publishedAt")
    updated_at: Moment = Field(alias="updatedAt")
    is_latest: bool = Field(alias="isLatest")


class RegistryEntry(Contract):
    """One version of a server in the registry."""

    server: ServerJson
    meta: dict[str, RegistryState] | None = Field(None, alias="_meta")


class RegistryMetadata(Contract):
    """How to go on reading."""

    count: int
    next_cursor: str | None = Field(None, alias="nextCursor")


class RegistryList(Contract):
    """Some versions of servers."""

    servers: list[RegistryEntry]
    metadata: RegistryMetadata
