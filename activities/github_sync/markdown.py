"""Texts of strangers in comments of ours: shown as they are, and nothing more."""

import re
from typing import Final

_RUN: Final = re.compile(r"`+")
_CUT: Final = "\n… (cut)"


def fenced(text: str, language: str = "", longest: int = 10_000) -> str:
    """Put a text into a block that it cannot end: within one nobody is mentioned and nothing is a link."""
    shown = _printable(text)
    shown = shown if len(shown) <= longest else shown[:longest] + _CUT
    fence = "`" * max(3, 1 + _longest_run(shown))
    return f"{fence}{language}\n{shown}\n{fence}"


def code(text: str, longest: int = 500) -> str:
    """Put a text into a line as code, by the rules of CommonMark 6.1; a table's bars stay outside."""
    shown = " ".join(_printable(text).split())
    shown = shown if len(shown) <= longest else f"{shown[:longest]}…"
    if not shown:
        return "(empty)"
    fence = "`" * (1 + _longest_run(shown))
    # A table's cell ends at a bar even within code, unless it is escaped.
    return f"{fence} {shown} {fence}".replace("|", "\\|")


def _printable(text: str) -> str:
    return "".join(
        each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def _longest_run(text: str) -> int:
    return max((len(run) for run in _RUN.findall(text)), default=0)
