"""The search among tools: by words and by groups of the glossary (BM25), and by meaning (cosine of vectors).

It is built of the knowledge base's parts. Each judgement is compared with what is usual over all the
tools in question, as a z-score, and all are added.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np

from gateway.discovery.texts import Question, Scores
from storage.knowledge.models import Vectors
from storage.knowledge.segments import IndexedDocument, IndexedPassage, Segment, build
from storage.knowledge.words import TermIds

WORDS_WEIGHT: Final = 0.2
CONCEPTS_WEIGHT: Final = 1.2
MEANING_WEIGHT: Final = 0.9
"""What was measured to find most; see tests/discovery."""
_NAMED: Final = 100.0
"""What puts a tool first that is asked for by its very name."""


@dataclass(frozen=True, slots=True)
class IndexedTool:
    """A tool, made ready for the search."""

    name: str
    terms: bytes
    vector: bytes


@dataclass(frozen=True, slots=True)
class Match:
    """A tool that was found."""

    slug: str
    name: str
    score: float


class ToolIndex:
    """The tools of all servers. It never changes: another state is another index."""

    def __init__(self, servers: Mapping[str, Sequence[IndexedTool]]) -> None:
        self._tools = [(slug, tool.name) for slug, tools in servers.items() for tool in tools]
        sizes = [len(tools) for tools in servers.values()]
        self._slugs = {slug: number for number, slug in enumerate(servers)}
        self._server = np.repeat(np.arange(len(servers), dtype=np.int32), sizes)
        self._names: dict[str, list[int]] = {}
        for place, (_, name) in enumerate(self._tools):
            self._names.setdefault(name.lower(), []).append(place)
        indexed = [tool for tools in servers.values() for tool in tools]
        self._segment: Segment | None = (
            build(list(map(_document, range(len(indexed)), indexed))) if indexed else None
        )

    def __len__(self) -> int:
        """Count the tools."""
        return len(self._tools)

    def search(
        self,
        question: Question,
        vector: Vectors,
        slugs: Collection[str],
        visible: Callable[[str, str], bool],
        limit: int,
    ) -> list[Match]:
        """Find the best tools of these servers, as far as they are visible."""
        segment = self._segment
        if segment is None:
            return []
        allowed = np.zeros(len(self._slugs), dtype=np.bool_)
        allowed[[self._slugs[slug] for slug in slugs if slug in self._slugs]] = True
        places = np.flatnonzero(allowed[self._server])
        if not len(places):
            return []
        words = self._shares(segment, question.words)[places]
        concepts = self._shares(segment, question.concepts, question.certainty)[places]
        meaning = segment.cosines(vector, slice(None))[places]
        scores = (
            np.float32(MEANING_WEIGHT) * _standing(meaning)
            + np.float32(CONCEPTS_WEIGHT) * _standing(concepts)
            + np.float32(WORDS_WEIGHT) * _standing(words)
        )
        named = self._names.get(question.asked)
        if named is not None:
            scores[np.isin(places, named)] += _NAMED
        found: list[Match] = []
        for place in np.argsort(-scores, kind="stable"):
            slug, name = self._tools[places[place]]
            if visible(slug, name):
                found.append(Match(slug, name, _score(words[place], concepts[place], meaning[place])))
                if len(found) == limit:
                    break
        return found

    def _shares(self, segment: Segment, terms: TermIds, certainty: Scores | None = None) -> Scores:
        frequency = segment.frequency(terms)
        weights = np.log(1 + (segment.size - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
        if certainty is not None:
            weights = weights * certainty
        total = float(weights.sum())
        if total == 0:
            return np.zeros(segment.size, dtype=np.float32)
        scores = segment.word_scores(terms, weights, segment.length_total / segment.size)
        shares: Scores = np.minimum(scores / np.float32(total), 1)
        return shares


def _score(*judgements: np.float32) -> float:
    return round(min(max(map(float, judgements)), 1.0), 3)


def _standing(scores: Scores) -> Scores:
    """Tell how far each score is above what is usual, in standard deviations."""
    spread = scores.std()
    if spread == 0:
        return np.zeros_like(scores)
    standing: Scores = (scores - scores.mean()) / spread
    return standing


def _document(number: int, tool: IndexedTool) -> IndexedDocument:
    return IndexedDocument(
        id=UUID(int=number),
        stamp=0,
        created=0.0,
        source=-1,
        language=-1,
        tags=(),
        passages=[IndexedPassage(0, tool.terms, tool.vector)],
    )
