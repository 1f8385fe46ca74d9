"""How much of the evaluation set the search engine finds."""

from uuid import UUID, uuid4

from mcp_platform.contracts.knowledge import SearchMode
from storage.knowledge.index import KnowledgeIndex
from storage.knowledge.models import EmbeddingModel
from storage.knowledge.passages import split_document
from storage.knowledge.segments import Filters, IndexedDocument, IndexedPassage
from storage.knowledge.words import query_terms
from tests.knowledge.evaluation import TOOLS


async def indexed_document(model: EmbeddingModel, title: str, text: str, stamp: int = 1) -> IndexedDocument:
    """Split and embed a document, as the workflow does."""
    passages = split_document(title, text)
    vectors = await model.embed([passage.embedded_text for passage in passages])
    return IndexedDocument(
        id=uuid4(),
        stamp=stamp,
        created=0.0,
        source=-1,
        language=-1,
        tags=(),
        passages=[
            IndexedPassage(passage.ordinal, passage.terms, vector.astype("<f2").tobytes())
            for passage, vector in zip(passages, vectors, strict=True)
        ],
    )


async def tool_index(model: EmbeddingModel) -> tuple[KnowledgeIndex, dict[UUID, str]]:
    """Give an index of all tools, and which document is which."""
    documents = {name: await indexed_document(model, name, text) for name, text in TOOLS.items()}
    index = KnowledgeIndex(model.name)
    index.replace(list(documents.values()))
    return index, {document.id: name for name, document in documents.items()}


async def recall(
    index: KnowledgeIndex,
    names: dict[UUID, str],
    model: EmbeddingModel,
    mode: SearchMode,
    queries: dict[str, str],
) -> tuple[float, float]:
    """Give the shares of queries whose tool comes first, and among the first three."""
    first = three = 0
    for query, wanted in queries.items():
        vector = await model.embed_query(query)
        hits = index.search(query_terms(query), vector, mode, Filters(), 3).hits
        found = [names[hit.document_id] for hit in hits]
        first += found[:1] == [wanted]
        three += wanted in found
    return first / len(queries), three / len(queries)
