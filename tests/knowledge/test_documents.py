"""Documents over the API: the contract's fields, and searches that follow every change."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from mcp_platform.names import Collection
from tests.knowledge.documents import add, found_by, ids, indexed, lost_to, search
from tests.platform import RunningPlatform

SPECIFICATION = {
    "title": "MCP Protocol Specification",
    "content": "The Model Context Protocol (MCP) is a standardized protocol for communication"
    " between AI models and external tools. MCP authentication uses JWT tokens.",
    "metadata": {"source": "official-docs", "tags": ["mcp", "protocol", "specification"], "language": "en"},
}


def word() -> str:
    """Give a word that no other document has."""
    return f"zq{uuid4().hex[:10]}"


async def test_the_life_of_a_document_has_the_contracts_fields(platform: RunningPlatform) -> None:
    member = await platform.member()
    created = await member.post("/api/v1/knowledge/documents", json=SPECIFICATION)
    assert created.status_code == 201
    document = created.json()
    assert set(document) == {"document_id", "title", "created_at", "embedding_id"}

    read = await indexed(member, document["document_id"])
    assert read == {
        "document_id": document["document_id"],
        **SPECIFICATION,
        "created_at": document["created_at"],
        "updated_at": document["created_at"],
        "indexing": "done",
    }

    result = await found_by(
        member,
        document["document_id"],
        "How does MCP handle authentication?",
        filters={"tags": ["mcp", "protocol"]},
    )
    assert result["title"] == SPECIFICATION["title"]
    assert result["metadata"] == SPECIFICATION["metadata"]
    assert "authentication uses JWT" in result["content_snippet"]
    assert 0 < result["similarity_score"] <= 1

    answer = await member.delete(f"/api/v1/knowledge/documents/{document['document_id']}")
    assert answer.json() == {
        "message": "Document deleted successfully",
        "document_id": document["document_id"],
    }
    assert (await member.get(f"/api/v1/knowledge/documents/{document['document_id']}")).status_code == 404
    assert document["document_id"] not in ids(await search(member, "MCP authentication", limit=50))


async def test_an_answer_says_how_much_was_found_and_by_what(platform: RunningPlatform) -> None:
    member = await platform.member()
    rare = word()
    for number in range(3):
        await found_by(member, await add(member, f"Note {number}", f"About {rare}."), rare)
    found = await search(member, rare, limit=2)
    assert set(found) == {"results", "total", "query_time_ms", "mode"}
    assert (len(found["results"]), found["total"], found["mode"]) == (2, 3, "hybrid")
    assert (await search(member, rare, mode="text"))["mode"] == "text"


async def test_a_snippet_stands_at_its_offsets_in_the_text(platform: RunningPlatform) -> None:
    member = await platform.member()
    rare = word()
    filler = "Nothing of interest happens in this sentence, which is only here to be long. " * 30
    content = f"# Початок 🎉\n\n{filler}\n\n## 部署\n\n{filler}The {rare} sits here. {filler}"
    document_id = await add(member, "Long", content)
    result = await found_by(member, document_id, rare)
    text = content[result["snippet_begin"] : result["snippet_end"]]
    assert rare in text
    assert len(text) <= 300
    assert result["content_snippet"].strip("…") == text


async def test_a_change_is_searched_and_the_former_text_is_not(platform: RunningPlatform) -> None:
    member = await platform.member()
    before, after = word(), word()
    document_id = await add(member, "Changing", f"It says {before}.", tags=["old"])
    await found_by(member, document_id, before, mode="text")
    answer = await member.put(
        f"/api/v1/knowledge/documents/{document_id}",
        json={"content": f"It says {after}.", "metadata": {"tags": ["new"]}},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["title"] == "Changing"
    assert answer.json()["updated_at"] > answer.json()["created_at"]
    await found_by(member, document_id, after, mode="text", filters={"tags": ["new"]})
    await lost_to(member, document_id, before, mode="text")
    await lost_to(member, document_id, after, mode="text", filters={"tags": ["old"]})


async def test_of_many_changes_at_once_the_last_is_indexed(platform: RunningPlatform) -> None:
    member = await platform.member()
    document_id = await add(member, "Restless", "At first.")
    for number in range(10):
        answer = await member.put(
            f"/api/v1/knowledge/documents/{document_id}", json={"content": f"Text number {number}. " * 200}
        )
        assert answer.status_code == 200
    last = word()
    await member.put(f"/api/v1/knowledge/documents/{document_id}", json={"content": last})
    assert (await indexed(member, document_id))["content"] == last
    await found_by(member, document_id, last, mode="text")


async def test_two_changes_of_one_revision_do_not_both_win(platform: RunningPlatform) -> None:
    member = await platform.member()
    document_id = await add(member, "Contested", "At first.")
    answers = await asyncio.gather(
        *(
            member.put(f"/api/v1/knowledge/documents/{document_id}", json={"title": f"Version {number}"})
            for number in range(8)
        )
    )
    won = [answer.json()["title"] for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert (await indexed(member, document_id))["title"] in won


async def test_indexing_is_a_task_of_the_owner(platform: RunningPlatform) -> None:
    member = await platform.member()
    document_id = await add(member, "Watched", "Some text. " * 500)
    task = await member.task_is(f"index-document-{document_id}", "completed")
    assert (task["kind"], task["progress"]) == ("indexing", 100)
    assert task["result"]["passages"] > 1
    stranger = await platform.member()
    assert (await stranger.get(f"/api/v1/tasks/index-document-{document_id}")).status_code == 404


async def test_only_its_owner_or_an_administrator_changes_a_document(platform: RunningPlatform) -> None:
    owner, stranger, viewer = [
        await platform.member(),
        await platform.member(),
        await platform.member("viewer"),
    ]
    document_id = await add(owner, "Owned", "Everybody may read this.")
    path = f"/api/v1/knowledge/documents/{document_id}"
    for caller, permission in ((stranger, "knowledge:all"), (viewer, "knowledge:write")):
        assert (await caller.get(path)).status_code == 200
        for answer in (await caller.put(path, json={"title": "Mine"}), await caller.delete(path)):
            assert answer.status_code == 403
            assert answer.json()["required_permission"] == permission
    assert (await (await platform.admin()).delete(path)).status_code == 200


async def test_documents_are_listed_by_tag_source_and_language(platform: RunningPlatform) -> None:
    member = await platform.member()
    tag = word()
    first = await add(member, "First", "One.", tags=[tag, "a%"], source="Book", language="en")
    second = await add(member, "Second", "Two.", tags=[tag], source="book", language="zh-CN")

    async def listed(**filters: str) -> list[str]:
        answer = await member.get("/api/v1/knowledge/documents", params={"tag": tag, **filters})
        assert answer.status_code == 200, answer.text
        assert answer.json()["total"] == len(answer.json()["items"])
        return [item["document_id"] for item in answer.json()["items"]]

    assert await listed() == [second, first]
    assert await listed(source="Book") == [first]
    assert await listed(language="zh-CN") == [second]
    assert await listed(tag=tag.upper()) == []
    assert await listed(tag=tag[:-1]) == []


async def test_search_filters_hold_together(platform: RunningPlatform) -> None:
    member = await platform.member()
    rare = word()
    both = await add(member, "Both", rare, tags=["one", "two"], source="here", language="en")
    one = await add(member, "One", rare, tags=["one"], source="there", language="zh")
    for document_id in (both, one):
        await found_by(member, document_id, rare)
    created = (await indexed(member, one))["created_at"]

    async def found(**filters: Any) -> set[str]:
        return set(ids(await search(member, rare, mode="text", filters=filters)))

    assert await found(tags=["one"]) == {both, one}
    assert await found(tags=["one", "two"]) == {both}
    assert await found(tags=["one", "three"]) == set()
    assert await found(source="there") == {one}
    assert await found(language="en", source="there") == set()
    assert await found(created_after=created) == {one}
    assert await found(created_before=created) == {both}
    assert await found(created_before="2020-01-01T00:00:00Z") == set()


@pytest.mark.parametrize(
    "order",
    [
        {"query": ""},
        {"query": "   "},
        {"query": "x" * 1001},
        {"query": "a", "limit": 0},
        {"query": "a", "limit": 51},
        {"query": "a", "mode": "magic"},
        {"query": "a", "filters": {"colour": "red"}},
        {"query": "a", "filters": {"language": "english please"}},
        {
            "query": "a",
            "filters": {"created_after": "2025-01-02T00:00:00Z", "created_before": "2025-01-01T00:00:00Z"},
        },
    ],
)
async def test_a_wrong_search_is_refused(platform: RunningPlatform, order: dict[str, Any]) -> None:
    member = await platform.member()
    assert (await member.post("/api/v1/knowledge/search", json=order)).status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""},
        {"title": "x" * 501},
        {"content": " \n "},
        {"content": "a\x00b"},
        {"metadata": {"tags": ["x" * 65]}},
        {"metadata": {"tags": "mcp"}},
        {"metadata": {"language": "?"}},
        {"metadata": {"notes": "x" * 20_000}},
        {"metadata": {"deep": [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]}},
        {"colour": "red"},
    ],
)
async def test_a_wrong_document_is_refused(platform: RunningPlatform, wrong: dict[str, Any]) -> None:
    member = await platform.member()
    answer = await member.post("/api/v1/knowledge/documents", json=SPECIFICATION | wrong)
    assert answer.status_code == 422, answer.text


async def test_half_a_surrogate_pair_is_refused_wherever_it_stands(platform: RunningPlatform) -> None:
    member = await platform.member()
    for body in (
        r'{"title": "a\ud800", "content": "b"}',
        r'{"title": "a", "content": "b\ud800"}',
        r'{"title": "a", "content": "b", "metadata": {"x": "\ud800"}}',
        r'{"title": "a", "content": "b", "metadata": {"\ud800": 1}}',
        r'{"title": "a", "content": "b", "metadata": {"tags": ["\ud800"]}}',
    ):
        answer = await member.post(
            "/api/v1/knowledge/documents", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in {400, 422}, body


async def test_free_fields_of_the_metadata_are_kept(platform: RunningPlatform) -> None:
    member = await platform.member()
    metadata = {"author": {"name": "Ada"}, "pages": 3, "tags": ["b", "a"]}
    document_id = await add(member, "Free", "Text.", **metadata)
    assert (await indexed(member, document_id))["metadata"] == metadata


async def test_html_is_stored_as_its_text(platform: RunningPlatform) -> None:
    member = await platform.member()
    page = "<html><head><title>x</title></head><body><h2>Set up</h2><p>Press&nbsp;<b>start</b>.</p></body>"
    order = {"title": "Page", "content": page, "format": "html"}
    answer = await member.post("/api/v1/knowledge/documents", json=order)
    read = await indexed(member, answer.json()["document_id"])
    assert read["content"] == "## Set up\n\nPress start."


async def test_a_language_is_one_in_whatever_case(platform: RunningPlatform) -> None:
    member = await platform.member()
    rare = word()
    document_id = await add(member, "Language", f"About {rare}.", language="zh-CN", source=rare)
    for language in ("zh-CN", "ZH-cn"):
        result = await found_by(member, document_id, rare, filters={"language": language})
        assert result["metadata"]["language"] == "zh-CN"
        listed = await member.get(
            "/api/v1/knowledge/documents", params={"language": language, "source": rare}
        )
        assert [each["document_id"] for each in listed.json()["items"]] == [document_id]
    await lost_to(member, document_id, rare, filters={"language": "zh"})


async def test_a_text_that_is_missing_is_not_shown_as_empty(platform: RunningPlatform) -> None:
    member = await platform.member()
    document_id = await add(member, "Lost", "Some text.")
    await indexed(member, document_id)
    stores = platform.parts.stores
    async with stores.read() as rows:
        document = await rows.knowledge.get(UUID(document_id))
    assert document is not None
    await stores.documents.delete(Collection.KNOWLEDGE, document.content_key)
    path = f"/api/v1/knowledge/documents/{document_id}"
    answer = await member.get(path)
    assert (answer.status_code, answer.json()["part"]) == (503, "documents")
    assert (await member.put(path, json={"content": "New text."})).json()["content"] == "New text."
