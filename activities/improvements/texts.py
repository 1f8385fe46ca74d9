"""Strangers' names and texts, as sentences of ours may hold them."""

from collections.abc import Sequence
from typing import Final

_SHOWN: Final = 8


def short(text: str, longest: int = 200) -> str:
    """Give a text on one line, without characters that cannot be seen, and not too long."""
    plain = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * longest]).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def listed(names: Sequence[str]) -> str:
    """Give names as a list, the first of many."""
    shown = [short(name, 80) for name in names[:_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
