"""Files as documents: what is read, and what is refused with a reason."""

import asyncio
import io
import json
import shutil
import sys
from typing import Any

import httpx
import pytest
from pypdf import PdfReader, PdfWriter
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from api.body_limit import BodyLimit
from storage.knowledge import extraction
from storage.knowledge.extraction import Unreadable, extract, turn_to_read
from storage.knowledge.passages import split_document
from tests.knowledge.documents import indexed
from tests.knowledge.files import HTML, pdf
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually

DOCUMENTS = "/api/v1/knowledge/documents"
PATH = f"{DOCUMENTS}/upload"


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
        "\n\n```\nline one\nline two\n```"
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


async def test_a_page_of_an_encoding_of_its_own_is_read_rightly_as_a_file_and_as_json(
    platform: RunningPlatform,
) -> None:
    member = await platform.member()
    page = "<meta charset='iso-8859-1'><title>Maß</title><p>Größe</p>"
    assert (await stored(member, "page.html", page.encode("iso-8859-1")))["content"] == "Größe"
    order = {"title": "Page", "content": f"{page}<p>三米</p>", "format": "html"}
    created = await member.post(DOCUMENTS, json=order)
    assert created.status_code == 201, created.text
    document = await indexed(member, created.json()["document_id"])
    assert document["content"] == "Größe\n\n三米"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<pre>\ndef f():\n    if x:\n\n\n\t# why\n</pre>", "```\ndef f():\n    if x:\n\n\n\t# why\n```"),
        ("a<pre><code>x  =  <b>1</b><br>  y</code></pre>b", "a\n\n```\nx  =  1\n  y\n```\n\nb"),
        ("<ul><li>a<pre>  b</pre><pre>c</pre></li></ul>", "- a\n\n```\n  b\n```\n\n```\nc\n```"),
        ("<pre>```\nin\n```</pre><pre> </pre>", "````\n```\nin\n```\n````"),
    ],
)
async def test_code_in_a_page_keeps_its_lines(page: str, text: str) -> None:
    extracted = await extract(page.encode(), "html")
    assert extracted.text == text
    # What begins with # in it is no heading.
    code = f"# Head\n\n{text}\n\n# Tail"
    assert {passage.context for passage in split_document("T", code)} == {"T > Head", "T > Tail"}


async def test_slow_files_hold_up_no_small_page_and_a_long_queue_is_refused(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those that wait are read two at a time, each by a process that has to start first.
    monkeypatch.setattr(extraction, "_PATIENCE", 100.0)
    member = await platform.member()
    large = b"<p>words</p>" * 20_000
    async with turn_to_read("pdf", 1), turn_to_read("html", len(large)):
        assert (await stored(member, "small.html", HTML))["title"] == "Guide to sealing"
        waiting = [asyncio.create_task(upload(member, "a.pdf", pdf("Text"))) for _ in range(8)]

        async def queued() -> int:
            return extraction._LARGE._waiting

        await eventually(queued, lambda count: count == 8)
        for name, content in (("a.pdf", pdf("Text")), ("a.html", large)):
            answer = await upload(member, name, content)
            assert (answer.status_code, answer.json()["part"]) == (503, "extraction")
            assert int(answer.headers["Retry-After"]) > 0
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [201] * 8

    monkeypatch.setattr(extraction, "_PATIENCE", 0.05)
    async with turn_to_read("pdf", 1), turn_to_read("pdf", 1):
        assert (await upload(member, "a.pdf", pdf("Text"))).status_code == 503
    assert (await upload(member, "a.pdf", pdf("Text"))).status_code == 201


async def test_a_document_may_have_a_million_characters_of_any_script_however_they_are_written(
    platform: RunningPlatform,
) -> None:
    member = await platform.member()
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"title": "Long", "content": "字" * 1_000_000})
    assert len(body) > 6_000_000
    created = await member.post(DOCUMENTS, content=body, headers=headers)
    assert created.status_code == 201, created.text
    path = f"{DOCUMENTS}/{created.json()['document_id']}"
    changed = await member.put(path, content=body, headers=headers)
    assert (changed.status_code, len(changed.json()["content"])) == (200, 1_000_000)
    assert (await member.delete(path)).status_code == 200
    limit = platform.settings.api.max_body_bytes
    answer = await member.post(f"{DOCUMENTS[:-9]}search", content=b" " * (limit + 1), headers=headers)
    assert (answer.status_code, answer.json()["limit_bytes"]) == (413, limit)


@pytest.mark.parametrize(
    ("path", "limit"), [("/a", 20), ("/a/1", 30), ("/a/1/b", 10), ("/a/upload", 40), ("/ab", 10)]
)
async def test_a_body_limit_is_that_of_its_path_or_of_what_is_right_above(path: str, limit: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)

    limited = BodyLimit(app, limit=10, others={"/a": 20, "/a/": 30, "/a/upload": 40})
    transport = httpx.ASGITransport(app=limited)
    async with httpx.AsyncClient(transport=transport, base_url="http://platform") as client:
        assert (await client.post(path, content=b"x" * limit)).status_code == 200
        refused = await client.post(path, content=b"x" * (limit + 1))
    assert (refused.status_code, refused.json()["limit_bytes"]) == (413, limit)


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
