"""The search index of one embedding model, in memory.

A passage is judged by its words (BM25) and by its meaning (cosine of its vector and the query's):

- `words`: its BM25 as a share of what the query's words weigh together, at most 1; a word that no
  passage has weighs too, so that a query of such words finds nothing good.
- `meaning`: the cosine, at least 0.

A hybrid score is the mean of both, weighed by how telling each is for this query: by the reciprocal of
its spread over all passages, words by 0.3 of theirs. That gives the order of z-scores added with 0.3 on
BM25, which was measured to find most, and yet scores between 0 and 1 that two queries may be compared by.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np

from mcp_platform.contracts.knowledge import SearchMode
from storage.knowledge.models import Vectors
from storage.knowledge.segments import (
    Filters,
    IndexedDocument,
    Mask,
    Places,
    Scores,
    Segment,
    best,
    build,
    merge,
)
from storage.knowledge.words import TermIds

WORDS_WEIGHT: Final = 0.3
_SHARE: Final = (0.1, 0.6)
"""The least and the most that words count in a hybrid score."""
MEANING_FLOOR: Final = 0.26
WORDS_FLOOR: Final = 0.1
"""What is below both is no find."""
STRANGE_FLOOR: Final = 0.35
"""The floor of meaning for a query none of whose words any passage has, which may be no words at all."""
_CANDIDATES: Final = 200
_MOST_TERMS: Final = 32
_COMPACTED_BELOW: Final = 0.6
_WORTH_COMPACTING: Final = 1_000


@dataclass(frozen=True)
class Hit:
    """The best passage of a document, and its score."""

    document_id: UUID
    stamp: int
    """Which state of the document the index has."""
    ordinal: int
    score: float


@dataclass(frozen=True)
class Found:
    """The best documents, and how many more are worth showing."""

    hits: list[Hit]
    total: int


@dataclass(frozen=True)
class _Question:
    terms: TermIds
    weights: Scores
    average_length: float
    vector: Vectors | None
    meaning_floor: float
    mode: SearchMode
    filters: Filters


@dataclass(frozen=True)
class _Judged:
    """One segment's candidates."""

    segment: Segment
    places: Places
    words: Scores
    meaning: Scores


class KnowledgeIndex:
    """Documents in segments. One thread at a time may change it, while any number search.

    Args:
        model: The embedding model whose vectors it holds.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._segments: tuple[Segment, ...] = ()
        self._numbers: dict[str, int] = {}

    def number_of(self, word: str) -> int:
        """Give the number that stands for a tag, source or language."""
        return self._numbers.setdefault(word, len(self._numbers))

    def known_number(self, word: str) -> int:
        """Give a word's number; if no document has it, one that none has."""
        return self._numbers.get(word, -2)

    def stamp(self, document_id: UUID) -> int | None:
        """Tell which state of a document the index has."""
        found = (segment.stamp(document_id) for segment in self._segments)
        return next((stamp for stamp in found if stamp is not None), None)

    def ids(self) -> set[UUID]:
        """List the documents that it has."""
        return set().union(*(segment.living_ids() for segment in self._segments))

    def count_documents(self) -> int:
        """Count the documents that it has."""
        return sum(segment.count_documents() for segment in self._segments)

    def count_passages(self) -> int:
        """Count the passages that it has."""
        return sum(segment.living_size for segment in self._segments)

    def replace(self, documents: Sequence[IndexedDocument], gone: Collection[UUID] = ()) -> None:
        """Take in documents, in the place of their former states, and forget others."""
        outdated = {each.bytes for each in gone} | {document.id.bytes for document in documents}
        kept = list(self._segments)
        joining: list[Segment] = []
        added = build(documents) if documents else None
        if added:
            size = added.size
            # Each is at least twice as large as the next, so that there are few.
            while kept and kept[-1].living_size <= 2 * size:
                joining.append(kept.pop())
                size += joining[-1].living_size
            added = merge(joining, outdated, added) if joining else added
        kept = [segment.without(outdated) for segment in kept]
        present = [*kept, added] if added else kept
        # At once: a search sees either the former state of a document or the new one.
        self._segments = tuple(_compacted(segment) for segment in present if segment.living_size)

    def load(self, documents: Sequence[IndexedDocument]) -> None:
        """Take in documents none of which it has, one page of many; `join` follows the last."""
        self._segments = (*self._segments, build(documents))

    def join(self) -> None:
        """Make one segment of all, after loading."""
        if len(self._segments) > 1:
            self._segments = (merge(self._segments),)

    def build_graphs(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Make graphs for the large segments that have none; takes seconds, unless given up."""
        for segment in self._segments:
            if segment.wants_graph:
                segment.build_graph(given_up)

    @property
    def wants_graphs(self) -> bool:
        """Whether a large segment has no graph yet."""
        return any(segment.wants_graph for segment in self._segments)

    def search(
        self,
        terms: TermIds,
        vector: Vectors | None,
        mode: SearchMode,
        filters: Filters,
        limit: int,
    ) -> Found:
        """Find the best documents for a query's words, its vector, or both."""
        segments = self._segments
        if not segments:
            return Found([], 0)
        question = _question(segments, terms, vector, mode, filters)
        judged = [_judge(segment, question) for segment in segments]
        words_share = _words_share(judged, question)
        ranked: list[tuple[float, int, int]] = []
        for number, each in enumerate(judged):
            words = each.words[each.places]
            scores = words_share * words + (1 - words_share) * each.meaning
            alike = (words >= WORDS_FLOOR) | (each.meaning >= question.meaning_floor)
            good = np.flatnonzero(alike)
            ranked += [(float(scores[place]), number, int(each.places[place])) for place in good]
        ranked.sort(reverse=True)
        return _best_of_each_document(judged, ranked, limit)


def _compacted(segment: Segment) -> Segment:
    worth = segment.size >= _WORTH_COMPACTING and segment.living_size < _COMPACTED_BELOW * segment.size
    return merge([segment]) if worth else segment


def _question(
    segments: Sequence[Segment], terms: TermIds, vector: Vectors | None, mode: SearchMode, filters: Filters
) -> _Question:
    passages = sum(segment.size for segment in segments)
    frequency = np.sum([segment.frequency(terms) for segment in segments], axis=0)
    if len(terms) > _MOST_TERMS:
        rarest = np.argsort(frequency, kind="stable")[:_MOST_TERMS]
        terms, frequency = terms[rarest], frequency[rarest]
    weights = np.log(1 + (passages - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
    average = sum(segment.length_total for segment in segments) / max(passages, 1)
    wanted = None if mode is SearchMode.TEXT else vector
    floor = MEANING_FLOOR if frequency.any() else STRANGE_FLOOR
    return _Question(terms, weights, average, wanted, floor, mode, filters)


def _judge(segment: Segment, question: _Question) -> _Judged:
    admitted = segment.admitted(question.filters)
    words = _words(segment, question, admitted)
    places = best(words, _CANDIDATES, above=0.0)
    vector = question.vector
    if vector is None:
        return _Judged(segment, places, words, np.zeros(len(places), dtype=np.float32))
    near = segment.nearest(vector, admitted, question.filters.any, _CANDIDATES)
    places = np.union1d(places, near).astype(np.int32)
    return _Judged(segment, places, words, np.maximum(segment.cosines(vector, places), 0))


def _words(segment: Segment, question: _Question, admitted: Mask) -> Scores:
    total = float(question.weights.sum())
    if question.mode is SearchMode.SEMANTIC or total == 0:
        return np.zeros(segment.size, dtype=np.float32)
    scores = segment.word_scores(question.terms, question.weights, question.average_length)
    shares: Scores = np.minimum(scores / np.float32(total), 1) * admitted
    return shares


def _words_share(judged: Sequence[_Judged], question: _Question) -> float:
    if question.vector is None:
        return 1.0
    if question.mode is SearchMode.SEMANTIC:
        return 0.0
    usual = np.concatenate([each.segment.sampled_cosines(question.vector) for each in judged])
    meaning_spread = float(usual.std()) if len(usual) else 0.0
    words_spread = float(np.concatenate([each.words for each in judged]).std())
    if words_spread == 0:
        return _SHARE[0]
    if meaning_spread == 0:
        return _SHARE[1]
    words, meaning = WORDS_WEIGHT / words_spread, 1 / meaning_spread
    return min(max(words / (words + meaning), _SHARE[0]), _SHARE[1])


def _best_of_each_document(
    judged: Sequence[_Judged], ranked: Sequence[tuple[float, int, int]], limit: int
) -> Found:
    hits: list[Hit] = []
    seen: set[tuple[int, int]] = set()
    for score, number, place in ranked:
        segment = judged[number].segment
        document = (number, segment.slot_of(place))
        if document in seen:
            continue
        seen.add(document)
        if len(hits) < limit:
            hits.append(Hit(*segment.passage_at(place), score=min(score, 1.0)))
    return Found(hits, len(seen))
