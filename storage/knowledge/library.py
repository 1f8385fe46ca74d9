"""The knowledge base as one process searches it: loaded from the store, and kept fresh."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import structlog

from mcp_platform.contracts.knowledge import FoundPassage, SearchFilters, SearchKnowledge, SearchMode
from mcp_platform.errors import PlatformError, Unavailable
from mcp_platform.names import Channel
from storage.cache import listen
from storage.knowledge.index import Found, Hit, KnowledgeIndex
from storage.knowledge.memory import give_back
from storage.knowledge.models import EmbeddingModel, Vectors
from storage.knowledge.segments import Filters, IndexedDocument, IndexedPassage
from storage.knowledge.words import query_terms
from storage.sql.knowledge import StoredDocument, StoredPassage
from storage.stores import Rows, Stores

logger = structlog.get_logger(__name__)

_READY_PATIENCE: Final = 5.0
_LOADED_AT_ONCE: Final = 500
_OVERLAP: Final = timedelta(minutes=5)
"""How far the clocks of two workers may differ, together with the time that a transaction takes."""
_RETRY_DELAY: Final = 1.0
_MOST_REPEATED: Final = 3
"""How often a search takes in what changed under it, before it shows what it has."""
_MODEL_REST: Final = 5.0
"""Seconds for which a model that did not answer is not asked again."""


@dataclass(frozen=True)
class Answer:
    """What a search found, and by what it went."""

    found: list[tuple[FoundPassage, float]]
    total: int
    mode: SearchMode


class Library:
    """Searches the knowledge base.

    Its index follows the messages of whoever changes documents, and is compared with the store after
    each interruption and from time to time: what a lost message said is known then at the latest.

    Args:
        stores: Where documents, passages and embeddings are.
        open_model: Gives the embedding model of a name.
        first_model: The model that is used before any was activated.
        refresh_interval: Seconds between two comparisons with the store.
    """

    def __init__(
        self,
        stores: Stores,
        open_model: Callable[[str], EmbeddingModel],
        first_model: str,
        refresh_interval: float,
    ) -> None:
        self._stores = stores
        self._open_model = open_model
        self._first_model = first_model
        self._refresh_interval = refresh_interval
        self._model: EmbeddingModel | None = None
        self._model_rests_until = 0.0
        self._index: KnowledgeIndex | None = None
        self._newest = datetime.min.replace(tzinfo=UTC)
        self._ready = asyncio.Event()
        self._told = asyncio.Event()
        self._changed: set[UUID] = set()
        self._missed = True
        self._graphs: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._closing = threading.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Load the index, and keep it fresh while the body runs."""
        tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._keep_fresh())]
        try:
            yield
        finally:
            # A thread cannot be cancelled, and the process would wait for it.
            self._closing.set()
            if self._graphs is not None:
                tasks.append(self._graphs)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._model is not None:
                await self._model.close()

    @property
    def index(self) -> KnowledgeIndex | None:
        """What searches go by; none until it is loaded."""
        return self._index if self._ready.is_set() else None

    async def search(self, order: SearchKnowledge) -> Answer:
        """Find the documents that answer best; without its model a hybrid search goes by words.

        Raises:
            Unavailable: The index is not loaded yet, or a semantic search's model cannot be reached.
        """
        index = await self._loaded()
        vector = await self._vector(order, index.model)
        mode = SearchMode.TEXT if vector is None else order.mode
        found, shown = await self._found(index, order, vector, mode)
        for _ in range(_MOST_REPEATED):
            # The passages that were judged are not those that are stored by now.
            outdated = {hit.document_id for hit in found.hits if _outdated(hit, shown)}
            if not outdated:
                break
            await self._take_in(index, outdated)
            found, shown = await self._found(index, order, vector, mode)
        answers = [
            (passage, hit.score)
            for hit in found.hits
            if (passage := shown.get((hit.document_id, hit.ordinal))) is not None
        ]
        return Answer(answers, found.total - (len(found.hits) - len(answers)), mode)

    async def _found(
        self, index: KnowledgeIndex, order: SearchKnowledge, vector: Vectors | None, mode: SearchMode
    ) -> tuple[Found, dict[tuple[UUID, int], FoundPassage]]:
        found: Found = await asyncio.to_thread(_search, index, order, vector, mode)
        keys = [(hit.document_id, hit.ordinal) for hit in found.hits]
        if not keys:
            return found, {}
        async with self._stores.read() as rows:
            return found, await rows.knowledge.show(keys)

    async def _loaded(self) -> KnowledgeIndex:
        try:
            async with asyncio.timeout(_READY_PATIENCE):
                await self._ready.wait()
        except TimeoutError:
            raise Unavailable("The search index is still being loaded", part="knowledge") from None
        if self._index is None:
            raise RuntimeError("a library that is ready has an index")
        return self._index

    async def _vector(self, order: SearchKnowledge, name: str) -> Vectors | None:
        if order.mode is SearchMode.TEXT:
            return None
        try:
            if time.monotonic() < self._model_rests_until:
                raise Unavailable(f"The embedding model {name} did not answer", part="embeddings")
            return await (await self._opened(name)).embed_query(order.query)
        except Unavailable:
            if time.monotonic() >= self._model_rests_until:
                self._model_rests_until = time.monotonic() + _MODEL_REST
            if order.mode is SearchMode.SEMANTIC:
                raise
            return None

    async def _opened(self, name: str) -> EmbeddingModel:
        former = self._model
        if former is not None and former.name == name:
            return former
        model = self._model = self._open_model(name)
        if former is not None:
            await former.close()
        return model

    async def _hear(self) -> None:
        async with aclosing(listen(self._stores.cache, Channel.KNOWLEDGE)) as messages:
            async for message in messages:
                document_id = _document_id(message.data)
                if document_id is None:
                    self._missed = True
                else:
                    self._changed.add(document_id)
                self._told.set()

    async def _keep_fresh(self) -> None:
        while True:
            self._told.clear()
            changed, missed = self._changed, self._missed
            self._changed, self._missed = set(), False
            try:
                await self._refresh(changed, missed)
                self._ready.set()
            except PlatformError as error:
                logger.warning("knowledge_index_not_refreshed", error=str(error))
                self._missed = True
                await asyncio.sleep(_RETRY_DELAY)
                continue
            except Exception:
                # Whatever it was, searches go on with what there is, and the next time may be better.
                logger.exception("knowledge_index_not_refreshed")
                self._missed = True
                await asyncio.sleep(self._refresh_interval)
                continue
            try:
                async with asyncio.timeout(self._refresh_interval):
                    await self._told.wait()
            except TimeoutError:
                self._missed = True

    async def _refresh(self, changed: Collection[UUID], missed: bool) -> None:
        async with self._stores.read() as rows:
            name = await rows.knowledge.active_model() or self._first_model
        if self._index is None or self._index.model != name:
            await self._load(name)
            missed = True
        if changed and self._index is not None:
            await self._take_in(self._index, changed)
        if missed:
            await self._compare()
        self._ensure_graphs()

    async def _load(self, name: str) -> None:
        began = time.monotonic()
        index = KnowledgeIndex(name)
        after: UUID | None = None
        newest = datetime.min.replace(tzinfo=UTC)
        while True:
            async with self._stores.read() as rows:
                documents = await rows.knowledge.indexed_page(after, _LOADED_AT_ONCE)
                if not documents:
                    break
                passages = await _passages(rows, documents, name)
            await asyncio.to_thread(index.load, _prepared(index, documents, passages))
            after = documents[-1].id
            newest = max(newest, *(document.indexed_at for document in documents))
        await asyncio.to_thread(index.join)
        await asyncio.to_thread(give_back)
        self._index, self._newest = index, newest
        if count := index.count_passages():
            logger.info(
                "knowledge_index_loaded",
                model=name,
                passages=count,
                milliseconds=round((time.monotonic() - began) * 1000),
            )

    async def _take_in(self, index: KnowledgeIndex, document_ids: Collection[UUID]) -> None:
        """Read these documents anew, and forget those that are gone."""
        ids = list(document_ids)
        for begin in range(0, len(ids), _LOADED_AT_ONCE):
            some = ids[begin : begin + _LOADED_AT_ONCE]
            # One after the other, from the reading on: what was read first must not be put in last.
            async with self._changing:
                await self._replace(index, some)

    async def _replace(self, index: KnowledgeIndex, ids: Collection[UUID]) -> None:
        async with self._stores.read() as rows:
            documents = await rows.knowledge.indexed(ids)
            passages = await _passages(rows, documents, index.model)
        gone = set(ids) - {document.id for document in documents}
        replacing = asyncio.to_thread(index.replace, _prepared(index, documents, passages), gone)
        # A request may be given up, and a thread cannot: the next one must wait for it all the same.
        task = asyncio.create_task(replacing)
        try:
            await asyncio.shield(task)
        finally:
            await asyncio.wait({task})

    async def _compare(self) -> None:
        """Read anew what changed unheard, and forget what went unheard."""
        index = self._index
        if index is None:
            return
        earliest = self._newest - _OVERLAP if self._newest.year > 1 else self._newest
        async with self._stores.read() as rows:
            recent = await rows.knowledge.indexed_since(earliest)
            stale = {each for each, moment in recent if index.stamp(each) != _stamp(moment)}
            there = await rows.knowledge.count_indexed()
            new = sum(1 for each in stale if index.stamp(each) is None)
            if index.count_documents() + new != there:
                ids = await rows.knowledge.indexed_ids()
                stale |= index.ids() ^ ids
        if stale:
            await self._take_in(index, stale)
        self._newest = max([self._newest, *(moment for _, moment in recent)])

    def _ensure_graphs(self) -> None:
        """Let graphs be made beside everything else."""
        idle = self._graphs is None or self._graphs.done()
        if idle and self._index is not None and self._index.wants_graphs:
            building = asyncio.to_thread(self._index.build_graphs, self._closing.is_set)
            self._graphs = asyncio.create_task(building)


async def _passages(rows: Rows[Any], documents: Sequence[StoredDocument], model: str) -> list[StoredPassage]:
    return await rows.knowledge.passages_of([document.id for document in documents], model)


def _outdated(hit: Hit, shown: dict[tuple[UUID, int], FoundPassage]) -> bool:
    passage = shown.get((hit.document_id, hit.ordinal))
    return passage is None or _stamp(passage.indexed_at) != hit.stamp


def _document_id(data: dict[str, Any]) -> UUID | None:
    try:
        return UUID(data["document_id"])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _stamp(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _prepared(
    index: KnowledgeIndex, documents: Sequence[StoredDocument], passages: Sequence[StoredPassage]
) -> list[IndexedDocument]:
    by_document = {
        document_id: [IndexedPassage(each.ordinal, each.terms, each.vector) for each in group]
        for document_id, group in groupby(passages, key=lambda each: each.document_id)
    }
    return [_indexed(index, each, by_document.get(each.id, [])) for each in documents]


def _indexed(
    index: KnowledgeIndex, document: StoredDocument, passages: Sequence[IndexedPassage]
) -> IndexedDocument:
    details = document.details
    return IndexedDocument(
        id=document.id,
        stamp=_stamp(document.indexed_at),
        created=document.created_at.timestamp(),
        source=_number(index, "source", details.get("source")),
        language=_number(index, "language", details.get("language")),
        tags=tuple(_number(index, "tag", tag) for tag in details.get("tags", [])),
        passages=passages,
    )


def _number(index: KnowledgeIndex, kind: str, word: str | None) -> int:
    return -1 if word is None else index.number_of(_key(kind, word))


def _key(kind: str, word: str) -> str:
    # `zh-CN` and `zh-cn` are one language.
    return f"{kind}:{word.lower() if kind == 'language' else word}"


def _search(index: KnowledgeIndex, order: SearchKnowledge, vector: Vectors | None, mode: SearchMode) -> Found:
    terms = query_terms(order.query)
    return index.search(terms, vector, mode, _filters(index, order.filters), order.limit)


def _filters(index: KnowledgeIndex, wanted: SearchFilters) -> Filters:
    def number(kind: str, word: str | None) -> int | None:
        return None if word is None else index.known_number(_key(kind, word))

    return Filters(
        tags=tuple(index.known_number(_key("tag", tag)) for tag in wanted.tags),
        source=number("source", wanted.source),
        language=number("language", wanted.language),
        created_after=wanted.created_after.timestamp() if wanted.created_after else None,
        created_before=wanted.created_before.timestamp() if wanted.created_before else None,
    )
