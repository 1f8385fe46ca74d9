"""Files as documents: what is read, and what is refused with a reason."""

import io
import json
import shutil
import sys
from typing import Any

import pytest
from pypdf import PdfReader, PdfWriter

from storage.knowledge import extraction
from storage.knowledge.extraction import Unreadable, extract
from tests.knowledge.documents import indexed
from tests.knowledge.files import HTML, pdf
from tests.platform import Caller, RunningPlatform

PATH = "/api/v1/knowledge/documents/upload"


async def upload(caller: Caller, name: str, content: bytes, kind: str = "", **fields: str) -> Any:
    """Upload a file."""
    files = {"file": (name, content, kind or "application/octet-stream")}
    return await caller.post(PATH, files=files, data=fields)


async def stored(caller: Caller, name: str, content: bytes, kind: str = "", **fields: str) -> dict[str, Any]:
    """Upload a file, and read the document that it became."""
    answer = await upload(caller, name, content, kind, **fields)
    assert answer.status_code == 201, answer.text
    return await indexed(caller, answer.json()["document_id"])


async def test_each_kind_of_file_becomes_a_document(platform: RunningPlatform) -> None:
    member = await platform.member()
    text = await stored(member, "notes.txt", "Größe: 3 米\r\nEnd".encode())
    assert (text["title"], text["content"]) == ("notes", "Größe: 3 米\nEnd")

    markdown = await stored(member, "x.md", b"Before\n\n# The title #\n\nText")
    assert (markdown["title"], markdown["content"][:6]) == ("The title", "Before")

    page = await stored(member, "page.html", HTML)
    assert page["title"] == "Guide to sealing"
    assert page["content"] == (
        "# Sealing\n\nKeys are kept apart.\n\n- First step\n\n- Second step\n\nleft right"
        "\n\nline one\nline two"
    )

    paper = await stored(member, "paper.pdf", pdf("The first page", "The second page"))
    assert (paper["title"], paper["content"]) == ("paper", "The first page\n\nThe second page")


async def test_the_content_type_tells_where_the_name_does_not(platform: RunningPlatform) -> None:
    member = await platform.member()
    assert (await stored(member, "README", b"Hello", "text/plain; charset=utf-8"))["content"] == "Hello"
    answer = await upload(member, "picture.png", b"\x89PNG", "image/png")
    assert answer.status_code == 422
    assert ".pdf" in answer.text


async def test_title_and_metadata_may_be_given(platform: RunningPlatform) -> None:
    member = await platform.member()
    metadata = {"tags": ["a"], "language": "en", "shelf": 3}
    document = await stored(member, "a.txt", b"Text", title="Mine", metadata=json.dumps(metadata))
    assert (document["title"], document["metadata"]) == ("Mine", metadata)
    for wrong in ("{", "[]", '{"tags": 3}', '{"language": "?"}', "[" * 5_000):
        answer = await upload(member, "a.txt", b"Text", metadata=wrong)
        assert answer.status_code == 422, wrong
        assert answer.json()["detail"][0]["loc"][:2] == ["body", "metadata"]


def encrypted(content: bytes) -> bytes:
    """Encrypt a PDF with a password."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", encrypted(pdf("Secret")), "encrypted"),
        ("a.pdf", pdf("Whole")[:200], "no PDF that can be read"),
        ("a.pdf", b"not a PDF at all", "no PDF that can be read"),
        ("a.pdf", pdf(""), "has no text"),
        ("a.txt", b"  \n ", "has no text"),
        ("a.txt", b"\xff\xfe\xfd\xfc\x00\xd8", "UTF-8"),
        ("a.txt", b"a\x00b", "U+0000"),
        ("a.html", b"<script>only()</script>", "has no text"),
        ("a.txt", b"x" * 1_000_001, "more than 1000000 characters"),
    ],
)
async def test_what_has_no_text_is_refused_with_the_reason(
    platform: RunningPlatform, name: str, content: bytes, reason: str
) -> None:
    answer = await upload(await platform.member(), name, content)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", "file"]
    assert reason in answer.json()["detail"][0]["msg"]


async def test_an_upload_may_be_larger_than_other_bodies_up_to_its_own_limit(
    platform: RunningPlatform,
) -> None:
    member = await platform.member()
    limit = platform.settings.knowledge.max_upload_bytes
    document = await stored(member, "large.txt", b"words " * 100_000)
    assert len(document["content"]) == 600_000 > platform.settings.api.max_body_bytes
    answer = await upload(member, "huge.txt", bytes(limit + 1))
    assert answer.status_code == 413
    assert answer.json()["limit_bytes"] == limit


async def test_a_file_that_keeps_its_reader_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_SECONDS", 0.01)
    with pytest.raises(Unreadable, match="could not be read within"):
        await extract(pdf("Slow"), "pdf")


async def test_a_reader_that_dies_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(Unreadable, match="damaged"):
        await extract(pdf("Text"), "pdf")


async def test_a_page_of_endless_depth_is_given_up() -> None:
    with pytest.raises(Unreadable):
        await extract(b"<div>" * 100_000 + b"deep", "html")
