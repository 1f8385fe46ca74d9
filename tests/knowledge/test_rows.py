"""The knowledge base's rows, on each engine, and its texts on each document store."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from mcp_platform.contracts.knowledge import Document, Passage
from mcp_platform.errors import Conflict, NotFound
from mcp_platform.names import Collection
from storage.documents import Documents
from storage.documents.sql import SqlDocuments
from storage.knowledge.passages import split_document
from storage.sql.engine import Database
from storage.stores import Stores
from tests.platform import RunningPlatform

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = "# One\n\nFirst text 天气.\n\n# Two\n\nSecond text 🎉.\n\n# Three\n\nThird text."


@pytest.fixture
def stores(platform: RunningPlatform, database: Database) -> Stores:
    """Give empty stores, on each engine."""
    return Stores(database, SqlDocuments(database), platform.parts.stores.cache)


def document(**changes: object) -> Document:
    """Give a document of revision 1."""
    document_id = uuid4()
    known = Document(
        id=document_id,
        title="Title",
        owner_id=uuid4(),
        details={"tags": ["a"]},
        content_key=str(document_id),
        embedding_id=uuid4(),
        revision=1,
        indexed_revision=0,
        created_at=NOW,
        updated_at=NOW,
    )
    return known.model_copy(update=changes)


async def stored(stores: Stores, known: Document, text: str = TEXT) -> list[Passage]:
    """Store a document with its passages, and give those."""
    passages = split_document(known.title, text)
    async with stores.write() as rows:
        await rows.knowledge.add(known)
        assert await rows.knowledge.replace_passages(known.id, known.revision, passages, NOW)
    return passages


async def test_a_document_is_found_as_it_was_stored(stores: Stores) -> None:
    known = document(details={"tags": ["b", "a"], "source": "S", "free": {"x": [1, None]}})
    async with stores.write() as rows:
        await rows.knowledge.add(known)
    async with stores.read() as rows:
        assert await rows.knowledge.get(known.id) == known
        assert (await rows.knowledge.list(page=1, page_size=10, tag="a", source="S")).items == [known]
        assert (await rows.knowledge.list(page=1, page_size=10, tag="A")).items == []
        assert (await rows.knowledge.list(page=1, page_size=10, source="s")).items == []
        assert await rows.knowledge.get(uuid4()) is None


async def test_of_two_changes_of_one_revision_the_first_wins(stores: Stores) -> None:
    known = document()
    async with stores.write() as rows:
        await rows.knowledge.add(known)
        second = known.model_copy(update={"title": "Second", "revision": 2})
        await rows.knowledge.update(second, 1)
        with pytest.raises(Conflict):
            await rows.knowledge.update(known.model_copy(update={"title": "Third", "revision": 2}), 1)
        with pytest.raises(NotFound):
            await rows.knowledge.update(document(revision=2), 1)
    async with stores.read() as rows:
        assert await rows.knowledge.get(known.id) == second


async def test_passages_of_an_outdated_revision_are_not_stored(stores: Stores) -> None:
    known = document()
    passages = await stored(stores, known)
    async with stores.write() as rows:
        await rows.knowledge.update(known.model_copy(update={"revision": 2}), 1)
        assert not await rows.knowledge.replace_passages(known.id, 1, [], NOW)
        assert not await rows.knowledge.finish(known.id, 1, NOW)
        assert len(await rows.knowledge.passages_of([known.id], "m")) == len(passages)
        assert await rows.knowledge.replace_passages(known.id, 2, passages[:1], NOW)
        assert await rows.knowledge.finish(known.id, 2, NOW)
        assert len(await rows.knowledge.passages_of([known.id], "m")) == 1
    async with stores.read() as rows:
        found = await rows.knowledge.get(known.id)
    assert found is not None
    assert found.indexed


async def test_a_text_is_embedded_once_for_all_passages_that_have_it(stores: Stores) -> None:
    first, second = document(), document()
    passages = await stored(stores, first)
    await stored(stores, second)
    async with stores.write() as rows:
        assert await rows.knowledge.count_lacking("m") == len(passages) == 3
        lacking = await rows.knowledge.lacking("m", 10)
        assert {(text_hash, context, text) for text_hash, context, text in lacking} == {
            (passage.text_hash, passage.context, passage.text) for passage in passages
        }
        assert len(await rows.knowledge.lacking("m", 2)) == 2
        await rows.knowledge.add_embeddings("m", {passages[0].text_hash: b"\x00\x01" * 4})
        await rows.knowledge.add_embeddings(
            "m", {passage.text_hash: bytes([number]) * 8 for number, passage in enumerate(passages)}
        )
        assert await rows.knowledge.count_lacking("m", first.id) == 0
        assert await rows.knowledge.count_lacking("other", first.id) == 3
    async with stores.read() as rows:
        found = await rows.knowledge.passages_of([second.id], "m")
        assert [each.vector for each in found] == [b"\x00\x01" * 4, bytes([1]) * 8, bytes([2]) * 8]
        assert [each.terms for each in found] == [passage.terms for passage in passages]
        assert {each.vector for each in await rows.knowledge.passages_of([first.id], "other")} == {None}


async def test_embeddings_that_nothing_needs_are_swept_and_no_others(stores: Stores) -> None:
    kept, gone = document(), document(title="Gone")
    hashes = {passage.text_hash: b"12" for passage in await stored(stores, kept)}
    orphans = {passage.text_hash: b"12" for passage in await stored(stores, gone)}
    async with stores.write() as rows:
        for model in ("present", "former"):
            await rows.knowledge.add_embeddings(model, hashes | orphans)
        assert await rows.knowledge.delete(gone.id)
        assert not await rows.knowledge.delete(gone.id)
        assert await rows.knowledge.sweep_embeddings(["present"], 4) == 4
        assert await rows.knowledge.sweep_embeddings(["present"], 100) == 5
        assert await rows.knowledge.sweep_embeddings(["present"], 100) == 0
        assert await rows.knowledge.count_lacking("present") == 0
        assert await rows.knowledge.count_lacking("former") == 3


async def test_one_model_at_a_time_is_active(stores: Stores) -> None:
    async with stores.read() as rows:
        assert await rows.knowledge.active_model() is None
    for name in ("one", "two", "two"):
        async with stores.write() as rows:
            await rows.knowledge.activate(name, NOW)
        async with stores.read() as rows:
            assert await rows.knowledge.active_model() == name


async def test_what_the_index_reads_is_what_has_passages(stores: Stores) -> None:
    documents = [document() for _ in range(5)]
    for each in documents:
        await stored(stores, each)
    waiting = document()
    async with stores.write() as rows:
        await rows.knowledge.add(waiting)
        await rows.knowledge.replace_passages(
            documents[0].id, 1, [], NOW + timedelta(seconds=1, microseconds=7)
        )
    async with stores.read() as rows:
        assert await rows.knowledge.count_indexed() == 5
        assert await rows.knowledge.indexed_ids() == {each.id for each in documents}
        assert await rows.knowledge.indexed_since(NOW + timedelta(seconds=1)) == [
            (documents[0].id, NOW + timedelta(seconds=1, microseconds=7))
        ]
        seen: list[UUID] = []
        while page := await rows.knowledge.indexed_page(seen[-1] if seen else None, 2):
            seen += [each.id for each in page]
        assert sorted(seen) == seen
        assert set(seen) == {each.id for each in documents}
        assert [each.id for each in await rows.knowledge.indexed([documents[2].id, waiting.id])] == [
            documents[2].id
        ]
        assert [each.id for each in await rows.knowledge.unindexed(NOW + timedelta(hours=1), 100)] != []
        assert await rows.knowledge.unindexed(NOW, 100) == []


async def test_a_passage_is_shown_with_its_document(stores: Stores) -> None:
    known = document()
    passages = await stored(stores, known)
    async with stores.read() as rows:
        found = await rows.knowledge.show([(known.id, 1), (known.id, 9), (uuid4(), 0)])
    assert list(found) == [(known.id, 1)]
    shown = found[known.id, 1]
    assert (shown.title, shown.text, shown.begins) == (known.title, passages[1].text, passages[1].begins)
    assert shown.details == known.details


async def test_the_same_embedding_may_be_added_by_several_at_once(stores: Stores) -> None:
    async def add(number: int) -> bool:
        try:
            async with stores.write() as rows:
                await rows.knowledge.add_embeddings("m", {f"{each:064}": b"12" for each in range(20)})
        except Exception:
            return False
        return True

    outcomes = await asyncio.gather(*(add(number) for number in range(6)))
    assert any(outcomes)
    # Who was too late is repeated by Temporal, and finds them there.
    assert await add(6)


async def test_long_texts_of_all_scripts_come_back_as_they_were(documents: Documents) -> None:
    text = "天气🎉é" * 100_000
    await documents.put(Collection.KNOWLEDGE, "long", {"text": text})
    assert await documents.get(Collection.KNOWLEDGE, "long") == {"text": text}
    assert await documents.keys_older_than(
        Collection.KNOWLEDGE, datetime.now(UTC) + timedelta(hours=1), 10, ""
    ) == ["long"]
