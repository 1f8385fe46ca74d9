"""The part of a passage that a search shows."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from storage.knowledge.words import words_of

LENGTH: Final = 300
_CUT: Final = "…"


@dataclass(frozen=True)
class Snippet:
    """Some of a text, with a mark where it was cut, and its place in the text without those marks."""

    text: str
    begins: int
    ends: int


def snippet_of(text: str, query: str) -> Snippet:
    """Give the part where most of the query's words stand close together."""
    begins, ends = _window(text, query) if len(text) > LENGTH else (0, len(text))
    shown = text[begins:ends]
    return Snippet(
        f"{_CUT if begins else ''}{shown}{_CUT if ends < len(text) else ''}", begins, begins + len(shown)
    )


def _window(text: str, query: str) -> tuple[int, int]:
    best_begin = _densest(_matches(text, query))
    # A little of what comes before helps to understand it.
    begins = max(0, min(best_begin - LENGTH // 6, len(text) - LENGTH))
    ends = min(len(text), begins + LENGTH)
    return _after_space(text, begins, best_begin), _before_space(text, ends)


def _densest(matches: list[tuple[int, str]]) -> int:
    """Give the place from which on the most different words stand within a snippet's length."""
    best_begin = most = first = 0
    inside: Counter[str] = Counter()
    for at, word in matches:
        inside[word] += 1
        while at + len(word) - matches[first][0] > LENGTH * 5 // 6:
            inside[matches[first][1]] -= 1
            first += 1
        different = sum(1 for count in inside.values() if count)
        if different > most:
            best_begin, most = matches[first][0], different
    return best_begin


def _matches(text: str, query: str) -> list[tuple[int, str]]:
    words = sorted(set(words_of(query, asked=True)), key=len, reverse=True)
    if not words:
        return []
    pattern = re.compile("|".join(re.escape(word) for word in words), re.IGNORECASE)
    return [(match.start(), match[0].lower()) for match in pattern.finditer(text)]


def _after_space(text: str, begins: int, latest: int) -> int:
    if begins == 0:
        return 0
    space = text.find(" ", begins, latest)
    return space + 1 if space >= 0 else begins


def _before_space(text: str, ends: int) -> int:
    if ends == len(text):
        return ends
    space = text.rfind(" ", ends - LENGTH // 6, ends)
    return space if space > 0 else ends
