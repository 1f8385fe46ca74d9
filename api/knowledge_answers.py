"""Searches of the knowledge base for other processes: only those of the API have its index."""

from typing import Any, Final

from mcp_platform.contracts.analysis import FoundDocument
from mcp_platform.contracts.knowledge import SearchKnowledge
from mcp_platform.names import KNOWLEDGE_SEARCH
from storage.knowledge.library import Library
from storage.knowledge.snippets import snippet_of
from storage.stores import Stores

_LONGEST: Final = 1000


async def answer_searches(stores: Stores, library: Library) -> None:
    """Answer until cancelled; `{"query": str, "limit": int}` gives `{"documents": [FoundDocument]}`."""

    async def search(asked: dict[str, Any]) -> dict[str, Any]:
        order = SearchKnowledge(query=asked["query"][:_LONGEST], limit=asked["limit"])
        answer = await library.search(order)
        documents = [
            FoundDocument(
                document_id=passage.document_id,
                title=passage.title,
                snippet=snippet_of(passage.text, order.query).text,
                score=round(score, 4),
            )
            for passage, score in answer.found
        ]
        return {"documents": [document.model_dump(mode="json") for document in documents]}

    await stores.questions.answer_forever({KNOWLEDGE_SEARCH: search})
