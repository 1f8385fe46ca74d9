"""What a wish says, as text; and names that are made of texts."""

import re
from collections.abc import Iterator
from typing import Any, Final

from mcp_platform.contracts.generation import Wish
from mcp_platform.formats.entries import slug_of
from mcp_platform.names import RESERVED_SLUGS

_LONGEST_SEARCH: Final = 2_000
_LONGEST_SLUG: Final = 60
_LONGEST_NAME: Final = 255
_CHINESE: Final = re.compile("[\u3400-\u9fff]")


def search_text(wish: Wish) -> str:
    """Give what the catalogue is searched by: the words of a wish, without its punctuation."""
    words = [wish.description or "", *_words(wish.requirements or {})]
    return " ".join(" ".join(words).split())[:_LONGEST_SEARCH]


def in_chinese(wish: Wish) -> bool:
    """Tell whether somebody wrote in Chinese."""
    return _CHINESE.search(search_text(wish)) is not None


def slug_from(*texts: str) -> str:
    """Make a slug of the first of these texts that has letters or digits for one."""
    for text in texts:
        slug = slug_of(text)[:_LONGEST_SLUG].strip("-")
        if slug:
            return f"{slug}-mcp" if slug in RESERVED_SLUGS else slug
    return "generated"


def name_from(*texts: str) -> str:
    """Give the first of these texts that says something, on one line."""
    for text in texts:
        line = " ".join(text.split())[:_LONGEST_NAME]
        if line:
            return line
    return "Generated"


def _words(value: Any) -> Iterator[str]:
    """Walk through free-form requirements: values, and the names of what is wanted at all."""
    match value:
        case str():
            yield re.sub(r"[_\W]+", " ", value)
        case list():
            for item in value:
                yield from _words(item)
        case dict():
            for name, item in value.items():
                if item is True:
                    yield from _words(name)
                else:
                    yield from _words(item)
