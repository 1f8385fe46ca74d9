"""Reads an HTML page: `python -m storage.knowledge.html_reader <characters> <seconds>`."""

import re
from typing import Final

from bs4 import BeautifulSoup, Tag
from bs4.element import Comment, Doctype, NavigableString

from storage.knowledge.reader import clean, serve

_SKIPPED: Final = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "head", "nav"})
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
        "pre",
        "section",
        "table",
        "tr",
        "ul",
    ]
)
_HEADINGS: Final = {f"h{level}": "#" * level for level in range(1, 7)}


def read_html(content: bytes, _longest: int) -> dict[str, str]:
    """Give the text of an HTML page, with its headings marked as in Markdown."""
    try:
        page = BeautifulSoup(content, "html.parser")
        title = page.title.get_text(" ", strip=True) if page.title else ""
        pieces: list[str] = []
        _write(page.body or page, pieces)
    except (RecursionError, ValueError) as error:
        return {"problem": f"is no HTML that can be read ({type(error).__name__})"}
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return {"text": clean(text), "title": clean(title)}


def _write(element: Tag, pieces: list[str]) -> None:
    for child in element.children:
        if isinstance(child, NavigableString):
            if not isinstance(child, Comment | Doctype):
                pieces.append(str(child) if element.name == "pre" else str(child).replace("\n", " "))
        elif isinstance(child, Tag) and child.name not in _SKIPPED:
            _write_element(child, pieces)


def _write_element(element: Tag, pieces: list[str]) -> None:
    name = element.name
    if name in _HEADINGS:
        pieces.append(f"\n\n{_HEADINGS[name]} {' '.join(element.get_text(' ').split())}\n\n")
    elif name == "br":
        pieces.append("\n")
    elif name in _BLOCKS:
        pieces.append("\n- " if name == "li" else "\n" if name == "tr" else "\n\n")
        _write(element, pieces)
        pieces.append("\n" if name in {"li", "tr"} else "\n\n")
    else:
        if name in {"td", "th"}:
            pieces.append(" ")
        _write(element, pieces)


if __name__ == "__main__":
    serve(read_html)
