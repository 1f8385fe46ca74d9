"""The knowledge base: what is found, and how fast in 100,000 passages; the search engine by itself."""

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from uuid import UUID

import numpy as np
import psutil

from activities.clients.embeddings import BUILT_IN, BuiltInModel
from benchmarks.servers import Platform
from benchmarks.tables import show
from mcp_platform.contracts.knowledge import (
    Document,
    Passage,
    SearchFilters,
    SearchKnowledge,
    SearchMode,
)
from mcp_platform.settings import Settings
from storage.knowledge.library import Library
from storage.knowledge.models import normalised
from storage.knowledge.words import pack_terms, words_of
from storage.sql.migrate import migrate
from storage.stores import Stores, open_stores
from tests.knowledge.evaluation import CHINESE, ENGLISH, KEYWORDS
from tests.knowledge.recall import recall, tool_index

PASSAGES = 100_000
DIMENSIONS = 256
_PASSAGES_EACH = 5
_WORDS_EACH = 100
_VOCABULARY = 50_000
_TOPICS = 300
_DOCUMENTS_AT_ONCE = 500
SEARCHES = 200


async def run(platform: Platform) -> None:
    """Measure recall, then the large index."""
    await _show_recall()
    await _show_speed(Path(mkdtemp(dir=platform.folder)))


async def _show_recall() -> None:
    model = BuiltInModel()
    index, names = await tool_index(model)
    rows = []
    for mode in SearchMode:
        for language, queries in (("English", ENGLISH), ("Chinese", CHINESE), ("keywords", KEYWORDS)):
            first, three = await recall(index, names, model, mode, queries)
            rows.append([f"{mode.value}, {language}", f"{first:.2f}", f"{three:.2f}"])
    show("Knowledge base: 30 tools, paraphrased queries", ["mode", "recall@1", "recall@3"], rows)


async def _show_speed(folder: Path) -> None:
    settings = Settings(data_dir=folder)
    await migrate(settings.sql_url)
    async with open_stores(settings) as stores:
        await _fill(stores)
        gc.collect()
        await BuiltInModel().embed(["loaded"])
        before = psutil.Process().memory_info().rss
        library = Library(stores, lambda _: BuiltInModel(), BUILT_IN, 3600.0)
        began = time.perf_counter()
        async with library.open():
            async with asyncio.timeout(600):
                while library.index is None:  # noqa: ASYNC110 - it says so to nobody
                    await asyncio.sleep(0.05)
            loaded = time.perf_counter() - began
            rows = await _searches(library, "while the graph is built")
            while library.index is None or library.index.wants_graphs:  # noqa: ASYNC110 - it says so to nobody
                await asyncio.sleep(0.05)
            built = time.perf_counter() - began
            rows += await _searches(library, "with the graph")
            memory = psutil.Process().memory_info().rss - before
    show(f"Knowledge base: a search among {PASSAGES:,} passages", ["search", "p50", "p95"], rows)
    show(
        "Knowledge base: the index",
        ["figure", "value"],
        [
            ["loaded after", f"{loaded:.1f} s"],
            ["graph ready after", f"{built:.1f} s"],
            ["memory", f"{memory / 1e6:.0f} MB"],
        ],
    )


def _documents() -> Iterator[tuple[Document, list[Passage], list[bytes]]]:
    """Give documents of words as frequent as in a language, about a few hundred topics."""
    chance = random.Random(1)
    numbers = np.random.default_rng(1)
    frequency = 1 / np.arange(1, _VOCABULARY + 1)
    frequency /= frequency.sum()
    topics = numbers.normal(size=(_TOPICS, DIMENSIONS))
    for _ in range(PASSAGES // _PASSAGES_EACH):
        document_id = UUID(int=chance.getrandbits(128))
        picked = numbers.choice(_VOCABULARY, size=(_PASSAGES_EACH, _WORDS_EACH), p=frequency)
        rows = topics[chance.randrange(_TOPICS)] + 1.2 * numbers.normal(size=(_PASSAGES_EACH, DIMENSIONS))
        vectors = normalised(rows.astype(np.float32)).astype("<f2")
        yield (
            _document(document_id, chance.choice(["a", "b", "c"])),
            [_passage(document_id, ordinal, words) for ordinal, words in enumerate(picked)],
            [vector.tobytes() for vector in vectors],
        )


def _document(document_id: UUID, tag: str) -> Document:
    now = datetime.now(UTC)
    return Document(
        id=document_id,
        title=f"Document {document_id}",
        owner_id=document_id,
        details={"tags": [tag]},
        content_key=str(document_id),
        embedding_id=document_id,
        revision=1,
        indexed_revision=0,
        created_at=now,
        updated_at=now,
    )


def _passage(document_id: UUID, ordinal: int, words: "np.typing.NDArray[np.int64]") -> Passage:
    text = " ".join(f"word{number}" for number in words)
    return Passage(
        ordinal=ordinal,
        begins=0,
        ends=len(text),
        context="",
        text=text,
        text_hash=f"{document_id.hex}-{ordinal}",
        terms=pack_terms(words_of(text)),
    )


async def _fill(stores: Stores) -> None:
    batch: list[tuple[Document, list[Passage], list[bytes]]] = []
    for each in _documents():
        batch.append(each)
        if len(batch) == _DOCUMENTS_AT_ONCE:
            await _write(stores, batch)
            batch = []


async def _write(stores: Stores, batch: list[tuple[Document, list[Passage], list[bytes]]]) -> None:
    now = datetime.now(UTC)
    async with stores.write() as rows:
        for document, passages, vectors in batch:
            await rows.knowledge.add(document)
            await rows.knowledge.replace_passages(document.id, 1, passages, now)
            await rows.knowledge.finish(document.id, 1, now)
            hashes = [passage.text_hash for passage in passages]
            await rows.knowledge.add_embeddings(BUILT_IN, dict(zip(hashes, vectors, strict=True)))


async def _searches(library: Library, when: str) -> list[list[str]]:
    rows = []
    for name, mode, filters in (
        ("hybrid", SearchMode.HYBRID, SearchFilters()),
        ("hybrid, one tag of three", SearchMode.HYBRID, SearchFilters(tags=["a"])),
        ("semantic", SearchMode.SEMANTIC, SearchFilters()),
        ("text", SearchMode.TEXT, SearchFilters()),
    ):
        rows.append(await _row(f"{name}, {when}", partial(_search, library, mode, filters)))
    return rows


def _order(mode: SearchMode, filters: SearchFilters) -> SearchKnowledge:
    frequent = random.choices(range(1, 200), k=2)
    rare = random.choices(range(200, _VOCABULARY), k=4)
    query = " ".join(f"word{number}" for number in frequent + rare)
    return SearchKnowledge(query=query, mode=mode, filters=filters)


async def _search(library: Library, mode: SearchMode, filters: SearchFilters) -> object:
    return await library.search(_order(mode, filters))


async def _row(name: str, work: Callable[[], Awaitable[object]]) -> list[str]:
    times = []
    for _ in range(SEARCHES + 10):
        began = time.perf_counter()
        await work()
        times.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(times[10:], n=100)
    return [name, f"{cuts[49]:.1f} ms", f"{cuts[94]:.1f} ms"]
