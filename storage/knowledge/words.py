"""Texts into words, for BM25.

Words are compared in lower case and in Unicode's compatibility form (NFKC). An identifier counts as a
whole and by its parts: `getWeather`, `get_weather` and `get-weather` are all `getweather`, `get` and
`weather`. Chinese, Japanese and Korean are written without spaces: every two neighbours are a word, and
each character by itself too, for queries of one character.
"""

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CJK: Final = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN: Final = re.compile(rf"([{_CJK}]+)|([^\W_{_CJK}]+(?:[_.-]+[^\W_{_CJK}]+)*)")
_SEPARATOR: Final = re.compile(r"[_.-]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONGEST: Final = 64

TermIds = NDArray[np.uint32]


def words_of(text: str, *, asked: bool = False) -> Iterator[str]:
    """Give the words of a text, or of what is asked for: of a query's neighbours only the pairs."""
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text)):
        run, word = match.groups()
        if run:
            yield from _neighbours(run, asked)
        else:
            yield from _parts(word)


def _neighbours(run: str, asked: bool) -> Iterator[str]:
    if not asked or len(run) == 1:
        yield from run
    for place in range(len(run) - 1):
        yield run[place : place + 2]


def _parts(word: str) -> Iterator[str]:
    parts = [part.lower() for part in _SEPARATOR.split(word) if part]
    if len(parts) > 1:
        yield "".join(parts)[:_LONGEST]
    for part in parts:
        yield part[:_LONGEST]


def term_id(word: str) -> int:
    """Give the number that stands for a word: among a million words some two hundred share theirs."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def pack_terms(words: Iterable[str]) -> bytes:
    """Pack words for storage: their numbers in order, four bytes each, then how often, a byte each."""
    counts = Counter(term_id(word) for word in words)
    numbers = sorted(counts)
    ids = np.array(numbers, dtype="<u4")
    often = np.array([min(counts[number], 255) for number in numbers], dtype=np.uint8)
    return ids.tobytes() + often.tobytes()


def unpack_terms(packed: bytes) -> tuple[TermIds, NDArray[np.uint8]]:
    """Give numbers and counts as they were packed."""
    count = len(packed) // 5
    ids = np.frombuffer(packed, dtype="<u4", count=count)
    return ids, np.frombuffer(packed, dtype=np.uint8, offset=4 * count)


def query_terms(query: str) -> TermIds:
    """Give the numbers of a query's words, each once."""
    return np.array(sorted({term_id(word) for word in words_of(query, asked=True)}), dtype=np.uint32)
