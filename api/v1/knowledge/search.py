"""Searching the knowledge base."""

import time
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends

from api.audit import reads_only
from api.dependencies import PartsDep, Requires
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.knowledge import FoundPassage, SearchKnowledge, SearchMode
from mcp_platform.names import RouteClass
from storage.knowledge.snippets import snippet_of

router = APIRouter(prefix="/knowledge", tags=["Knowledge base"])

Searcher = Annotated[Principal, Depends(Requires(Permission.KNOWLEDGE_READ, RouteClass.READ))]


class SearchResult(Contract):
    """A document that was found, with the passage that matched."""

    document_id: UUID
    title: str
    content_snippet: str
    snippet_begin: int
    """Where the snippet stands in the document's text, in Unicode code points, without its `…`."""
    snippet_end: int
    similarity_score: float
    """Between 0 and 1; comparable between queries of one mode."""
    metadata: dict[str, Any]


class SearchAnswer(Contract):
    """What was found, the best first."""

    results: list[SearchResult]
    total: int
    """How many documents match well enough, also beyond `limit`; counted up to some hundreds."""
    query_time_ms: int
    mode: SearchMode
    """By what it went: `text` also where the embedding model was away from a hybrid search."""


@router.post("/search", dependencies=[Depends(reads_only)])
async def search_knowledge(order: SearchKnowledge, _caller: Searcher, parts: PartsDep) -> SearchAnswer:
    """Find documents by words and by meaning."""
    began = time.perf_counter()
    answer = await parts.knowledge.search(order)
    return SearchAnswer(
        results=[_result(passage, score, order.query) for passage, score in answer.found],
        total=answer.total,
        query_time_ms=round((time.perf_counter() - began) * 1000),
        mode=answer.mode,
    )


def _result(passage: FoundPassage, score: float, query: str) -> SearchResult:
    snippet = snippet_of(passage.text, query)
    return SearchResult(
        document_id=passage.document_id,
        title=passage.title,
        content_snippet=snippet.text,
        snippet_begin=passage.begins + snippet.begins,
        snippet_end=passage.begins + snippet.ends,
        similarity_score=round(score, 4),
        metadata=passage.details,
    )
