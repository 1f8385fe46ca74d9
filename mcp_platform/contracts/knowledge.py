"""The knowledge base: documents, their passages, and how they are searched."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mcp_platform.contracts.base import Contract, Moment, Order
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.names import indexing_workflow_id

MAX_TEXT: Final = 1_000_000
"""Characters that a document may have: a thick book."""
_MAX_METADATA: Final = 16_384
_MAX_NESTING: Final = 20


def _unicode(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain the character U+0000")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _different(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _depth(value: Any, left: int = _MAX_NESTING) -> None:
    if left == 0:
        raise ValueError(f"is nested more than {_MAX_NESTING} levels deep")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _depth(item, left - 1)


Title = Annotated[
    str, Field(min_length=1, max_length=500), AfterValidator(_unicode), AfterValidator(_not_blank)
]
Content = Annotated[
    str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_unicode), AfterValidator(_not_blank)
]
Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
Tags = Annotated[list[Tag], Field(max_length=50), AfterValidator(_different)]
Source = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_unicode)]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]


class Metadata(BaseModel):
    """What is known of a document; fields that are not listed here are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    source: Source | None = None
    tags: Tags = []
    language: Language | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        _depth(self.model_extra)
        try:
            text = json.dumps(self.model_extra, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            raise ValueError("has a character that is half of a surrogate pair") from None
        if len(text) > _MAX_METADATA:
            raise ValueError(f"is larger than {_MAX_METADATA} bytes")
        return self

    def as_given(self) -> dict[str, Any]:
        """Give the fields that were set, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)


class TextFormat(StrEnum):
    """How a document's text is written."""

    MARKDOWN = "markdown"
    """Plain text too: it is Markdown without marks."""
    HTML = "html"


class CreateDocument(Order):
    """Body of `POST /knowledge/documents`."""

    title: Title
    content: Content
    metadata: Metadata = Metadata()
    format: TextFormat = TextFormat.MARKDOWN


class UpdateDocument(Order):
    """Body of `PUT /knowledge/documents/{id}`: what is absent stays as it is."""

    title: Title | None = None
    content: Content | None = None
    metadata: Metadata | None = None
    format: TextFormat = TextFormat.MARKDOWN
    """How `content` is written."""


class Document(Contract):
    """A document without its text, which `content_key` points to.

    `revision` grows by one with each change; `indexed_revision` is the newest one that is fully indexed,
    or 0. `indexed_at` moves whenever something changed that the search index must read anew.
    """

    id: UUID
    title: str
    owner_id: UUID
    details: dict[str, Any]
    content_key: str
    embedding_id: UUID
    revision: int
    indexed_revision: int
    created_at: Moment
    updated_at: Moment
    indexed_at: Moment | None = None

    @property
    def indexed(self) -> bool:
        """Whether searches know the newest revision."""
        return self.indexed_revision >= self.revision


def indexing_task(document: Document, moment: datetime) -> TaskRecord:
    """Give the task that makes a document searchable; it is its owner's."""
    return TaskRecord(
        task_id=indexing_workflow_id(document.id),
        kind=TaskKind.INDEXING,
        owner_id=document.owner_id,
        status=TaskState.PENDING,
        message="Queued",
        created_at=moment,
    )


class Passage(Contract):
    """A passage of a document, by its place in the document's text.

    `context` is the title and the headings above it; `terms` are its words as the index packs them.
    """

    ordinal: int
    begins: int
    ends: int
    context: str
    text: str
    text_hash: str
    terms: bytes

    @property
    def embedded_text(self) -> str:
        """What the embedding is made of."""
        return embedded_text(self.context, self.text)


def embedded_text(context: str, text: str) -> str:
    """Give what a passage's embedding is made of."""
    return f"{context}\n{text}"


class FoundPassage(Contract):
    """A passage as a search shows it, with its document."""

    document_id: UUID
    ordinal: int
    title: str
    details: dict[str, Any]
    begins: int
    text: str
    indexed_at: Moment
    """How fresh the document's passages are."""


class SearchMode(StrEnum):
    """What a search goes by."""

    HYBRID = "hybrid"
    """Words and meaning."""
    SEMANTIC = "semantic"
    """Meaning: embeddings."""
    TEXT = "text"
    """Words: BM25."""


class SearchFilters(Order):
    """Which documents a search looks at; a document must pass all that are given."""

    tags: Tags = []
    """It has all of these."""
    source: Source | None = None
    language: Language | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.created_after and self.created_before and self.created_after >= self.created_before:
            raise ValueError("created_after must be earlier than created_before")
        return self


class SearchKnowledge(Order):
    """Body of `POST /knowledge/search`."""

    query: Annotated[
        str, Field(min_length=1, max_length=1000), AfterValidator(_unicode), AfterValidator(_not_blank)
    ]
    limit: Annotated[int, Field(ge=1, le=50)] = 10
    mode: SearchMode = SearchMode.HYBRID
    filters: SearchFilters = SearchFilters()


class IndexOrder(Contract):
    """What the workflow that indexes a document is started with."""

    document_id: UUID


class SplitDocument(Contract):
    """What came of splitting a document."""

    revision: int
    passages: int


class EmbedOrder(Contract):
    """What to embed next: the passages of one document, or of all, that lack an embedding."""

    document_id: UUID | None = None
    model: str | None = None
    """None: the models that new passages need at present."""


class EmbedProgress(Contract):
    """How much of an `EmbedOrder` was done by one step, and how much is left."""

    embedded: int
    lacking: int
    superseded: bool = False
    """The model that was ordered is not the configured one any more."""


class DocumentIndexed(Contract):
    """A revision's passages all have their embeddings."""

    document_id: UUID
    revision: int


class ReembedOrder(Contract):
    """What the workflow that changes the embedding model is started with."""

    model: str
    embedded: int = 0
    """By the runs before this one."""
