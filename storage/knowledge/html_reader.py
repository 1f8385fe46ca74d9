"""Reads an HTML page: `python -m storage.knowledge.html_reader <characters> <seconds>`."""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Final

from bs4 import BeautifulSoup, Tag
from bs4.element import CData, Comment, Doctype, NavigableString

from storage.knowledge.reader import clean, serve

_SKIPPED: Final = frozenset(
    {"script", "style", "template", "noscript", "svg", "iframe", "head", "title", "nav"}
)
_BLOCKS: Final = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "li",
        "main",
        "ol",
        "p",
        "section",
        "table",
        "tr",
        "ul",
    ]
)
_HEADINGS: Final = {f"h{level}": "#" * level for level in range(1, 7)}


class _AsItIs(str):
    """A piece whose white space counts."""

    __slots__ = ()


def read_html(content: bytes, _longest: int) -> dict[str, str]:
    """Give the text of an HTML page, with its headings marked as in Markdown."""
    try:
        page = BeautifulSoup(content, "html.parser")
        title = page.title.get_text(" ", strip=True) if page.title else ""
        pieces: list[str] = []
        _write(page.body or page, pieces)
    except (RecursionError, ValueError) as error:
        return {"problem": f"is no HTML that can be read ({type(error).__name__})"}
    return {"text": clean(_joined(pieces)), "title": clean(title)}


def _joined(pieces: Iterable[str]) -> str:
    parts: list[str] = []
    for as_it_is, group in groupby(pieces, key=lambda piece: isinstance(piece, _AsItIs)):
        text = "".join(group)
        parts.append(text if as_it_is else _tidy(text))
    return "\n\n".join(part for part in parts if part)


def _tidy(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _write(element: Tag, pieces: list[str]) -> None:
    for child in element.children:
        if isinstance(child, NavigableString):
            if not isinstance(child, Comment | Doctype):
                pieces.append(str(child).replace("\n", " "))
        elif isinstance(child, Tag) and child.name not in _SKIPPED:
            _write_element(child, pieces)


def _write_element(element: Tag, pieces: list[str]) -> None:
    name = element.name
    if name in _HEADINGS:
        pieces.append(f"\n\n{_HEADINGS[name]} {' '.join(element.get_text(' ').split())}\n\n")
    elif name == "br":
        pieces.append("\n")
    elif name == "pre":
        pieces += ["\n\n", _fenced(element), "\n\n"]
    elif name in _BLOCKS:
        pieces.append("\n- " if name == "li" else "\n" if name == "tr" else "\n\n")
        _write(element, pieces)
        pieces.append("\n" if name in {"li", "tr"} else "\n\n")
    else:
        if name in {"td", "th"}:
            pieces.append(" ")
        _write(element, pieces)


def _fenced(element: Tag) -> _AsItIs:
    """Give preformatted text as it stands, as a code block of Markdown."""
    lines: list[str] = []
    for part in element.descendants:
        if isinstance(part, Tag):
            lines.append("\n" if part.name == "br" else "")
        elif type(part) in {NavigableString, CData}:
            lines.append(str(part))
    text = "".join(lines).strip("\r\n").rstrip()
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return _AsItIs(f"{fence}\n{text}\n{fence}" if text else "")


if __name__ == "__main__":
    serve(read_html)
