"""Finding known servers by what they are for, in English and Chinese.

What is asked for is held against the keywords of each server, which are what people say who want it, and
against all that its entry says, by the search that finds tools. Only keywords can make a match sure: a
request that merely resembles an entry puts it among the possible ones.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.discovery.discovery import indexed_tools, read_question
from gateway.discovery.glossary import glossary, stem
from gateway.discovery.index import ToolIndex
from gateway.discovery.texts import EMPTY
from mcp_platform.contracts.known import KnownMatch, KnownServer

NAMED: Final = 0.9
"""How much it says when a server, or the product that it reaches, is called by its name."""
PHRASE: Final = 0.75
WORD: Final = 0.6
LOOSE: Final = 0.55
"""How much it says when somebody uses a phrase of those who want such a server, a single word of theirs, or
their phrase with other words in between."""
RESEMBLING: Final = 0.4
"""How much it says, at most, that the request resembles the entry."""
SURE: Final = 0.7
_BESIDE_A_NAME: Final = 0.8
"""What is left of the score of those that are not named, where another is."""
_ELSEWHERE: Final = 0.5
"""What is left of the score of those that have nothing of what is asked for by name."""
_BETWEEN: Final = 2
"""Other words that may stand in a phrase."""
_LONGEST: Final = 4_000
_LONGEST_MEANING: Final = 1_000
"""Characters of a request that are read, and that its meaning is made of."""
_RESEMBLING_MOST: Final = 20
_CJK: Final = re.compile("[\u3400-\u9fff]")
_TOKEN: Final = re.compile(r"[^\W_\u3400-\u9fff]+")
_PROPER: Final = re.compile(r"[A-Z]|^\d+$")
_SOURCES: Final = re.compile(r"data[_ ]sources?\W{1,6}([^\]};\n]{1,400})", re.IGNORECASE)
_API: Final = re.compile(r"\b([A-Za-z][\w.-]{2,40})(?:'s)? API\b", re.IGNORECASE)


@dataclass(frozen=True)
class _Keyword:
    said: str
    words: tuple[str, ...]
    """Stems; empty for what is found as it stands."""
    parts: tuple[str, ...]
    """What is found as it stands, one after the other, with anything in between."""
    named: bool
    """Whether it is a name: those are written with a capital letter, or in digits."""
    exact: bool = False
    """Whether it is a name that must be written just so: it has a `=` before it."""


@dataclass(frozen=True)
class _Request:
    text: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Hit:
    keyword: _Keyword
    weight: float
    covers: frozenset[str]
    """The words of the request that it stands on."""


class KnownIndex:
    """Known servers, made ready for the search. It never changes: another catalogue is another index.

    Args:
        servers: What is searched.
        others: Names of products that none of the servers reaches.
    """

    def __init__(self, servers: Iterable[KnownServer], others: Iterable[str] = ()) -> None:
        self.servers: Mapping[str, KnownServer] = {server.slug: server for server in servers}
        self._keywords = {slug: _keywords(server) for slug, server in self.servers.items()}
        self._texts = {slug: frozenset(_words(_text(server))) for slug, server in self.servers.items()}
        self._all_words = frozenset().union(*self._texts.values())
        self._index = ToolIndex(
            {slug: indexed_tools(slug, [_as_tool(server)]) for slug, server in self.servers.items()}
        )
        self._others = [_keyword(name) for name in others]

    def find(self, text: str, limit: int) -> list[KnownMatch]:
        """Find the servers that may be what is wanted, likest first."""
        text = text[:_LONGEST].encode("utf-8", "replace").decode()
        request = _Request(text, tuple(_words(text)))
        likeness = self._likeness(text)
        hits = {slug: found for slug in self.servers if (found := _hits(self._keywords[slug], request))}
        called = self._called(text)
        named = called or {slug for slug, found in hits.items() if any(hit.keyword.named for hit in found)}
        fitting = self._fitting(text, request)
        scores = {}
        for slug in hits.keys() | likeness.keys() | called:
            less = _BESIDE_A_NAME if named and slug not in named else 1.0
            less *= 1.0 if slug in fitting else _ELSEWHERE
            score = less * _score(hits.get(slug, ()), likeness.get(slug, 0.0))
            scores[slug] = max(score, NAMED) if slug in called else score
        best = sorted(
            scores,
            key=lambda slug: (-round(scores[slug], 1), *_effort(self.servers[slug]), -scores[slug], slug),
        )
        sure = self._sure([slug for slug in best if slug in fitting & (named or fitting)], hits, scores)
        sure |= {slug for slug in called if self.servers[slug].origin == "shipped"}
        return [
            KnownMatch(
                server=self.servers[slug],
                score=round(scores[slug], 3),
                sure=slug in sure,
                why=[hit.keyword.said for hit in hits.get(slug, ())] or [*called & {slug}],
            )
            for slug in best[:limit]
        ]

    def _called(self, text: str) -> set[str]:
        """Give the servers of which the whole text is the slug or the name."""
        wanted = " ".join(text.lower().split())
        return {
            slug for slug, server in self.servers.items() if wanted in (slug.lower(), server.name.lower())
        }

    def _likeness(self, text: str) -> dict[str, float]:
        question, vector = read_question(text[:_LONGEST_MEANING])
        matches = self._index.search(
            question, vector, self.servers, lambda _slug, _name: True, _RESEMBLING_MOST
        )
        return {match.slug: match.score for match in matches}

    def _sure(
        self, slugs: Sequence[str], hits: Mapping[str, list[_Hit]], scores: Mapping[str, float]
    ) -> set[str]:
        """Pick those that clearly do what is wanted. What only says again what a better one says is none."""
        explained: set[str] = set()
        sure = set()
        for slug in slugs:
            own = {word for hit in hits.get(slug, ()) for word in hit.covers}
            shipped = self.servers[slug].origin == "shipped"
            if shipped and scores[slug] >= SURE and not own <= explained:
                explained |= own
                sure.add(slug)
        return sure

    def _fitting(self, text: str, request: _Request) -> set[str]:
        """Give the servers that have what is asked for by a name, which is no ordinary word."""
        if any(_found(other, request) is not None for other in self._others):
            return set()
        told = {word for match in _SOURCES.finditer(text) for word in _words(match[1])}
        asked = {word for match in _API.finditer(text) for word in _words(match[1])}
        plain = glossary()
        strange = {word for word in told | asked if word not in EMPTY and not any(plain.concepts([word]))}
        return {slug for slug, words in self._texts.items() if strange <= words}


def _text(server: KnownServer) -> str:
    tools = ". ".join(f"{tool.name} {tool.description}" for tool in server.tools)
    return f"{server.name} {server.description} {', '.join(server.keywords)}. {tools}"


def _as_tool(server: KnownServer) -> dict[str, str]:
    text = f"{server.description_zh} {_text(server)}"
    return {"name": server.slug, "title": server.name, "description": text}


def _keywords(server: KnownServer) -> list[_Keyword]:
    return [_keyword(said) for said in dict.fromkeys(server.keywords)]


def _keyword(said: str) -> _Keyword:
    named = _PROPER.search(said) is not None
    if said.startswith("="):
        return _Keyword(said[1:], (), (said[1:],), named=True, exact=True)
    if _CJK.search(said):
        return _Keyword(said, (), tuple(said.lower().split()), named)
    words = list(_words(said))
    telling = [word for word in words if word not in EMPTY]
    return _Keyword(said, tuple(telling if len(telling) > 1 else words), (), named)


def _words(text: str) -> Iterator[str]:
    """Give the words of what is not Chinese, in the form that they share with their other forms."""
    for match in _TOKEN.finditer(text.lower()):
        yield match[0] if match[0] in EMPTY else stem(match[0])


def _hits(keywords: Iterable[_Keyword], request: _Request) -> list[_Hit]:
    found = [hit for keyword in keywords if (hit := _found(keyword, request)) is not None]
    found.sort(key=lambda hit: (-hit.weight, -len(hit.covers)))
    kept: list[_Hit] = []
    for hit in found:
        if not any(hit.covers <= other.covers for other in kept):
            kept.append(hit)
    return kept


def _found(keyword: _Keyword, request: _Request) -> _Hit | None:
    if keyword.parts:
        return _found_parts(keyword, request)
    for begin, word in enumerate(request.words):
        if word == keyword.words[0]:
            between = _between(keyword.words, request.words[begin:])
            if between == 0 or (between is not None and not keyword.named):
                return _Hit(keyword, _weight(keyword, between), frozenset(keyword.words))
    return None


def _found_parts(keyword: _Keyword, request: _Request) -> _Hit | None:
    if keyword.exact:
        there = re.search(rf"(?<![A-Za-z0-9]){re.escape(keyword.said)}(?![A-Za-z0-9])", request.text)
        return _Hit(keyword, NAMED, frozenset(keyword.parts)) if there else None
    text, place = request.text.lower(), 0
    for part in keyword.parts:
        begin = text.find(part, place)
        if begin < 0:
            return None
        place = begin + len(part)
    weight = NAMED if keyword.named else PHRASE
    return _Hit(keyword, weight, frozenset("".join(keyword.parts)))


def _between(wanted: Sequence[str], words: Sequence[str]) -> int | None:
    """Count the words that stand between those of a phrase, and say something; None where it is not there."""
    between = place = 0
    for word in wanted:
        while place < len(words) and words[place] != word:
            between += words[place] not in EMPTY
            place += 1
        if place == len(words) or between > _BETWEEN:
            return None
        place += 1
    return between


def _weight(keyword: _Keyword, between: int) -> float:
    if keyword.named:
        return NAMED
    if between:
        return LOOSE
    return PHRASE if len(keyword.words) > 1 else WORD


def _score(hits: Iterable[_Hit], likeness: float) -> float:
    doubt = 1.0 - RESEMBLING * likeness
    for hit in hits:
        doubt *= 1.0 - hit.weight
    return 1.0 - doubt


def _effort(server: KnownServer) -> tuple[bool, bool, int]:
    """Tell what it takes to run a server, so that of equals the simplest comes first."""
    return server.origin != "shipped", not server.offline, len(server.secrets)
