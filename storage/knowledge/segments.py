"""A part of the search index: some documents with the postings and vectors of their passages.

A segment never changes, so that a search sees one state of it; it only gets a graph after a while. What
is new becomes a segment of its own, and small ones are merged; see `storage.knowledge.index`.
"""

from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from usearch.compiled import MetricKind
from usearch.index import Index as NearestVectors
from usearch.index import search as exact_search

from storage.knowledge.models import Vectors
from storage.knowledge.words import TermIds, unpack_terms

GRAPH_ABOVE: Final = 10_000
"""So many vectors are compared one by one; above, a graph leads to the nearest."""
_SAMPLE: Final = 1_024
_ADDED_AT_ONCE: Final = 1_000
_MOST_ASKED_OF_GRAPH: Final = 5_000

_K1: Final = 1.2
_B: Final = 0.75

Places = NDArray[np.int32]
Mask = NDArray[np.bool_]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class IndexedPassage:
    """A passage; its vector is as stored (half precision), or absent."""

    ordinal: int
    terms: bytes
    vector: bytes | None


@dataclass(frozen=True)
class IndexedDocument:
    """A document as the index takes it; `stamp` tells two states of it apart, -1 stands for nothing."""

    id: UUID
    stamp: int
    created: float
    source: int
    language: int
    tags: tuple[int, ...]
    passages: Sequence[IndexedPassage]


@dataclass(frozen=True)
class Filters:
    """What documents must have, in the index's numbers."""

    tags: tuple[int, ...] = ()
    source: int | None = None
    language: int | None = None
    created_after: float | None = None
    created_before: float | None = None

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return self != Filters()


@dataclass(frozen=True)
class _Documents:
    ids: NDArray[np.uint8]
    stamps: NDArray[np.int64]
    created: NDArray[np.float64]
    source: NDArray[np.int32]
    language: NDArray[np.int32]
    tag_of: Places
    """The document of each entry of `tags`."""
    tags: NDArray[np.int32]


@dataclass(frozen=True)
class _Passages:
    document: Places
    ordinal: NDArray[np.int32]
    length: Scores
    vectors: NDArray[np.float16]


@dataclass(frozen=True)
class _Postings:
    """For each term in order, in `places[offsets[i]:offsets[i + 1]]`, the passages that have it."""

    terms: TermIds
    offsets: NDArray[np.int64]
    places: Places
    counts: NDArray[np.uint8]


@dataclass
class _Graph:
    """What leads to the nearest vectors, once it is made; copies of a segment have one together."""

    made: NearestVectors | None = None


class Segment:
    """Some documents."""

    def __init__(self, documents: _Documents, passages: _Passages, postings: _Postings) -> None:
        self._documents = documents
        self._passages = passages
        self._postings = postings
        self._slots = {row.tobytes(): slot for slot, row in enumerate(documents.ids)}
        self._living = np.ones(len(documents.ids), dtype=np.bool_)
        self._graph = _Graph()
        self.size = len(passages.document)
        self.living_size = self.size
        self.length_total = float(passages.length.sum())
        step = max(1, self.size // _SAMPLE)
        self._sample = passages.vectors[::step][:_SAMPLE].astype(np.float32)

    @property
    def dimensions(self) -> int:
        """The length of its vectors; 0 when it has none."""
        return int(self._passages.vectors.shape[1])

    @property
    def wants_graph(self) -> bool:
        """Whether it is large enough for a graph, and has none yet."""
        return self._graph.made is None and self.size > GRAPH_ABOVE and self.dimensions > 0

    def stamp(self, document_id: UUID) -> int | None:
        """Tell which state of this document it has."""
        slot = self._slots.get(document_id.bytes)
        return int(self._documents.stamps[slot]) if slot is not None and self._living[slot] else None

    def living_ids(self) -> set[UUID]:
        """List the documents that are not gone."""
        return {UUID(bytes=self._documents.ids[slot].tobytes()) for slot in np.flatnonzero(self._living)}

    def count_documents(self) -> int:
        """Count the documents that are not gone."""
        return int(self._living.sum())

    def without(self, ids: Collection[bytes]) -> "Segment":
        """Give this segment with these documents marked as gone."""
        slots = [slot for each in ids if (slot := self._slots.get(each)) is not None]
        if not slots:
            return self
        changed = copy(self)
        changed._living = self._living.copy()
        changed._living[slots] = False
        changed.living_size = int(changed._living[self._passages.document].sum())
        return changed

    def build_graph(self, given_up: Callable[[], bool]) -> None:
        """Make the graph; takes seconds, during which searches go on without it."""
        graph = NearestVectors(
            ndim=self.dimensions,
            metric=MetricKind.Cos,
            dtype="f16",
            connectivity=16,
            expansion_add=64,
            expansion_search=128,
        )
        for begin in range(0, self.size, _ADDED_AT_ONCE):
            if given_up():
                return
            some = self._passages.vectors[begin : begin + _ADDED_AT_ONCE]
            graph.add(np.arange(begin, begin + len(some)), some, threads=1)
        self._graph.made = graph

    def admitted(self, filters: Filters) -> Mask:
        """Mark the passages of living documents that pass the filters."""
        known = self._documents
        mask = self._living.copy()
        if filters.source is not None:
            mask &= known.source == filters.source
        if filters.language is not None:
            mask &= known.language == filters.language
        if filters.created_after is not None:
            mask &= known.created >= filters.created_after
        if filters.created_before is not None:
            mask &= known.created < filters.created_before
        for tag in filters.tags:
            having = np.zeros_like(mask)
            having[known.tag_of[known.tags == tag]] = True
            mask &= having
        admitted: Mask = mask[self._passages.document]
        return admitted

    def frequency(self, terms: TermIds) -> NDArray[np.int64]:
        """Count, for each term, the passages that have it; those that are gone lately too."""
        found, known = self._find(terms)
        counts = np.zeros(len(terms), dtype=np.int64)
        counts[known] = self._postings.offsets[found[known] + 1] - self._postings.offsets[found[known]]
        return counts

    def word_scores(self, terms: TermIds, weights: Scores, average_length: float) -> Scores:
        """Give the BM25 of every passage, for terms of these weights."""
        scores = np.zeros(self.size, dtype=np.float32)
        found, known = self._find(terms)
        ratio = self._passages.length / max(average_length, 1.0)
        norms = (_K1 * (1 - _B + _B * ratio)).astype(np.float32)
        for number in np.flatnonzero(known):
            begin, end = self._postings.offsets[found[number] : found[number] + 2]
            places = self._postings.places[begin:end]
            counts = self._postings.counts[begin:end].astype(np.float32)
            # A passage is in a term's list once, so that no addition hides another.
            scores[places] += weights[number] * counts * np.float32(_K1 + 1) / (counts + norms[places])
        return scores

    def nearest(self, query: Vectors, admitted: Mask, filtered: bool, limit: int) -> Places:
        """Give the admitted passages whose vectors are nearest to the query's, in no order."""
        if self.dimensions != len(query):
            return np.empty(0, dtype=np.int32)
        if self.size <= GRAPH_ABOVE:
            cosines = np.where(admitted, self.cosines(query, slice(None)), -2.0)
            return best(cosines, limit, above=-1.5)
        left = int(admitted.sum())
        if filtered and left <= GRAPH_ABOVE:
            places = np.flatnonzero(admitted).astype(np.int32)
            return places[best(self.cosines(query, places), limit, above=-1.5)]
        wanted = min(limit * self.size // max(left, 1) + 1, _MOST_ASKED_OF_GRAPH, self.size)
        half = query.astype(np.float16)
        graph = self._graph.made
        if graph is not None:
            found = graph.search(half, wanted).keys
        else:
            found = exact_search(self._passages.vectors, half, wanted, MetricKind.IP, exact=True).keys
        places = found.astype(np.int32)
        return places[admitted[places]][:limit]

    def cosines(self, query: Vectors, places: Places | slice) -> Scores:
        """Compare the query with these passages; who has no vector is unlike all."""
        rows = self._passages.vectors[places]
        if self.dimensions != len(query):
            return np.zeros(len(rows), dtype=np.float32)
        result: Scores = rows.astype(np.float32) @ query
        return result

    def sampled_cosines(self, query: Vectors) -> Scores:
        """Compare the query with a sample, which tells what is usual."""
        if self.dimensions != len(query):
            return np.empty(0, dtype=np.float32)
        result: Scores = self._sample @ query
        return result

    def slot_of(self, place: int) -> int:
        """Tell which of its documents a passage belongs to, by number."""
        return int(self._passages.document[place])

    def passage_at(self, place: int) -> tuple[UUID, int, int]:
        """Tell a passage's document, that one's state, and the passage's ordinal."""
        known, slot = self._documents, self._passages.document[place]
        return (
            UUID(bytes=known.ids[slot].tobytes()),
            int(known.stamps[slot]),
            int(self._passages.ordinal[place]),
        )

    def _find(self, terms: TermIds) -> tuple[NDArray[np.intp], Mask]:
        own = self._postings.terms
        if len(own) == 0:
            return np.zeros(len(terms), dtype=np.intp), np.zeros(len(terms), dtype=np.bool_)
        found = np.minimum(np.searchsorted(own, terms), len(own) - 1)
        return found, own[found] == terms


def best(scores: Scores, limit: int, above: float) -> Places:
    """Give the places of the highest scores, in no order."""
    places = np.flatnonzero(scores > above).astype(np.int32)
    if len(places) > limit:
        # Among the good ones only: most of a large index's scores are alike, which partitions badly.
        places = places[np.argpartition(scores[places], -limit)[-limit:]]
    return places


def build(documents: Sequence[IndexedDocument]) -> Segment:
    """Make a segment of these documents."""
    passages = [(slot, each) for slot, document in enumerate(documents) for each in document.passages]
    vectors = [each.vector for _, each in passages]
    unpacked = [unpack_terms(each.terms) for _, each in passages]
    lengths = [int(counts.sum()) for _, counts in unpacked]
    tags = [(slot, tag) for slot, document in enumerate(documents) for tag in document.tags]
    return Segment(
        _Documents(
            ids=np.frombuffer(b"".join(each.id.bytes for each in documents), dtype=np.uint8).reshape(-1, 16),
            stamps=np.array([each.stamp for each in documents], dtype=np.int64),
            created=np.array([each.created for each in documents], dtype=np.float64),
            source=np.array([each.source for each in documents], dtype=np.int32),
            language=np.array([each.language for each in documents], dtype=np.int32),
            tag_of=np.array([slot for slot, _ in tags], dtype=np.int32),
            tags=np.array([tag for _, tag in tags], dtype=np.int32),
        ),
        _Passages(
            document=np.array([slot for slot, _ in passages], dtype=np.int32),
            ordinal=np.array([each.ordinal for _, each in passages], dtype=np.int32),
            length=np.array(lengths, dtype=np.float32),
            vectors=_matrix(vectors),
        ),
        _sorted_postings(
            _joined([ids for ids, _ in unpacked], np.uint32),
            np.repeat(np.arange(len(unpacked), dtype=np.int32), [len(ids) for ids, _ in unpacked]),
            _joined([counts for _, counts in unpacked], np.uint8),
        ),
    )


def merge(old: Sequence[Segment], without: Collection[bytes] = (), new: Segment | None = None) -> Segment:
    """Make one segment of old ones without these documents and what is gone, and of a new one."""
    sources = [(part, without) for part in old] + ([(new, ())] if new else [])
    dimensions = max(part.dimensions for part, _ in sources)
    documents: list[_Documents] = []
    passages: list[_Passages] = []
    postings: list[tuple[Any, Any, Any]] = []
    slots = places = 0
    for part, outdated in sources:
        kept = _without_the_gone(part, outdated, slots, places, dimensions)
        documents.append(kept[0])
        passages.append(kept[1])
        postings.append(kept[2])
        slots += len(kept[0].ids)
        places += len(kept[1].document)
    return Segment(
        _Documents(*(np.concatenate(columns) for columns in _columns(documents))),
        _Passages(*(np.concatenate(columns) for columns in _columns(passages))),
        _sorted_postings(*(np.concatenate(columns) for columns in zip(*postings, strict=True))),
    )


def _without_the_gone(
    part: Segment, outdated: Collection[bytes], first_slot: int, first_place: int, dimensions: int
) -> tuple[_Documents, _Passages, tuple[Any, Any, Any]]:
    known, own, lists = part._documents, part._passages, part._postings
    living = part._living.copy()
    living[[slot for each in outdated if (slot := part._slots.get(each)) is not None]] = False
    new_slot = (np.cumsum(living) - 1 + first_slot).astype(np.int32)
    kept = living[own.document]
    new_place = (np.cumsum(kept) - 1 + first_place).astype(np.int32)
    tagged = living[known.tag_of]
    documents = _Documents(
        ids=known.ids[living],
        stamps=known.stamps[living],
        created=known.created[living],
        source=known.source[living],
        language=known.language[living],
        tag_of=new_slot[known.tag_of[tagged]],
        tags=known.tags[tagged],
    )
    vectors = own.vectors[kept]
    if vectors.shape[1] != dimensions:
        vectors = np.zeros((len(vectors), dimensions), dtype=np.float16)
    passages = _Passages(new_slot[own.document[kept]], own.ordinal[kept], own.length[kept], vectors)
    listed = kept[lists.places]
    terms = np.repeat(lists.terms, np.diff(lists.offsets))[listed]
    return documents, passages, (terms, new_place[lists.places[listed]], lists.counts[listed])


def _columns(records: Sequence[Any]) -> Any:
    """Give, for each field of these records, all its arrays."""
    return zip(*(vars(record).values() for record in records), strict=True)


def _sorted_postings(terms: TermIds, places: Places, counts: NDArray[np.uint8]) -> _Postings:
    order = np.argsort(terms, kind="stable")
    different, offsets = np.unique(terms[order], return_index=True)
    ends = np.append(offsets, len(terms)).astype(np.int64)
    return _Postings(different, ends, places[order], counts[order])


def _matrix(vectors: Sequence[bytes | None]) -> NDArray[np.float16]:
    width = next((len(vector) for vector in vectors if vector), 0)
    nothing = bytes(width)
    rows = [vector if vector is not None and len(vector) == width else nothing for vector in vectors]
    return np.frombuffer(b"".join(rows), dtype="<f2").reshape(len(vectors), width // 2)


def _joined(arrays: Sequence[Any], kind: Any) -> Any:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=kind)
