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
from mcp_platform.contracts.images import BuildConfig
from mcp_platform.contracts.rest import ToolRequest
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


class OAuthConfig(BaseModel):
    """How a remote server's authorization server knows the platform, where it was registered by hand."""

    model_config = ConfigDict(frozen=True, extra="allow")

    client_id: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    client_secret: Annotated[str, Field(min_length=1)] | None = None
    """Best as `${NAME}`, which refers to a secret."""
    issuer: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """The authorization server that alone is sent them; otherwise the one that they were first used at."""


class ServerConfig(BaseModel):
    """One entry of `config.servers`: how to reach or start an MCP server.

    Exactly one of `url`, `command` and `image` is given. Fields that are not listed here are kept
    as they are: vendors add their own.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=255)] = "default"
    url: str | None = None
    headers: dict[str, str] = {}
    type: str | None = None
    """`rest`: the url is a plain HTTP API, and the configuration's tools say how it is asked. All other
    words, as other programs write them here, say nothing: how a server is spoken to is found out."""
    health_path: Annotated[str, Field(pattern=r"^/[^\s?#]*$", max_length=255)] | None = None
    """Of a plain HTTP API: the path below its url that tells whether it lives; `/` unless given."""
    command: Annotated[str, Field(min_length=1)] | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    image: Annotated[str, Field(min_length=1)] | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Where an image listens inside its container: 8000 unless given."""
    path: Annotated[str, Field(pattern=r"^/[^\s?#]*$", max_length=255)] | None = None
    """The path of an image's MCP endpoint: `/mcp` unless given."""
    build: BuildConfig | None = None
    """What the image of a server with a command is made from; worked out from the command unless given."""
    oauth: OAuthConfig | None = None
    """For a `url` whose authorization server takes only clients that it knows; others are found out."""

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
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an environment variable")
            if name.startswith("MCP_PLATFORM_"):
                raise ValueError(f"{name!r}: names that begin with MCP_PLATFORM_ belong to the platform")
        return value

    @field_validator("headers")
    @classmethod
    def _header_fields(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not _HEADER_NAME.fullmatch(name):
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
        if self.is_rest and self.url is None:
            raise ValueError("a server of type rest needs the url of the API")
        if self.build is not None and self.command is None:
            raise ValueError(f"build makes the image of a server with a command; this one has {given[0]}")
        return self

    @property
    def kind(self) -> Literal["url", "command", "image"]:
        """Which of the three ways this server is reached."""
        return "url" if self.url else "command" if self.command else "image"

    @property
    def is_rest(self) -> bool:
        """Whether it is a plain HTTP API, which does not speak MCP."""
        return self.type == "rest"


class ToolConfig(BaseModel):
    """One entry of `config.tools`: a tool as its author describes it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    description: str = ""
    parameters: dict[str, Any] = {}
    request: ToolRequest | None = None
    """Of a tool of a plain HTTP API: what a call becomes."""

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

    @model_validator(mode="after")
    def _known_places(self) -> Self:
        properties = self.input_schema.get("properties")
        if self.request is None or not isinstance(properties, dict) or "$ref" in self.input_schema:
            return self
        unknown = sorted(self.request.places - properties.keys())
        if unknown:
            raise ValueError(f"the request has places for what is no parameter: {', '.join(unknown)}")
        return self


class McpConfig(BaseModel):
    """The configuration of an MCP; unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    servers: Annotated[list[ServerConfig], Field(max_length=100)] = []
    tools: Annotated[list[ToolConfig], Field(max_length=500)] = []

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return _with_type(plain_json(value))

    @model_validator(mode="after")
    def _one_api(self) -> Self:
        """Tools with a request are those of the one plain HTTP API."""
        apis = [server.name for server in self.servers if server.is_rest]
        if len(apis) > 1:
            raise ValueError(f"one server may be of type rest; found {', '.join(apis)}")
        if not apis and any(tool.request is not None for tool in self.tools):
            raise ValueError("tools have a request, so one of the servers must have a url and the type rest")
        return self

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


def _with_type(config: Any) -> Any:
    """Add the type of the only server where it is a url, and tools say how it is asked as a plain API."""
    if not isinstance(config, dict):
        return config
    servers, tools = config.get("servers"), config.get("tools")
    if not isinstance(servers, list) or len(servers) != 1 or not isinstance(tools, list):
        return config
    server = servers[0]
    asked = any(isinstance(tool, dict) and tool.get("request") is not None for tool in tools)
    if not asked or not isinstance(server, dict) or not server.get("url") or server.get("type") is not None:
        return config
    return {**config, "servers": [{**server, "type": "rest"}]}


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
    origin: str | None = None  # `github:<owner>/<repository>@<commit>:<path>`, or `task:<id>`


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
