"""Words for one thing, in English and Chinese.

People ask for a tool by other words than its author wrote: "get rid of" for `delete`, "代码仓库" for
`repository`. The glossary is a plain list of such groups, one in each line of `glossary.txt`: English
words and phrases, a bar, Chinese ones. A word of a group counts as every other of it. What is asked in
Chinese is put into English, group by group, for the embedding model, which knows little Chinese.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache as once
from importlib.resources import files
from typing import Final

_CJK: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")
_PLURALS: Final = (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("s", ""))
_SHORTEST: Final = 3
_NO_PLURAL: Final = ("ss", "us", "is")
_DOUBLED: Final = re.compile(r"([bdgmnprt])\1$")


def stem(word: str) -> str:
    """Give the form that a word shares with its other forms, roughly: `listing` and `lists` are `list`."""
    if not word.isascii():
        return word
    if not word.endswith(_NO_PLURAL):
        for ending, instead in _PLURALS:
            if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
                word = word.removesuffix(ending) + instead
                break
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            word = _DOUBLED.sub(r"\1", word.removesuffix(ending))
            break
    return word.removesuffix("e") if len(word) > _SHORTEST else word


class Glossary:
    """Groups of words that stand for one thing.

    Args:
        lines: `English, words|中文, 词`; what begins with `#` is no group.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._english: dict[tuple[str, ...], list[int]] = {}
        self._chinese: dict[str, list[int]] = {}
        self._first: list[str] = []
        for line in lines:
            if line.strip() and not line.startswith("#"):
                self._add(line)
        self._longest_english = max(map(len, self._english), default=0)
        self._longest_chinese = max(map(len, self._chinese), default=0)

    def concepts(self, stems: Sequence[str]) -> Iterator[tuple[str, float]]:
        """Give a word for each group that a text's words and phrases belong to.

        With it, how much it counts: a word of several groups means each of them the less.
        """
        for numbers in self._matches(stems):
            for number in numbers:
                yield f"\N{SECTION SIGN}{number}", 1 / len(numbers)

    def in_english(self, query: str) -> str:
        """Put what is Chinese in a query into English, as far as it is known; the rest stays."""
        return " ".join(_CJK.sub(lambda run: f" {' '.join(self._translated(run[0]))} ", query).split())

    def _add(self, line: str) -> None:
        english, _, chinese = line.partition("|")
        number = len(self._first)
        phrases = [phrase.strip() for phrase in english.split(",") if phrase.strip()]
        self._first.append(" ".join(phrases[:2]))
        for phrase in phrases:
            key = tuple(stem(word) for word in phrase.lower().split())
            self._english.setdefault(key, []).append(number)
        for phrase in chinese.split(","):
            if phrase.strip():
                self._chinese.setdefault(phrase.strip(), []).append(number)

    def _matches(self, stems: Sequence[str]) -> Iterator[list[int]]:
        """Give the groups of every word and phrase: a phrase does not take away what its words say."""
        for begin in range(len(stems)):
            for end in range(begin + 1, min(begin + self._longest_english, len(stems)) + 1):
                numbers = self._english.get(tuple(stems[begin:end]))
                if numbers:
                    yield numbers

    def _translated(self, run: str) -> Iterator[str]:
        """Translate the longest parts that are known, from the left."""
        place = 0
        while place < len(run):
            for length in range(min(self._longest_chinese, len(run) - place), 0, -1):
                numbers = self._chinese.get(run[place : place + length])
                if numbers:
                    yield from (self._first[number] for number in numbers)
                    place += length - 1
                    break
            place += 1


@once
def glossary() -> Glossary:
    """Give the glossary that ships with the platform."""
    return Glossary(files(__package__).joinpath("glossary.txt").read_text("utf-8").splitlines())
