"""The catalogue of known MCP servers, and what is found in it."""

from typing import Any, Literal
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment, Order
from mcp_platform.contracts.checks import Registry, SafeCall
from mcp_platform.contracts.mcps import Name, SemanticVersion, Slug, Tags


class NeededSecret(Contract):
    """A value that a server needs and that nobody else may know."""

    name: str
    """The environment variable."""
    what: str
    required: bool = True


class KnownTool(Contract):
    """A tool that a known server offers."""

    name: str
    description: str = ""
    read_only: bool | None = None


class KnownServer(Contract):
    """A real MCP server, as it is published."""

    slug: str
    name: str
    description: str
    description_zh: str = ""
    keywords: list[str] = []
    """What people say who want it, in English and Chinese. Names have a capital letter; one that must be
    written just so, since it is an ordinary word too or has no capitals, has a `=` before it. A space in a
    Chinese one stands for anything."""
    registry: Registry | None = None
    package: str | None = None
    version: str | None = None
    """The one that was tried, or read from the registry."""
    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    """Variables that are no secrets."""
    url: str | None = None
    """Of a remote server."""
    secrets: list[NeededSecret] = []
    tools: list[KnownTool] = []
    licence: str | None = None
    homepage: str | None = None
    archived: bool = False
    """Whether its authors have given it up: holes that are found are not mended."""
    offline: bool = False
    """Whether it starts and lists its tools without a network and without secrets."""
    tried: bool = False
    """Whether it was started, and its tools were read from it, when the entry was written. All others stand
    as their authors document them."""
    trusted: bool = False
    """Whether anybody may have it tried as a process, in the version that it pins: it does no harm where it
    starts. It was tried."""
    example: SafeCall | None = None
    """A call that changes nothing and works without secrets."""
    origin: Literal["shipped", "registry"] = "shipped"
    """Our own catalogue, or the official registry, whose entries nobody here has tried."""

    def config(self) -> dict[str, Any]:
        """Give the configuration of an MCP that runs it, with `${NAME}` for each secret."""
        server: dict[str, Any] = {"name": self.slug}
        if self.url is not None:
            server["url"] = self.url
        else:
            server |= {"command": self.command, "args": self.args}
        env = self.env | {secret.name: f"${{{secret.name}}}" for secret in self.secrets if secret.required}
        if env and self.url is None:
            server["env"] = env
        return {"servers": [server]}


class FindOrder(Contract):
    """What is looked for."""

    text: str
    owner_id: UUID
    limit: int = 5


class KnownMatch(Contract):
    """A known server that may be what is wanted."""

    server: KnownServer
    score: float
    """Between 0 and 1."""
    sure: bool
    """Whether it clearly does what is wanted, and may be taken without asking."""
    why: list[str]
    """The words and tools that speak for it."""


class KnownMatches(Contract):
    """What was found, likest first."""

    matches: list[KnownMatch]


class RegisterKnown(Order):
    """Body of `POST /known-servers/{slug}/register`: what is left out is as the catalogue has it."""

    name: Name | None = None
    slug: Slug | None = None
    version: SemanticVersion = "1.0.0"
    tags: Tags = []


class RegistryServer(Contract):
    """A server of the registry that may be known from now on."""

    name: str
    """The registry's name for it."""
    server: KnownServer


class RegistryPage(Contract):
    """What a page of the registry says, as far as it is of use here."""

    servers: list[RegistryServer] = []
    gone: list[str] = []
    """Names of those that it has deleted."""
    refused: int = 0
    """Entries that are malformed, or that nothing here could run or reach."""
    newest: Moment | None = None
    """When the last of them was changed."""
    next_cursor: str | None = None


class RegistryProgress(Contract):
    """How far the registry has been read."""

    source: str
    since: Moment | None = None
    """What was changed before is known."""
    cursor: str | None = None
    """Where reading was broken off."""
    newest: Moment | None = None
    """When the last entry was changed of those that were read since."""


class RefreshOutcome(Contract):
    """What came of reading the registry's servers."""

    complete: bool
    """Whether it was read to its end; otherwise `reason` says why not, and the next run goes on there."""
    reason: str | None = None
    pages: int = 0
    written: int = 0
    removed: int = 0
    refused: int = 0
    """Entries that are malformed, or that nothing here could run or reach."""
