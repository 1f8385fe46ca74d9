"""Which URI templates (RFC 6570) a URI may come from."""

import re
from functools import lru_cache
from typing import Final

_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}")
_RESERVED: Final = re.compile(r"[/?#]")
"""What the value of a plain expression cannot have: it would be encoded."""
_MAY_BE_EMPTY: Final = frozenset("?&#;./")
"""Operators whose expressions, with their leading character, may expand to nothing."""

_Part = tuple[int, bool, str]
"""An expression's least length, and whether it may expand to anything; and the text that follows it."""


def may_come_from(uri: str, template: str) -> bool:
    """Tell whether the template can expand to this URI: as far as its literal parts say.

    They are looked for one after the other, each at the first place that it has: so the time grows with
    the URI's length only, whatever the template. Behind an expression that may expand to anything, all may.
    """
    begin, parts = _parts(template)
    if not uri.startswith(begin):
        return False
    if not parts:
        return uri == begin
    place, anything = len(begin), False
    for number, (least, free, text) in enumerate(parts, 1):
        anything = anything or free
        if number < len(parts):
            found = uri.find(text, place + least)
        else:
            found = len(uri) - len(text) if uri.endswith(text) else -1
        if found < place + least or (not anything and _RESERVED.search(uri, place, found)):
            return False
        place = found + len(text)
    return True


@lru_cache(maxsize=4096)
def _parts(template: str) -> tuple[str, list[_Part]]:
    begin, *rest = _EXPRESSION.split(template)
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return begin, [(_least(each[:1]), _free(each[:1]), text) for each, text in pairs]


def _least(operator: str) -> int:
    return 0 if operator in _MAY_BE_EMPTY else 1


def _free(operator: str) -> bool:
    return operator == "+" or operator in _MAY_BE_EMPTY
