"""OpenAPI documents that become MCPs."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, field_validator

from mcp_platform.contracts.base import Contract, Order, plain_json
from mcp_platform.contracts.exchange import Skipped
from mcp_platform.contracts.mcps import Description, Name, SemanticVersion, ServerConfig, Slug, Tags

_Word = Annotated[str, Field(min_length=1, max_length=2000)]
_Words = Annotated[list[_Word], Field(max_length=1000)]


def _absolute(url: str) -> str:
    server = ServerConfig.model_validate({"url": url})
    return server.url or url


class OperationFilter(Order):
    """Some operations of a document."""

    operations: _Words | None = None
    """By `operationId`, or as `GET /pets`."""
    tags: _Words | None = None


class ImportOpenApi(Order):
    """Body of `POST /mcps/import/openapi`."""

    document: str | dict[str, Any]
    """OpenAPI 3.0 or 3.1: its text, JSON or YAML, or the JSON object itself. Nothing is fetched."""
    slug: Slug
    name: Name | None = None
    """The document's title unless given."""
    description: Description | None = None
    version: SemanticVersion = "1.0.0"
    tags: Tags = []
    base_url: Annotated[str, Field(max_length=2000), AfterValidator(_absolute)] | None = None
    """Where the API is; what the document says of its servers unless given."""
    include: OperationFilter = OperationFilter()
    """The operations that become tools; all unless some are named."""
    exclude: OperationFilter = OperationFilter()
    """Operations that do not, whatever includes them."""

    @field_validator("document")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return plain_json(value)


class NeededSecret(Contract):
    """A secret that the configuration refers to."""

    name: str
    what: str
    known: bool
    """Whether it stands for something already."""


class OpenApiReport(Contract):
    """What became of a document."""

    id: UUID
    slug: str
    tools: list[str]
    secrets: list[NeededSecret]
    skipped: list[Skipped]
    """Operations that are no tools, and parts of some that are not in theirs."""
