"""What a server wrote before it ended: enough of it, on one line, to be told beside the reason."""

from collections.abc import Sequence
from typing import Final

_LINES: Final = 3
_LONGEST: Final = 160
"""Characters of one line."""
_RUNNERS_OWN: Final = "runner: "
"""How the runner begins its lines; they say no more than the reason does."""


def last_words(lines: Sequence[str]) -> str | None:
    """Give the last lines of a server's own, without what cannot be seen; None if it wrote nothing.

    Args:
        lines: What it wrote, without the secrets in it.
    """
    own = [_plain(line) for line in lines if not line.startswith(_RUNNERS_OWN)]
    return " | ".join([line for line in own if line][-_LINES:]) or None


def with_last_words(reason: str | None, words: str | None) -> str:
    """Give the reason why a server is not well, with what it wrote before."""
    told = reason or "nobody says why"
    return f"{told}; it last wrote: {words}" if words else told


def _plain(line: str) -> str:
    seen = " ".join("".join(each if each.isprintable() else " " for each in line).split())
    return seen if len(seen) <= _LONGEST else f"{seen[: _LONGEST - 1]}…"
