"""Texts out of files. PDF and HTML are read by a process of their own, which may hang or explode."""

import asyncio
import json
import math
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote

import structlog

from mcp_platform.contracts.knowledge import MAX_TEXT
from mcp_platform.errors import Unavailable

logger = structlog.get_logger(__name__)

_SECONDS: Final = 30.0
"""How long the reading of one file may take."""
_PATIENCE: Final = 10.0
"""How long a file may wait for its turn."""
_MOST_WAITING: Final = 8
_SMALL_PAGE: Final = 200_000
"""Bytes of an HTML page that is read in a moment, and does not wait for large files."""

_KINDS: Final = {
    ".txt": "text",
    ".md": "text",
    ".markdown": "text",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
}
_TYPES: Final = {"text/plain": "text", "text/markdown": "text", "text/html": "html", "application/pdf": "pdf"}
_FIRST_HEADING: Final = re.compile(r"(?m)^#[ \t]+(\S.*)$")


class Unreadable(Exception):
    """A file that no text can be had from; the message says why, and what would be right."""


@dataclass(frozen=True)
class Extracted:
    """A file's text, and the title that it gives itself."""

    text: str
    title: str | None


class _Turns:
    """Lets two files at once be read by processes, and a few wait."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(2)
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the body runs."""
        if self._waiting >= _MOST_WAITING:
            raise _busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._free.acquire()
        except TimeoutError:
            raise _busy() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


_LARGE: Final = _Turns()
_SMALL: Final = _Turns()


def turn_to_read(kind: str, size: int) -> AbstractAsyncContextManager[None]:
    """Give a turn at reading a file of this kind and so many bytes, within which `extract` is called.

    A file is best fetched into memory within it: of those that wait none is.

    Raises:
        Unavailable: Too many wait already, or the turn does not come within some seconds.
    """
    if kind == "text":
        return nullcontext()
    return (_SMALL if kind == "html" and size <= _SMALL_PAGE else _LARGE).turn()


def _busy() -> Unavailable:
    return Unavailable("Too many files are being read at present", part="extraction", retry_after=10)


def kind_of(name: str, content_type: str | None) -> str:
    """Tell `text`, `html` or `pdf` by a file's name, or else by its content type.

    Raises:
        Unreadable: It is something else.
    """
    declared = (content_type or "").partition(";")[0].strip().lower()
    kind = _KINDS.get(PurePath(name).suffix.lower()) or _TYPES.get(declared)
    if kind is None:
        raise Unreadable("is none of the kinds that are read: .txt, .md, .html, .pdf")
    return kind


async def extract(content: bytes, kind: str) -> Extracted:
    """Give the text of a file of this kind.

    Raises:
        Unreadable: It has none, or none that can be had.
    """
    if kind == "text":
        found = _plain(content)
    else:
        found = await _by_process(content, kind)
    if not found.text.strip():
        remedy = "; a scanned one needs text recognition first" if kind == "pdf" else ""
        raise Unreadable(f"has no text{remedy}")
    if len(found.text) > MAX_TEXT:
        raise Unreadable(f"has more than {MAX_TEXT} characters of text; upload it in parts")
    return found


def file_title(name: str) -> str:
    """Give a title made of a file's name."""
    return PurePath(unquote(name)).stem.strip() or "Untitled"


def _plain(content: bytes) -> Extracted:
    encoding = "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise Unreadable("is not text in UTF-8") from None
    if "\x00" in text:
        raise Unreadable("contains the character U+0000: it is no text")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    heading = _FIRST_HEADING.search(text)
    return Extracted(text, heading[1].rstrip(" \t#") if heading else None)


async def _by_process(content: bytes, kind: str) -> Extracted:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"storage.knowledge.{kind}_reader"),
        *(str(MAX_TEXT), str(math.ceil(_SECONDS))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate(content)
    except TimeoutError:
        raise Unreadable(f"could not be read within {_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        logger.warning("extraction_failed", kind=kind, status=process.returncode)
        raise Unreadable(f"could not be read as {kind.upper()}: it is damaged, or needs too much memory")
    answer: dict[str, str] = json.loads(output)
    if problem := answer.get("problem"):
        raise Unreadable(problem)
    return Extracted(answer["text"], answer["title"] or None)
