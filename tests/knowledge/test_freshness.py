"""Every process searches what is stored: after a message soon, without one before long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.clients.embeddings import BUILT_IN, BuiltInModel, open_model
from activities.knowledge import KnowledgeActivities
from mcp_platform.contracts.knowledge import DocumentIndexed, EmbedOrder, SearchKnowledge, SearchMode
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel, Collection, indexing_workflow_id
from mcp_platform.settings import KnowledgeSettings
from storage.documents.sql import SqlDocuments
from storage.knowledge import library as library_module
from storage.knowledge.library import Library
from storage.knowledge.passages import split_document
from storage.sql.engine import Database
from storage.stores import Stores
from tests.knowledge.documents import add, found_by, indexed
from tests.knowledge.test_models import reconcile
from tests.knowledge.test_rows import document
from tests.platform import RunningPlatform, quick_settings, running_platform
from tests.waiting import eventually


def open_library(stores: Stores, refresh_interval: float = 3600.0) -> Library:
    """Give a library as an API process has it."""
    return Library(stores, lambda _: BuiltInModel(), BUILT_IN, refresh_interval)


class Writer:
    """Changes documents as the API and a worker do; tells the others, or does not."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.told = True

    async def put(self, text: str, document_id: UUID | None = None) -> UUID:
        """Store a text and index it."""
        known = document(content_key=str(uuid4()))
        await self._stores.documents.put(Collection.KNOWLEDGE, known.content_key, {"text": text})
        async with self._stores.write() as rows:
            former = await rows.knowledge.get(document_id) if document_id else None
            if former is not None:
                changes = {"content_key": known.content_key, "revision": former.revision + 1}
                known = former.model_copy(update=changes)
                await rows.knowledge.update(known, former.revision)
            else:
                await rows.knowledge.add(known)
        await self._index(known.id, known.revision)
        return known.id

    async def _index(self, document_id: UUID, revision: int) -> None:
        quiet = Stores(self._stores.database, self._stores.documents, _Deaf())  # type: ignore[arg-type]
        opener = partial(open_model, settings=KnowledgeSettings())
        worker = KnowledgeActivities(self._stores if self.told else quiet, split_document, opener, BUILT_IN)
        environment = ActivityEnvironment()
        environment.info = environment.info.__class__(
            **{**vars(environment.info), "heartbeat_timeout": timedelta(seconds=30)}
        )
        await environment.run(worker.split, document_id)
        progress = await environment.run(worker.embed, EmbedOrder(document_id=document_id))
        assert progress.lacking == 0
        await environment.run(worker.finish, DocumentIndexed(document_id=document_id, revision=revision))

    async def delete(self, document_id: UUID) -> None:
        """Remove a document."""
        async with self._stores.write() as rows:
            await rows.knowledge.delete(document_id)
        if self.told:
            await self._stores.publish(Channel.KNOWLEDGE, {"document_id": str(document_id)})


class _Deaf:
    """A cache in which messages are lost."""

    async def publish(self, *_: Any) -> None:
        """Tell nobody."""


async def found(library: Library, query: str) -> list[UUID]:
    """Give what a search finds."""
    answer = await library.search(SearchKnowledge(query=query, mode=SearchMode.TEXT))
    return [passage.document_id for passage, _ in answer.found]


@asynccontextmanager
async def several(stores: Stores, refresh_interval: float = 3600.0) -> AsyncIterator[list[Library]]:
    """Open the libraries of three processes."""
    libraries = [open_library(stores, refresh_interval) for _ in range(3)]
    async with libraries[0].open(), libraries[1].open(), libraries[2].open():
        yield libraries


async def all_find(libraries: list[Library], query: str, expected: list[UUID]) -> None:
    """Wait until every process finds this."""
    for library in libraries:
        await eventually(partial(found, library, query), lambda seen: seen == expected)


@pytest.fixture
def stores(sqlite_database: Database, cache: Redis) -> Stores:
    """Give stores whose messages go through each kind of cache."""
    return Stores(sqlite_database, SqlDocuments(sqlite_database), cache)


async def test_a_message_brings_each_change_to_every_process(stores: Stores) -> None:
    writer = Writer(stores)
    before = await writer.put("About zebras.")
    async with several(stores) as libraries:
        await all_find(libraries, "zebras", [before])
        later = await writer.put("About giraffes.")
        await all_find(libraries, "giraffes", [later])
        await writer.put("About lions.", later)
        await all_find(libraries, "lions", [later])
        await all_find(libraries, "giraffes", [])
        await writer.delete(before)
        await all_find(libraries, "zebras", [])


async def test_a_process_that_missed_messages_catches_up_by_itself(stores: Stores) -> None:
    writer = Writer(stores)
    changed, gone = await writer.put("About zebras."), await writer.put("About lions.")
    async with several(stores, refresh_interval=0.2) as libraries:
        await all_find(libraries, "zebras", [changed])
        writer.told = False
        new = await writer.put("About giraffes.")
        await writer.put("About hippos.", changed)
        await writer.delete(gone)
        await all_find(libraries, "giraffes", [new])
        await all_find(libraries, "hippos", [changed])
        await all_find(libraries, "zebras", [])
        for library in libraries:
            index = library.index
            assert index is not None
            await eventually(lambda index=index: _ids(index), lambda seen: seen == {changed, new})  # type: ignore[misc]


async def _ids(index: Any) -> set[UUID]:
    ids: set[UUID] = index.ids()
    return ids


async def test_a_search_that_meets_a_change_unheard_of_shows_the_text_as_it_is_now(stores: Stores) -> None:
    writer = Writer(stores)
    filler = "Nothing of interest happens here. " * 25
    vanishing = await writer.put(f"# One\n\n{filler}\n\n# Two\n\nAbout zebras.")
    moving = await writer.put(f"# One\n\nAbout giraffes.\n\n# Two\n\n{filler}")
    gone = await writer.put("About lions.")
    library = open_library(stores)
    async with library.open():
        await all_find([library], "lions", [gone])
        writer.told = False
        # The passage that the index knows is no more, has another text by now, or its document is gone.
        await writer.put("About zebras, shortly.", vanishing)
        await writer.put(f"# One\n\n{filler}\n\n# Two\n\nAbout giraffes.", moving)
        await writer.delete(gone)
        for query, document_id in (("zebras", vanishing), ("giraffes", moving)):
            answer = await library.search(SearchKnowledge(query=query, mode=SearchMode.TEXT))
            assert [passage.document_id for passage, _ in answer.found] == [document_id]
            assert query in answer.found[0][0].text
        assert await found(library, "lions") == []


async def test_a_document_whose_text_is_missing_is_not_indexed_as_nothing(stores: Stores) -> None:
    known = document(content_key=str(uuid4()))
    async with stores.write() as rows:
        await rows.knowledge.add(known)
    opener = partial(open_model, settings=KnowledgeSettings())
    worker = KnowledgeActivities(stores, split_document, opener, BUILT_IN)
    with pytest.raises(Unavailable) as caught:
        await ActivityEnvironment().run(worker.split, known.id)
    assert caught.value.fields["part"] == "documents"
    async with stores.read() as rows:
        assert await rows.knowledge.count_indexed() == 0


async def test_an_interrupted_listener_reads_anew_what_it_may_have_missed(stores: Stores) -> None:
    writer = Writer(stores)
    async with several(stores) as libraries:
        await all_find(libraries, "zebras", [])
        writer.told = False
        missed = await writer.put("About zebras.")
        for library in libraries:
            # What a new subscription tells after an interruption.
            library._missed = True
        await stores.publish(Channel.KNOWLEDGE, {})
        await all_find(libraries, "zebras", [missed])


async def test_a_search_before_the_index_is_loaded_waits_and_then_says_so(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "_READY_PATIENCE", 0.05)
    library = open_library(stores)
    with pytest.raises(Unavailable) as caught:
        await found(library, "zebras")
    assert caught.value.fields["part"] == "knowledge"
    monkeypatch.undo()
    waiting = asyncio.create_task(found(library, "zebras"))
    async with library.open():
        assert await waiting == []


async def test_what_was_posted_while_temporal_was_away_is_indexed_later(platform: RunningPlatform) -> None:
    member = await platform.member()
    known = document(
        owner_id=UUID((await member.get("/api/v1/auth/me")).json()["id"]),
        updated_at=datetime.now(UTC) - timedelta(minutes=1),
    )
    # What the route leaves behind when it cannot reach Temporal: text and row, and no workflow.
    await platform.parts.stores.documents.put(
        Collection.KNOWLEDGE, known.content_key, {"text": "Okapis are shy."}
    )
    async with platform.parts.stores.write() as rows:
        await rows.knowledge.add(known)
    await reconcile(platform)
    await indexed(member, str(known.id))
    await found_by(member, str(known.id), "okapis", mode="text")
    await member.task_is(indexing_workflow_id(known.id), "completed")


async def test_a_document_is_accepted_while_temporal_is_away(
    tmp_path: Any, temporal_environment: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_platform(
        quick_settings(tmp_path), temporal_environment.client, with_worker=False
    ) as platform:
        admin = await platform.admin()

        async def away(*_: Any, **__: Any) -> None:
            raise RuntimeError("Failed client connect: nobody listens")

        monkeypatch.setattr(platform.parts.temporal, "start_workflow", away)
        document_id = await add(admin, "Patient", "Waits for its turn.")
        answer = await admin.get(f"/api/v1/knowledge/documents/{document_id}")
        assert answer.json()["indexing"] == "pending"
        monkeypatch.undo()
