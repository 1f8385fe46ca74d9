"""The search engine by itself: what it finds, and that its parts together are one index."""

import random
import re
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from activities.clients.embeddings import BuiltInModel
from mcp_platform.contracts.knowledge import SearchMode
from storage.knowledge import index as index_module
from storage.knowledge import segments
from storage.knowledge.index import Found, KnowledgeIndex
from storage.knowledge.models import normalised
from storage.knowledge.segments import Filters, IndexedDocument, IndexedPassage
from storage.knowledge.words import pack_terms, query_terms
from tests.knowledge.evaluation import CHINESE, ENGLISH, KEYWORDS, NONSENSE
from tests.knowledge.recall import indexed_document, recall, tool_index

MODEL = BuiltInModel()
DIMENSIONS = 32
DOCS = Path(__file__).parents[2] / "docs"
WORDS = [f"word{number}" for number in range(200)]


@pytest.mark.parametrize(
    ("mode", "queries", "first", "three"),
    [
        (SearchMode.HYBRID, ENGLISH, 0.85, 0.9),
        (SearchMode.HYBRID, CHINESE, 0.9, 0.95),
        (SearchMode.HYBRID, KEYWORDS, 1.0, 1.0),
        (SearchMode.SEMANTIC, ENGLISH, 0.85, 0.9),
        (SearchMode.SEMANTIC, CHINESE, 0.8, 0.9),
        (SearchMode.TEXT, KEYWORDS, 1.0, 1.0),
    ],
)
async def test_the_evaluation_set_is_found(
    mode: SearchMode, queries: dict[str, str], first: float, three: float
) -> None:
    index, names = await tool_index(MODEL)
    seen = await recall(index, names, MODEL, mode, queries)
    assert seen[0] >= first
    assert seen[1] >= three


async def test_scores_are_shares_and_nonsense_finds_nothing_good() -> None:
    index, _ = await tool_index(MODEL)

    async def best(query: str, mode: SearchMode = SearchMode.HYBRID) -> float:
        vector = await MODEL.embed_query(query)
        hits = index.search(query_terms(query), vector, mode, Filters(), 5).hits
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(0 < hit.score <= 1 for hit in hits)
        return hits[0].score if hits else 0.0

    nonsense = max([await best(query) for query in NONSENSE])
    assert nonsense < 0.35
    for query in KEYWORDS:
        assert await best(query) > nonsense + 0.1, query
    assert [await best(query, SearchMode.TEXT) for query in NONSENSE] == [0.0] * len(NONSENSE)


async def test_words_that_are_none_find_nothing_in_a_mixed_base() -> None:
    index, _ = await tool_index(MODEL)
    words: set[str] = set()
    for path in sorted(DOCS.glob("*.md")):
        index.replace([await indexed_document(MODEL, path.stem, path.read_text())])
        words.update(re.findall("[a-z]+", path.read_text().lower()))
    chance = random.Random(1)
    made_up = [
        [word for _ in range(2) if (word := _letters(chance)) not in words]  # "var" is one, as in /var/run
        for _ in range(50)
    ]
    for query in ("qwzx blorf", "blorf", "asdf qwer", *NONSENSE, *filter(None, map(" ".join, made_up))):
        for mode in SearchMode:
            vector = await MODEL.embed_query(query)
            assert not index.search(query_terms(query), vector, mode, Filters(), 5).hits, (query, mode)


def _letters(chance: random.Random) -> str:
    return "".join(chance.choices(ascii_lowercase, k=chance.randint(3, 8)))


def test_a_search_during_a_change_sees_either_state_of_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(17)
    lonely = replace(document(chance), passages=[IndexedPassage(0, pack_terms(["lonely"]), None)])
    index = KnowledgeIndex("any")
    index.replace([lonely, *(document(chance) for _ in range(50))])
    judge, seen = index_module._judge, []

    def judge_while_it_changes(*args: Any) -> Any:
        index.replace([replace(lonely, stamp=2)])
        return judge(*args)

    monkeypatch.setattr(index_module, "_judge", judge_while_it_changes)
    for _ in range(2):
        found = index.search(query_terms("lonely"), None, SearchMode.TEXT, Filters(), 50)
        seen.append([(hit.document_id, hit.stamp) for hit in found.hits])
    assert seen == [[(lonely.id, 1)], [(lonely.id, 2)]]


def test_a_graph_outlives_changes_of_its_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "GRAPH_ABOVE", 100)
    chance = random.Random(19)
    documents = [document(chance) for _ in range(200)]
    index = KnowledgeIndex("any")
    index.replace(documents)

    def changed_meanwhile() -> bool:
        index.replace([replace(documents[0], stamp=2)])
        return False

    index.build_graphs(changed_meanwhile)
    assert not index.wants_graphs


async def test_nothing_is_found_in_nothing() -> None:
    empty = KnowledgeIndex("any")
    vector = await MODEL.embed_query("weather")
    assert empty.search(query_terms("weather"), vector, SearchMode.HYBRID, Filters(), 5) == Found([], 0)
    index, _ = await tool_index(MODEL)
    assert index.search(query_terms("?!"), None, SearchMode.TEXT, Filters(), 5) == Found([], 0)


def document(chance: random.Random, document_id: UUID | None = None, stamp: int = 1) -> IndexedDocument:
    """Give a document of chosen words and a chosen direction."""
    numbers = np.random.default_rng(chance.getrandbits(32))
    passages = []
    for ordinal in range(chance.randint(1, 4)):
        vector = normalised(numbers.normal(size=(1, DIMENSIONS)).astype(np.float32))[0]
        terms = pack_terms(chance.choices(WORDS, k=30))
        passages.append(IndexedPassage(ordinal, terms, vector.astype("<f2").tobytes()))
    return IndexedDocument(
        id=document_id or UUID(int=chance.getrandbits(128)),
        stamp=stamp,
        created=chance.random(),
        source=chance.randrange(3),
        language=chance.randrange(2),
        tags=tuple(chance.sample(range(5), k=2)),
        passages=passages,
    )


Answer = tuple[list[float], set[tuple[UUID, int]]]


def answers(index: KnowledgeIndex, filters: Filters = Filters()) -> list[Answer]:
    """Give the scores that a few queries get, and what is found; of a tie for the last place none."""
    chance = random.Random(7)
    found: list[Answer] = []
    for _ in range(20):
        numbers = np.random.default_rng(chance.getrandbits(32))
        vector = normalised(numbers.normal(size=(1, DIMENSIONS)).astype(np.float32))[0]
        terms = query_terms(" ".join(chance.choices(WORDS, k=3)))
        for mode in SearchMode:
            hits = index.search(terms, vector, mode, filters, 5).hits
            scores = [round(hit.score, 3) for hit in hits]
            clear = {(hit.document_id, hit.ordinal) for hit in hits if hit.score > hits[-1].score + 0.001}
            found.append((scores, clear))
    return found


def test_an_index_that_grew_and_changed_step_by_step_finds_what_a_new_one_finds() -> None:
    chance = random.Random(3)
    present: dict[UUID, IndexedDocument] = {}
    grown = KnowledgeIndex("grown")
    for step in range(300):
        known = list(present)
        if known and chance.random() < 0.2:
            gone = chance.choice(known)
            del present[gone]
            grown.replace([], [gone])
            continue
        changed = chance.choice(known) if known and chance.random() < 0.3 else None
        new = document(chance, changed, stamp=step)
        present[new.id] = new
        grown.replace([new])
    assert grown.ids() == set(present)
    assert grown.count_documents() == len(present)
    assert all(grown.stamp(each.id) == each.stamp for each in present.values())
    assert grown.stamp(uuid4()) is None

    # What is marked as gone still counts a little among the frequencies, until it is merged away.
    grown.join()
    fresh = KnowledgeIndex("fresh")
    fresh.replace(list(present.values()))
    assert answers(grown) == answers(fresh)
    for filters in (
        Filters(tags=(1,)),
        Filters(tags=(1, 2)),
        Filters(source=2, language=0),
        Filters(created_after=0.3, created_before=0.6),
    ):
        assert answers(grown, filters) == answers(fresh, filters)


def test_filters_let_pass_what_has_all_that_is_asked_for() -> None:
    chance = random.Random(5)
    documents = {each.id: each for each in (document(chance) for _ in range(200))}
    index = KnowledgeIndex("any")
    index.replace(list(documents.values()))
    wanted = Filters(tags=(0, 3), source=1)
    matching = {each.id for each in documents.values() if {0, 3} <= {*each.tags} and each.source == 1}
    found = index.search(query_terms(" ".join(WORDS)), None, SearchMode.TEXT, wanted, 50)
    assert {hit.document_id for hit in found.hits} <= matching
    assert 0 < found.total <= len(matching)
    assert index.search(query_terms(WORDS[0]), None, SearchMode.TEXT, Filters(source=-2), 50).total == 0


@pytest.mark.parametrize("filters", [Filters(), Filters(tags=(1,)), Filters(tags=(1, 2), source=1)])
def test_a_graph_finds_what_comparing_one_by_one_finds(
    monkeypatch: pytest.MonkeyPatch, filters: Filters
) -> None:
    chance = random.Random(11)
    documents = [document(chance) for _ in range(1_000)]
    exact = KnowledgeIndex("exact")
    exact.replace(documents)
    expected = answers(exact, filters)
    monkeypatch.setattr(segments, "GRAPH_ABOVE", 100)
    for built in (False, True):
        large = KnowledgeIndex("large")
        large.replace(documents)
        assert large.wants_graphs
        if built:
            large.build_graphs()
            assert not large.wants_graphs
        seen = answers(large, filters)
        same = sum(one == other for one, other in zip(seen, expected, strict=True))
        assert same >= len(expected) * 0.95


def test_passages_without_a_vector_are_found_by_words_until_they_have_one() -> None:
    chance = random.Random(13)
    bare = document(chance)
    bare = IndexedDocument(
        **{**vars(bare), "passages": [IndexedPassage(0, pack_terms(["lonely"]), None)], "stamp": 1}
    )
    index = KnowledgeIndex("any")
    index.replace([bare])
    index.replace([document(chance) for _ in range(3)])
    vector = normalised(np.ones((1, DIMENSIONS), dtype=np.float32))[0]
    found = index.search(query_terms("lonely"), vector, SearchMode.HYBRID, Filters(), 5)
    assert bare.id in {hit.document_id for hit in found.hits}
    found = index.search(query_terms("lonely"), vector, SearchMode.SEMANTIC, Filters(), 5)
    assert bare.id not in {hit.document_id for hit in found.hits}
