"""`/api/v1/known-servers`: the catalogue of known MCP servers, to look into and to register from."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response, status

from api.audit import about
from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.answers import pages
from api.v1.mcps.entries import McpCreated
from api.v1.mcps.lookup import Reader, Writer, check_unlimited, etag
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.known import KnownServer, RegisterKnown
from mcp_platform.contracts.mcps import CreateMcp, McpConfig
from mcp_platform.errors import NotFound
from storage.registration import register

router = APIRouter(prefix="/known-servers", tags=["Known servers"])

_MOST_FOUND = 100

KnownSlug = Annotated[str, Path(description="The known server's slug", max_length=100)]


class KnownSummary(Contract):
    """A known server in a list."""

    slug: str
    name: str
    description: str
    description_zh: str
    registry: str | None
    package: str | None
    version: str | None
    licence: str | None
    origin: str
    tried: bool
    offline: bool
    archived: bool
    """Whether its authors have given it up."""
    secrets: list[str]
    """Names of the secrets that it needs."""
    tools: list[str]
    score: float | None = None
    """In a search: how well it fits, between 0 and 1."""
    sure: bool | None = None
    """In a search: whether it clearly does what is wanted."""


class KnownPage(Contract):
    """One page of a list."""

    items: list[KnownSummary]
    total: int
    page: int
    page_size: int
    pages: int


class KnownDetails(Contract):
    """A known server with the configuration that runs it."""

    server: KnownServer

    config: dict[str, Any]


@router.get("")
async def list_known_servers(
    caller: Reader,
    parts: PartsDep,
    search: Annotated[
        str | None,
        Query(max_length=1_000, description="What is wanted, in words, in English or Chinese"),
    ] = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> KnownPage:
    """List known servers: ours, then those of the registry; in a search at most 100, likest first."""
    if search and search.strip():
        matches = await parts.known_servers.find(search, _MOST_FOUND)
        found = [
            _summary(match.server).model_copy(update={"score": match.score, "sure": match.sure})
            for match in matches
        ]
    else:
        found = [_summary(server) for server in await parts.known_servers.list()]
    begin = (page - 1) * page_size
    return KnownPage(
        items=found[begin : begin + page_size],
        total=len(found),
        page=page,
        page_size=page_size,
        pages=pages(len(found), page_size),
    )


@router.get("/{slug}")
async def get_known_server(slug: KnownSlug, caller: Reader, parts: PartsDep) -> KnownDetails:
    """One known server, with the configuration that runs it."""
    server = await _find(parts, slug)
    return KnownDetails(server=server, config=server.config())


@router.post("/{slug}/register", status_code=status.HTTP_201_CREATED)
async def register_known_server(
    slug: KnownSlug,
    caller: Writer,
    parts: PartsDep,
    response: Response,
    order: RegisterKnown = RegisterKnown(),
) -> McpCreated:
    """Register a known server as an MCP, a draft. Its `${NAME}` are secrets that are still to be stored."""
    check_unlimited(caller)
    server = await _find(parts, slug)
    wanted = CreateMcp(
        name=order.name or server.name,
        slug=order.slug or server.slug,
        description=server.description,
        version=order.version,
        config=McpConfig.model_validate(server.config()),
        tags=order.tags,
    )
    mcp = await register(parts.stores, wanted, caller.user_id, origin=f"known server {server.slug}")
    about("mcp_tool", mcp.id)
    response.headers["ETag"] = etag(mcp)
    return McpCreated.model_validate(mcp.model_dump())


async def _find(parts: Parts, slug: str) -> KnownServer:
    server = await parts.known_servers.get(slug)
    if server is None:
        raise NotFound("known_server", slug, "The catalogue has no such server")
    return server


def _summary(server: KnownServer) -> KnownSummary:
    told = server.model_dump(include=set(KnownSummary.model_fields) - {"secrets", "tools"})
    return KnownSummary.model_validate(
        told
        | {
            "secrets": [secret.name for secret in server.secrets if secret.required],
            "tools": [tool.name for tool in server.tools],
        }
    )
