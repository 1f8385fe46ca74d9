"""Documents of the knowledge base, one by one."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Path, Query, status

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.answers import pages
from api.v1.knowledge.storing import (
    DocumentCreated,
    Reader,
    Writer,
    add_document,
    find_document,
    have_indexed,
    store_text,
)
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.knowledge import (
    MAX_TEXT,
    CreateDocument,
    Document,
    TextFormat,
    UpdateDocument,
    indexing_task,
)
from mcp_platform.errors import Forbidden, NotFound, Unavailable, ValidationFailed
from mcp_platform.names import Channel, Collection
from storage.knowledge.extraction import Unreadable, extract, turn_to_read

router = APIRouter(prefix="/knowledge", tags=["Knowledge base"])

DOCUMENTS_PATH = "/api/v1/knowledge/documents"
LONGEST_DOCUMENT = 6 * MAX_TEXT + 131_072
"""Bytes of a body with the longest text, its characters written as `\\uXXXX`, and metadata."""

DocumentId = Annotated[UUID, Path(description="The document's id")]
Indexing = Literal["pending", "done"]


class DocumentSummary(Contract):
    """A document in a list."""

    document_id: UUID
    title: str
    metadata: dict[str, Any]
    created_at: Moment
    updated_at: Moment
    indexing: Indexing
    """Whether searches know the newest revision."""


class DocumentDetails(DocumentSummary):
    """A document with its text."""

    content: str


class DocumentPage(Contract):
    """One page of a list."""

    items: list[DocumentSummary]
    total: int
    page: int
    page_size: int
    pages: int


class DocumentDeleted(Contract):
    """A document was removed."""

    message: str
    document_id: UUID


@router.post("/documents", status_code=status.HTTP_201_CREATED)
async def create_document(order: CreateDocument, caller: Writer, parts: PartsDep) -> DocumentCreated:
    """Add a document; searches find it as soon as it is indexed."""
    text = await _text_of(order.content, order.format)
    return await add_document(parts, caller, order.title, text, order.metadata)


@router.get("/documents")
async def list_documents(
    _caller: Reader,
    parts: PartsDep,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    tag: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    source: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
    language: Annotated[str | None, Query(min_length=1, max_length=35)] = None,
) -> DocumentPage:
    """List documents, the newest first."""
    async with parts.stores.read() as rows:
        found = await rows.knowledge.list(
            page=page, page_size=page_size, tag=tag, source=source, language=language
        )
    return DocumentPage(
        items=[DocumentSummary.model_validate(_shown(document)) for document in found.items],
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


@router.get("/documents/{document_id:uuid}")
async def get_document(document_id: DocumentId, _caller: Reader, parts: PartsDep) -> DocumentDetails:
    """One document with its text."""
    return await _details(parts, await find_document(parts, document_id))


@router.put("/documents/{document_id:uuid}")
async def update_document(
    document_id: DocumentId, order: UpdateDocument, caller: Writer, parts: PartsDep
) -> DocumentDetails:
    """Change a document: what is absent stays. Only passages whose text changed are embedded anew."""
    document = await find_document(parts, document_id)
    _check_owner(document, caller)
    content_key = document.content_key
    if order.content is not None:
        content_key = await store_text(parts, await _text_of(order.content, order.format))
    now = datetime.now(UTC)
    changed = document.model_copy(
        update={
            "title": order.title if order.title is not None else document.title,
            "details": order.metadata.as_given() if order.metadata is not None else document.details,
            "content_key": content_key,
            "embedding_id": uuid4() if order.content is not None else document.embedding_id,
            "revision": document.revision + 1,
            "updated_at": now,
        }
    )
    async with parts.stores.write() as rows:
        await rows.knowledge.update(changed, document.revision)
        await rows.tasks.reopen(indexing_task(changed, now))
    await have_indexed(parts, changed)
    return await _details(parts, changed)


@router.delete("/documents/{document_id:uuid}")
async def delete_document(document_id: DocumentId, caller: Writer, parts: PartsDep) -> DocumentDeleted:
    """Remove a document; searches do not find it any more."""
    _check_owner(await find_document(parts, document_id), caller)
    async with parts.stores.write() as rows:
        if not await rows.knowledge.delete(document_id):
            raise NotFound("document", document_id)
    await parts.stores.publish(Channel.KNOWLEDGE, {"document_id": str(document_id)})
    return DocumentDeleted(message="Document deleted successfully", document_id=document_id)


def _check_owner(document: Document, caller: Principal) -> None:
    if document.owner_id != caller.user_id and Permission.KNOWLEDGE_ALL not in caller.permissions:
        raise Forbidden(Permission.KNOWLEDGE_ALL, "Only its owner or an administrator may change a document")


async def _text_of(content: str, text_format: TextFormat) -> str:
    if text_format is TextFormat.MARKDOWN:
        return content
    # The mark tells that it is UTF-8, whatever the page says of the file that it was.
    page = content.encode("utf-8-sig")
    try:
        async with turn_to_read("html", len(page)):
            return (await extract(page, "html")).text
    except Unreadable as error:
        raise ValidationFailed.at(("body", "content"), f"The document {error}") from None


async def _details(parts: Parts, document: Document) -> DocumentDetails:
    body = await parts.stores.documents.get(Collection.KNOWLEDGE, document.content_key)
    if body is None:
        raise Unavailable("The document's text is missing in the document store", part="documents")
    return DocumentDetails.model_validate(_shown(document) | {"content": body["text"]})


def _shown(document: Document) -> dict[str, Any]:
    return {
        "document_id": document.id,
        "title": document.title,
        "metadata": document.details,
        "created_at": document.created_at,
        "updated_at": document.updated_at,
        "indexing": "done" if document.indexed else "pending",
    }
