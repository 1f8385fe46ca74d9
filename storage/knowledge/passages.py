"""Documents into passages, at headings, paragraphs and sentences."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mcp_platform.contracts.knowledge import Passage, embedded_text
from storage.knowledge.words import pack_terms, words_of

ENOUGH: Final = 600
"""A passage of so many characters ends with its paragraph."""
LONGEST: Final = 900
_CONTEXT: Final = 500
_MOST: Final = 5_000
"""A document of more passages than this is all headings: they are not looked at then."""

_HEADING: Final = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_FENCE: Final = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")
_CLOSING: Final = "\"')\\]\u2019\u201d\u300d\u300f\uff09"
_SENTENCE_END: Final = re.compile(
    rf"(?<=[.!?\u2026])[{_CLOSING}]*\s+|[\u3002\uff01\uff1f\uff1b][{_CLOSING}]*\s*|\n\s*"
)

Span = tuple[int, int]


def split_document(title: str, text: str) -> list[Passage]:
    """Split a text; each passage knows the headings above it and its place, in Unicode code points."""
    found = [(section.headings, span) for section in _sections(text) for span in _spans(text, section)]
    if len(found) > _MOST:
        whole = _Section([], (0, 0), [(0, len(text))])
        found = [([], span) for span in _spans(text, whole)]
    return [_passage(ordinal, title, headings, text, span) for ordinal, (headings, span) in enumerate(found)]


def _passage(ordinal: int, title: str, headings: list[str], text: str, span: Span) -> Passage:
    context = " > ".join([title, *headings])[:_CONTEXT]
    content = text[slice(*span)]
    embedded = embedded_text(context, content)
    return Passage(
        ordinal=ordinal,
        begins=span[0],
        ends=span[1],
        context=context,
        text=content,
        text_hash=hashlib.sha256(embedded.encode()).hexdigest(),
        terms=pack_terms(words_of(embedded)),
    )


@dataclass
class _Section:
    """What stands between two headings."""

    headings: list[str]
    heading: Span
    paragraphs: list[Span] = field(default_factory=list)


def _sections(text: str) -> Iterator[_Section]:
    path: list[tuple[int, str]] = []
    section = _Section([], (0, 0))
    fence = ""
    begins: int | None = None
    place = 0
    for line in text.splitlines(keepends=True):
        if (marks := _FENCE.match(line)) and marks[1].startswith(fence):
            fence = "" if fence else marks[1]
        heading = None if fence else _HEADING.match(line.rstrip())
        if heading or (not line.strip() and not fence):
            if begins is not None:
                section.paragraphs.append((begins, place))
            begins = None
        elif begins is None:
            begins = place
        if heading:
            yield section
            level = len(heading[1])
            path = [above for above in path if above[0] < level] + [(level, heading[2].rstrip(" \t#"))]
            section = _Section([name for _, name in path], (place, place + len(line.rstrip())))
        place += len(line)
    if begins is not None:
        section.paragraphs.append((begins, place))
    yield section


def _spans(text: str, section: _Section) -> Iterator[Span]:
    """Give the passages of a section; of one that is only a heading, the heading."""
    if not section.paragraphs:
        if section.heading[1]:
            yield from _pieces(text, *section.heading)
        return
    begins: int | None = None
    ends = 0
    for paragraph in section.paragraphs:
        for first, last in _sentences(text, paragraph):
            if begins is not None and last - begins > LONGEST:
                yield begins, ends
                begins = None
            if last - first > LONGEST:
                *full, (first, last) = _pieces(text, first, last)
                yield from full
            begins = first if begins is None else begins
            ends = last
        if begins is not None and ends - begins >= ENOUGH:
            yield begins, ends
            begins = None
    if begins is not None:
        yield begins, ends


def _sentences(text: str, paragraph: Span) -> Iterator[Span]:
    begins, end = paragraph
    for match in _SENTENCE_END.finditer(text, begins, end):
        yield from _trimmed(text, begins, match.end())
        begins = match.end()
    yield from _trimmed(text, begins, end)


def _pieces(text: str, begins: int, ends: int) -> Iterator[Span]:
    """Cut what has no sentences: at the last space that fits, or anywhere."""
    while ends - begins > LONGEST:
        space = text.rfind(" ", begins + LONGEST // 2, begins + LONGEST)
        cut = space if space > 0 else begins + LONGEST
        yield from _trimmed(text, begins, cut)
        begins = cut
    yield from _trimmed(text, begins, ends)


def _trimmed(text: str, begins: int, ends: int) -> Iterator[Span]:
    """Give the span without white space around it, unless nothing else is there."""
    content = text[begins:ends]
    if content.strip():
        yield begins + len(content) - len(content.lstrip()), ends - len(content) + len(content.rstrip())
