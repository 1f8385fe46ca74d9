"""Embedding models: the one in a package, a provider's, and the change from one to the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import func, select
from temporalio.client import Client

import activities.knowledge
from activities.clients.embeddings import BuiltInModel, open_model
from mcp_platform.contracts.tasks import TaskState, TaskStatus
from mcp_platform.errors import Unavailable
from mcp_platform.names import reembed_workflow_id
from mcp_platform.settings import KnowledgeSettings, Settings
from storage.knowledge import library
from storage.knowledge.models import EmbeddingModel
from storage.sql.tables import KnowledgeEmbeddingRow
from tests.knowledge.documents import add, found_by, ids, indexed, search
from tests.knowledge.provider import KEY, Provider, running_provider
from tests.platform import RunningPlatform, free_port, quick_settings, running_platform
from tests.services.temporal import new_namespace
from tests.waiting import PATIENCE, eventually
from workflows.monitoring import ReconcileWorkflow

PROVIDED = "openai:test-embeddings"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Give a provider on a local socket."""
    async with running_provider() as running:
        yield running


@pytest.fixture
async def namespace(temporal: Client) -> Client:
    """Give a namespace of Temporal's in which no other platform works."""
    return await new_namespace(temporal)


def settings_for(provider: Provider, key: str = KEY) -> KnowledgeSettings:
    """Give settings that name this provider's model."""
    return KnowledgeSettings(
        embedding_model=PROVIDED,
        embedding_base_url=provider.url,
        embedding_api_key=SecretStr(key),
        # No provider of these tests is silent: one that is away says so.
        query_timeout=PATIENCE,
    )


async def test_vectors_have_length_one_and_likeness_is_meaning() -> None:
    model = BuiltInModel()
    rows = await model.embed(["rain and wind tomorrow", "the weather forecast", "sum of an invoice", ""])
    assert np.allclose(np.linalg.norm(rows[:3], axis=1), 1, atol=1e-4)
    assert not rows[3].any()
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


async def test_a_provider_is_asked_for_texts_and_queries(provider: Provider) -> None:
    async with open_until_done(open_model(PROVIDED, settings_for(provider))) as model:
        rows = await model.embed(["one two", "two three"])
        assert np.allclose(rows @ (await model.embed_query("one two")), [1, 0.5], atol=1e-4)
    assert provider.texts == ["one two", "two three", "one two"]


async def test_a_provider_that_refuses_or_is_away_is_named_without_its_secrets(provider: Provider) -> None:
    for settings in (settings_for(provider, "sk-wrong"), settings_for(provider)):
        provider.away = settings.embedding_api_key == SecretStr(KEY)
        async with open_until_done(open_model(PROVIDED, settings)) as model:
            with pytest.raises(Unavailable) as caught:
                await model.embed(["text"])
        assert caught.value.fields["part"] == "embeddings"
        assert "sk-" not in str(caught.value)
    nowhere = settings_for(provider).model_copy(
        update={"embedding_base_url": f"http://127.0.0.1:{free_port()}"}
    )
    async with open_until_done(open_model(PROVIDED, nowhere)) as model:
        with pytest.raises(Unavailable):
            await model.embed_query("text")


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[httpx.AsyncClient]:
    """Give all clients that models open from now on."""
    opened: list[httpx.AsyncClient] = []

    class Noted(httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            opened.append(self)

    monkeypatch.setattr(httpx, "AsyncClient", Noted)
    return opened


async def test_those_who_ask_a_new_model_at_once_share_its_connections(
    provider: Provider, clients: list[httpx.AsyncClient]
) -> None:
    async with open_until_done(open_model(PROVIDED, settings_for(provider))) as model:
        rows = await asyncio.gather(model.embed(["one two"]), model.embed_query("one two"))
        assert np.allclose(rows[0] @ rows[1], 1, atol=1e-4)
    assert [client.is_closed for client in clients] == [True]


async def test_a_model_that_is_closed_answers_what_it_is_being_asked(
    provider: Provider, clients: list[httpx.AsyncClient]
) -> None:
    model = open_model(PROVIDED, settings_for(provider))
    provider.held = asyncio.Event()
    asking = asyncio.create_task(model.embed_query("one two"))
    await eventually(lambda: asyncio.sleep(0, provider.texts))
    await model.close()
    assert [client.is_closed for client in clients] == [False]
    provider.held.set()
    assert np.isclose(np.linalg.norm(await asking), 1, atol=1e-4)
    assert [client.is_closed for client in clients] == [True]


def test_a_model_is_named_with_its_provider() -> None:
    for wrong in ("text-embedding-3-small", "", "Open AI:x"):
        with pytest.raises(ValidationError):
            KnowledgeSettings(embedding_model=wrong)


@asynccontextmanager
async def open_until_done(model: EmbeddingModel) -> AsyncIterator[EmbeddingModel]:
    """Close a model after the body."""
    try:
        yield model
    finally:
        await model.close()


@asynccontextmanager
async def started(
    folder: Path, temporal: Client, knowledge: KnowledgeSettings
) -> AsyncIterator[RunningPlatform]:
    """Run a platform on this folder with these settings."""
    settings: Settings = quick_settings(folder).model_copy(update={"knowledge": knowledge})
    async with running_platform(settings, temporal) as platform:
        yield platform


async def reconcile(platform: RunningPlatform) -> None:
    """Compare records with the truth now, instead of within a minute."""
    await platform.parts.temporal.execute_workflow(
        ReconcileWorkflow.run, id=f"reconcile-{uuid4()}", task_queue="orchestration"
    )


async def embeddings_by_model(platform: RunningPlatform) -> dict[str, int]:
    """Count the stored embeddings of each model."""
    query = select(KnowledgeEmbeddingRow.model, func.count()).group_by(KnowledgeEmbeddingRow.model)
    async with platform.parts.stores.database.read() as session:
        return {name: count for name, count in await session.execute(query)}


async def test_a_change_of_model_embeds_all_anew_while_searches_go_on(
    tmp_path: Path,
    namespace: Client,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activities.knowledge, "EMBEDDED_AT_ONCE", 5)
    texts = {f"Note {number}": f"Subject number{number} concerns harbour cranes." for number in range(20)}
    async with started(tmp_path, namespace, KnowledgeSettings()) as platform:
        admin = await platform.admin()
        documents = await asyncio.gather(*(add(admin, title, text) for title, text in texts.items()))
        for document_id in documents:
            await indexed(admin, document_id)
        await found_by(admin, documents[0], "number0", mode="semantic")
        assert set(await embeddings_by_model(platform)) == {"wordllama"}

    provider.away = True
    async with started(tmp_path, namespace, settings_for(provider)) as platform:
        admin = await platform.admin()
        changing = asyncio.create_task(reconcile(platform))
        during = await search(admin, "harbour cranes", mode="semantic", limit=5)
        assert during["results"], "the former model answers until the new one knows everything"
        assert platform.parts.knowledge.index is not None
        assert platform.parts.knowledge.index.model == "wordllama"
        provider.away = False
        await changing

        async def model() -> str:
            answer = await search(admin, "number7 harbour", mode="hybrid", limit=50)
            assert answer["mode"] == "hybrid"
            assert documents[7] in ids(answer)
            return platform.parts.knowledge.index.model if platform.parts.knowledge.index else ""

        await eventually(model, lambda name: name == PROVIDED)
        await eventually(
            lambda: embeddings_by_model(platform), lambda counts: counts == {PROVIDED: len(documents)}
        )
        assert sorted(text for text in provider.texts if text.startswith("Note")) == sorted(
            f"{title}\n{text}" for title, text in texts.items()
        )
        assert ids(await search(admin, "number12", mode="semantic", limit=1)) == [documents[12]]


async def test_only_passages_whose_text_changed_are_embedded_anew(
    tmp_path: Path, namespace: Client, provider: Provider
) -> None:
    sections = [f"# Part {number}\n\n{f'Sentence {number} of it. ' * 30}\n\n" for number in range(6)]
    async with started(tmp_path, namespace, settings_for(provider)) as platform:
        admin = await platform.admin()
        document_id = await add(admin, "Parts", "".join(sections))
        await indexed(admin, document_id)
        assert len(provider.texts) == 6
        sections[3] = "# Part 3\n\nWholly new.\n\n"
        path = f"/api/v1/knowledge/documents/{document_id}"
        await admin.put(path, json={"content": "".join(sections)})
        await indexed(admin, document_id)
        assert provider.texts[6:] == ["Parts > Part 3\nWholly new."]
        await admin.put(path, json={"metadata": {"tags": ["new"]}})
        await indexed(admin, document_id)
        assert len(provider.texts) == 7


async def test_without_its_model_a_search_goes_by_words_or_says_what_is_away(
    tmp_path: Path,
    namespace: Client,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library, "_MODEL_REST", 0.2)
    async with started(tmp_path, namespace, settings_for(provider)) as platform:
        admin = await platform.admin()
        provider.away = True
        late = await add(admin, "Late", "Written while the model was away.")
        result = await found_by(admin, late, "written away")
        assert result["title"] == "Late"
        assert (await search(admin, "written away"))["mode"] == "text"
        answer = await admin.post("/api/v1/knowledge/search", json={"query": "written", "mode": "semantic"})
        assert (answer.status_code, answer.json()["part"]) == (503, "embeddings")
        path = f"/api/v1/knowledge/documents/{late}"
        assert (await admin.get(path)).json()["indexing"] == "pending"
        provider.away = False
        await indexed(admin, late)
        await eventually(
            lambda: search(admin, "written away"),
            lambda seen: seen["mode"] == "hybrid" and ids(seen) == [late],
        )


async def test_a_model_that_never_answers_hides_nothing_and_makes_room_for_the_next(
    tmp_path: Path, namespace: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.knowledge, "EMBEDDED_AT_ONCE", 1)
    provider.unknown = "bad"
    bad = settings_for(provider).model_copy(update={"embedding_model": "openai:bad"})
    async with started(tmp_path, namespace, KnowledgeSettings()) as platform:
        await indexed(admin := await platform.admin(), await add(admin, "Ships", "A ship in the harbour."))
        await eventually(lambda: active_model(platform), lambda name: name == "wordllama")

    async with started(tmp_path, namespace, bad) as platform:
        await reconcile(platform)
        admin = await platform.admin()
        birds = await add(admin, "Birds", "# South\n\nPenguins.\n\n# Night\n\nOwls.\n\n# Sea\n\nSeagulls.")
        for query in ("penguins", "owls", "seagulls"):
            result = await found_by(admin, birds, query, mode="semantic")
            assert query in result["content_snippet"].lower()
        document = (await admin.get(f"/api/v1/knowledge/documents/{birds}")).json()
        assert (document["indexing"], await active_model(platform)) == ("pending", "wordllama")
        await eventually(lambda: asyncio.sleep(0, provider.refused))

    async with started(tmp_path, namespace, settings_for(provider)) as platform:
        await reconcile(platform)
        await eventually(lambda: active_model(platform), lambda name: name == PROVIDED)
        bad_workflow = reembed_workflow_id("openai:bad")
        former = platform.parts.temporal.get_workflow_handle(bad_workflow, result_type=TaskStatus)
        assert (await former.result()).status is TaskState.CANCELLED
        await indexed(await platform.admin(), birds)


async def active_model(platform: RunningPlatform) -> str | None:
    """Give the model that searches go by."""
    async with platform.parts.stores.read() as rows:
        return await rows.knowledge.active_model()


def test_each_model_has_a_workflow_of_its_own_whatever_its_name() -> None:
    names = [PROVIDED, "openai:other", "hf:org/model", "hf:org-model", "x:" + "\u7c73" * 126]
    workflows = {reembed_workflow_id(name) for name in names}
    assert len(workflows) == len(names)
    assert all(each.isascii() and "/" not in each and len(each) < 256 for each in workflows)
