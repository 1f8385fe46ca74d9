"""Registered MCPs: their configuration, versions and how they are changed."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from mcp_platform.contracts.base import Contract, Moment, Order, plain_json
from mcp_platform.names import RESERVED_SLUGS

_HEADER_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_HEADER_VALUE = re.compile(r"^[\t\x20-\x7e\x80-\xff]*\Z")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


class McpStatus(StrEnum):
    """How far an MCP has come."""

    DRAFT = "draft"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"


class ServerConfig(BaseModel):
    """One entry of `config.servers`: how to reach or start an MCP server.

    Exactly one of `url`, `command` and `image` is given. Fields that are not listed here are kept
    as they are: vendors add their own.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=255)] = "default"
    url: str | None = None
    headers: dict[str, str] = {}
    command: Annotated[str, Field(min_length=1)] | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    image: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("must be an absolute http:// or https:// address")
        return value

    @field_validator("env")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _VARIABLE.match(name):
                raise ValueError(f"{name!r} is no name of an environment variable")
            if name.startswith("MCP_PLATFORM_"):
                raise ValueError(f"{name!r}: names that begin with MCP_PLATFORM_ belong to the platform")
        return value

    @field_validator("headers")
    @classmethod
    def _header_fields(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not _HEADER_NAME.match(name):
                raise ValueError(f"{name!r} is no name of an HTTP header")
            if not _HEADER_VALUE.match(content):
                raise ValueError(f"the value of {name!r} has characters that no HTTP header may have")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("url", "command", "image") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"needs exactly one of url, command and image; found {found}")
        return self

    @property
    def kind(self) -> Literal["url", "command", "image"]:
        """Which of the three ways this server is reached."""
        return "url" if self.url else "command" if self.command else "image"


class ToolConfig(BaseModel):
    """One entry of `config.tools`: a tool as its author describes it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    description: str = ""
    parameters: dict[str, Any] = {}

    @property
    def input_schema(self) -> dict[str, Any]:
        """The parameters as a JSON Schema; a bare map of properties is wrapped into an object."""
        if isinstance(self.parameters.get("type"), str):
            return self.parameters
        return {"type": "object", "properties": self.parameters}

    @model_validator(mode="after")
    def _schema(self) -> Self:
        try:
            Draft202012Validator.check_schema(self.input_schema)
        except SchemaError as error:
            place = ".".join(str(step) for step in error.absolute_path) or "parameters"
            raise ValueError(f"parameters are no JSON Schema (2020-12): {place}: {error.message}") from None
        except RecursionError:
            raise ValueError("parameters are nested too deeply") from None
        return self


class McpConfig(BaseModel):
    """The configuration of an MCP; unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    servers: Annotated[list[ServerConfig], Field(max_length=100)] = []
    tools: Annotated[list[ToolConfig], Field(max_length=500)] = []

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain_json(value)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for kind, names in (
            ("server", [server.name for server in self.servers]),
            ("tool", [tool.name for tool in self.tools]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} names must differ; used twice: {', '.join(twice)}")
        return self

    def server(self, name: str | None) -> ServerConfig:
        """Find the server of this name; without a name, the only one.

        Raises:
            ValueError: There is none, or no name where there are several; the message lists them.
        """
        if name is None and len(self.servers) == 1:
            return self.servers[0]
        for server in self.servers:
            if server.name == name:
                return server
        known = ", ".join(server.name for server in self.servers) or "none at all"
        raise ValueError(
            f"the configuration has no server {name!r}; it has: {known}"
            if name
            else f"name one of the configuration's servers; it has: {known}"
        )


def _free(slug: str) -> str:
    if slug in RESERVED_SLUGS:
        raise ValueError(f"{slug!r} is reserved for a path of the platform; choose another slug")
    return slug


Slug = Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=100), AfterValidator(_free)]
SemanticVersion = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$", max_length=64)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Description = Annotated[str, Field(max_length=10_000)]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


def _sorted(tags: list[str]) -> list[str]:
    return sorted(set(tags))


Tags = Annotated[list[Tag], Field(max_length=20), AfterValidator(_sorted)]
ChangeType = Literal["create", "update", "rollback"]


def version_order(version: str) -> tuple[int, ...]:
    """Make a key that sorts semantic versions as numbers: 1.10.0 after 1.9.0."""
    return tuple(int(part) for part in version.split("."))


def next_patch(version: str) -> str:
    """Raise the last number of a version."""
    major, minor, patch = version_order(version)
    return f"{major}.{minor}.{patch + 1}"


class CreateMcp(Order):
    """Body of `POST /mcps`."""

    name: Name
    slug: Slug
    description: Description = ""
    version: SemanticVersion
    config: McpConfig
    tags: Tags = []


class UpdateMcp(Order):
    """Body of `PUT /mcps/{id}`: what is absent stays as it is."""

    name: Name | None = None
    description: Description | None = None
    version: SemanticVersion | None = None
    status: McpStatus | None = None
    config: McpConfig | None = None
    tags: Tags | None = None


class RollBackMcp(Order):
    """Body of `POST /mcps/{id}/rollback`: one of the two says where to."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {"required": ["version"], "properties": {"version": {"type": "string"}}},
                {"required": ["revision"], "properties": {"revision": {"type": "integer"}}},
            ],
            "example": {"version": "1.0.0"},
        },
    )

    version: SemanticVersion | None = None
    revision: Annotated[int, Field(ge=1, le=999_999_999)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.version is None) == (self.revision is None):
            raise ValueError("needs exactly one of version and revision")
        return self


class McpOrder(StrEnum):
    """What a list is sorted by."""

    CREATED = "created_at"
    UPDATED = "updated_at"
    NAME = "name"
    SLUG = "slug"


class McpFilter(Contract):
    """Which MCPs are meant; what is absent does not narrow."""

    status: McpStatus | None = None
    author_id: UUID | None = None
    tags: list[str] = []
    """All of them."""
    search: str | None = None
    """Words that all occur: in name, slug, description, tags, or names and descriptions of tools."""
    ids: frozenset[UUID] | None = None
    """The only ones that may be seen, where not all may."""


class TagCount(Contract):
    """A tag, and how many MCPs have it."""

    tag: str
    count: int


class Mcp(Contract):
    """A registered MCP without its configuration, which `config_key` points to.

    `revision` grows by one with each change; a writer names the one it read.
    """

    id: UUID
    name: str
    slug: str
    description: str
    version: str
    author_id: UUID
    status: McpStatus
    config_key: str
    revision: int
    created_at: Moment
    updated_at: Moment
    tags: list[str] = []


class ShownMcp(Contract):
    """An MCP as it is shown: rendered once, and kept until it changes."""

    etag: str
    body: str


class McpVersion(Contract):
    """One entry of an MCP's history. Several revisions may have one version number."""

    revision: int
    version: str
    changed_at: Moment
    changed_by: UUID
    change_type: ChangeType
    config_key: str
    fields: dict[str, Any] | None = None
    """Name, description, status and tags as they were; unknown of entries from before they were kept."""


class PublishedVersion(Contract):
    """One version of an MCP that is no draft."""

    mcp_id: UUID
    slug: str
    name: str
    description: str
    status: McpStatus
    created_at: Moment
    latest: bool
    entry: McpVersion


class DeleteMcpOrder(Contract):
    """What the workflow that deletes an MCP is started with."""

    task_id: str
    mcp_id: UUID
