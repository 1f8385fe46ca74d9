"""How a document is stored: its text, its row and its task, then the workflow that indexes it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID, uuid4

import structlog
from fastapi import Depends
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from api.dependencies import Requires
from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.knowledge import Document, IndexOrder, Metadata, indexing_task
from mcp_platform.errors import NotFound
from mcp_platform.names import Channel, Collection, TaskQueue, indexing_workflow_id
from workflows.knowledge import IndexDocumentWorkflow

logger = structlog.get_logger(__name__)

Reader = Annotated[Principal, Depends(Requires(Permission.KNOWLEDGE_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.KNOWLEDGE_WRITE))]

_START_TIMEOUT = timedelta(seconds=3)


class DocumentCreated(Contract):
    """Answer to a new document; searches find it shortly after."""

    document_id: UUID
    title: str
    created_at: Moment
    embedding_id: UUID


async def add_document(
    parts: Parts, caller: Principal, title: str, text: str, metadata: Metadata
) -> DocumentCreated:
    """Store a new document and have it indexed."""
    now = datetime.now(UTC)
    document = Document(
        id=uuid4(),
        title=title,
        owner_id=caller.user_id,
        details=metadata.as_given(),
        content_key=await store_text(parts, text),
        embedding_id=uuid4(),
        revision=1,
        indexed_revision=0,
        created_at=now,
        updated_at=now,
    )
    async with parts.stores.write() as rows:
        await rows.knowledge.add(document)
        await rows.tasks.reopen(indexing_task(document, now))
    await have_indexed(parts, document)
    return DocumentCreated(
        document_id=document.id,
        title=document.title,
        created_at=document.created_at,
        embedding_id=document.embedding_id,
    )


async def find_document(parts: Parts, document_id: UUID) -> Document:
    """Read a document.

    Raises:
        NotFound: There is none with this id.
    """
    async with parts.stores.read() as rows:
        document = await rows.knowledge.get(document_id)
    if document is None:
        raise NotFound("document", document_id)
    return document


async def store_text(parts: Parts, text: str) -> str:
    """Write a text, before any row points to it; its key."""
    key = str(uuid4())
    await parts.stores.documents.put(Collection.KNOWLEDGE, key, {"text": text})
    return key


async def have_indexed(parts: Parts, document: Document) -> None:
    """Start the workflow that indexes the newest revision, or tell the one that runs.

    Where Temporal is away the document is stored all the same: the next reconciliation starts it.
    """
    task_id = indexing_workflow_id(document.id)
    try:
        await parts.temporal.start_workflow(
            IndexDocumentWorkflow.run,
            IndexOrder(document_id=document.id),
            id=task_id,
            task_queue=TaskQueue.ORCHESTRATION,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal="knowledge.changed",
            rpc_timeout=_START_TIMEOUT,
        )
    # The SDK's lazy client says by a bare RuntimeError that it has not connected yet.
    except (RPCError, RuntimeError) as error:
        logger.warning("indexing_not_started", document_id=str(document.id), error=str(error))
        return
    started = Event(type=EventType.TASK_STARTED, owner_id=document.owner_id, data={"task_id": task_id})
    await parts.stores.publish(Channel.EVENTS, started)
