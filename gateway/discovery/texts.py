"""What of a tool's definition is searched: its name, its description, its parameters."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.discovery.glossary import Glossary, stem
from storage.knowledge.words import TermIds, pack_terms, term_id, words_of

_NAME_WEIGHT: Final = 3
_SERVER_WEIGHT: Final = 2
_DESCRIPTION_WEIGHT: Final = 2
"""How often a word counts that is there."""
_LONGEST: Final = 2_000
"""Characters of a description that are read."""
_MOST_PARAMETERS: Final = 50
_WORD: Final = re.compile(r"[^\W_]+(?:'[a-z]+)?")
_SAYING_NOTHING: Final = """
    a about am an and any anything are as at be been being but by can could did do does don't each every
    for from had has have having he her here him his how i i'm if in into is it its just let may me might
    mine must my need no nor not of on onto or other our out please shall she should so some somebody
    something such than that the their them then there these they this those to too us very want was we
    were what when where which who whom whose why will with without would yes you your
"""
EMPTY: Final = frozenset(_SAYING_NOTHING.split())
"""English words that say nothing about what is asked for."""


Scores = NDArray[np.float32]


@dataclass(frozen=True)
class ToolText:
    """A tool as it is searched."""

    terms: bytes
    """Its words and the groups of the glossary that they belong to, packed; a group is a word, too."""
    meaning: str
    """What the embedding model reads."""


@dataclass(frozen=True)
class Question:
    """A query, made ready."""

    asked: str
    """In lower case, as a tool's name would be."""
    words: TermIds
    concepts: TermIds
    certainty: Scores
    """Of each concept: how sure it is that it is meant."""
    meaning: str


def text_of(slug: str, tool: dict[str, Any], glossary: Glossary) -> ToolText:
    """Read a definition."""
    name = str(tool["name"])
    spoken = " ".join(_parts(name))
    title = _string(tool.get("title"))
    description = _string(tool.get("description"))[:_LONGEST]
    parameters = " ".join(f"{each} {told}" for each, told in _parameters(tool.get("inputSchema")))
    weighed = (
        (f"{name} {title}", f"{spoken} {title}", _NAME_WEIGHT),
        (slug, slug, _SERVER_WEIGHT),
        (description, description, _DESCRIPTION_WEIGHT),
        (parameters, parameters, 1),
    )
    terms: list[str] = []
    for text, plain, weight in weighed:
        concepts = [concept for concept, _ in glossary.concepts(_stems(words_of(plain)))]
        terms += (_telling(words_of(text)) + concepts) * weight
    return ToolText(pack_terms(terms), _content(f"{slug} {spoken}. {title}. {description}"))


def question_of(query: str, glossary: Glossary) -> Question:
    """Read a query, in English or Chinese or both."""
    english = glossary.in_english(query)
    asked = query if english == query else f"{query} {english}"
    certainty: dict[int, float] = {}
    for concept, share in glossary.concepts(_stems(words_of(english))):
        number = term_id(concept)
        certainty[number] = min(certainty.get(number, 0.0) + share, 1.0)
    concepts = sorted(certainty)
    return Question(
        asked=query.strip().lower(),
        words=np.array(sorted(set(map(term_id, _telling(words_of(asked, asked=True))))), dtype=np.uint32),
        concepts=np.array(concepts, dtype=np.uint32),
        certainty=np.array([certainty[number] for number in concepts], dtype=np.float32),
        meaning=_content(english) or query,
    )


def _telling(words: Iterable[str]) -> list[str]:
    return [stem(word) for word in words if word not in EMPTY]


def _stems(words: Iterable[str]) -> list[str]:
    return [stem(word) for word in words]


def _content(text: str) -> str:
    return " ".join(word for word in _WORD.findall(text) if word.lower() not in EMPTY)


def _parameters(schema: object) -> Iterator[tuple[str, str]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return
    for name, told in list(properties.items())[:_MOST_PARAMETERS]:
        yield str(name), _string(told.get("description"))[:300] if isinstance(told, dict) else ""


def _parts(name: str) -> list[str]:
    """Give an identifier's words: of several the first is the identifier as a whole."""
    parts = list(words_of(name))
    return parts[1:] if len(parts) > 1 else parts


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
