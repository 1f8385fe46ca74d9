"""Making documents searchable: passages, their embeddings, and the change of the embedding model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from temporalio import activity

from activities.heartbeat import beating
from mcp_platform.contracts.knowledge import (
    DocumentIndexed,
    EmbedOrder,
    EmbedProgress,
    Passage,
    SplitDocument,
    embedded_text,
)
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel, Collection

if TYPE_CHECKING:
    from storage.knowledge.models import EmbeddingModel
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

EMBEDDED_AT_ONCE: Final = 64
"""Passages in one batch."""
_SWEPT_AT_ONCE: Final = 500


class KnowledgeActivities:
    """The steps of indexing; each may be repeated.

    Args:
        stores: Where documents, passages and embeddings are.
        split: Makes passages of a title and a text.
        open_model: Gives the embedding model of a name.
        model: The name of the model that new passages are embedded with.
    """

    def __init__(
        self,
        stores: Stores,
        split: Callable[[str, str], Sequence[Passage]],
        open_model: Callable[[str], EmbeddingModel],
        model: str,
    ) -> None:
        self._stores = stores
        self._split = split
        self._open_model = open_model
        self._model = model
        self._opened: dict[str, EmbeddingModel] = {}

    async def close(self) -> None:
        """Close the models' connections."""
        for model in self._opened.values():
            await model.close()

    @activity.defn(name="knowledge.split")
    async def split(self, document_id: UUID) -> SplitDocument | None:
        """Put the passages of the newest revision in the place of the old ones; None if it is gone.

        Words are found from then on; what has the text of a passage before keeps its embedding.
        """
        while True:
            async with self._stores.read() as rows:
                document = await rows.knowledge.get(document_id)
            if document is None:
                return None
            body = await self._stores.documents.get(Collection.KNOWLEDGE, document.content_key)
            if body is None:
                # Indexed as nothing it would look done; and it may be back, with a backup of the store.
                raise Unavailable(f"The text of document {document_id} is missing", part="documents")
            passages = await asyncio.to_thread(self._split, document.title, body["text"])
            async with self._stores.write() as rows:
                replaced = await rows.knowledge.replace_passages(
                    document_id, document.revision, passages, datetime.now(UTC)
                )
            if replaced:
                await self._tell(document_id)
                return SplitDocument(revision=document.revision, passages=len(passages))

    @activity.defn(name="knowledge.embed")
    async def embed(self, order: EmbedOrder) -> EmbedProgress:
        """Embed some passages that lack it; answer with how many were and how many are left.

        What searches go by comes first: a new model that cannot be reached hides no document's meaning.
        """
        if order.model and order.model != self._model:
            return EmbedProgress(embedded=0, lacking=0, superseded=True)
        async with beating():
            embedded = lacking = 0
            for name in await self._models_of(order):
                try:
                    # The next one's turn comes when this one lacks nothing any more.
                    done = 0 if embedded else await self._embed_some(name, order.document_id)
                except Unavailable:
                    if name == self._model:
                        raise
                    # A model that is on its way out; until it is, such passages are found by words.
                    logger.warning("former_model_not_asked", model=name)
                    continue
                async with self._stores.read() as rows:
                    left = await rows.knowledge.count_lacking(name, order.document_id)
                if done and not left and name != self._model and order.document_id:
                    await self._freshen(order.document_id)
                embedded += done
                lacking += left
            return EmbedProgress(embedded=embedded, lacking=lacking)

    @activity.defn(name="knowledge.finish")
    async def finish(self, indexed: DocumentIndexed) -> bool:
        """Record that a revision is indexed; false when there is a newer one, or none any more."""
        async with self._stores.write() as rows:
            finished = await rows.knowledge.finish(indexed.document_id, indexed.revision, datetime.now(UTC))
        await self._tell(indexed.document_id)
        return finished

    @activity.defn(name="knowledge.activate")
    async def activate(self, model: str) -> bool:
        """Let all searches go by this model; false when passages lack it, or another is configured by now."""
        if model != self._model:
            return False
        async with self._stores.write() as rows:
            if await rows.knowledge.lacks_any(model):
                return False
            await rows.knowledge.activate(model, datetime.now(UTC))
        logger.info("embedding_model_activated", model=model)
        await self._stores.publish(Channel.KNOWLEDGE, {"model": model})
        return True

    @activity.defn(name="knowledge.sweep")
    async def sweep(self) -> int:
        """Delete embeddings that nothing needs any more; count them."""
        async with beating():
            return await self.sweep_embeddings()

    async def sweep_embeddings(self) -> int:
        """Delete embeddings of former models, and of texts that no passage has any more; count them."""
        models = await self._wanted_models()
        swept = 0
        while True:
            async with self._stores.write() as rows:
                found = await rows.knowledge.sweep_embeddings(models, _SWEPT_AT_ONCE)
            swept += found
            if found < _SWEPT_AT_ONCE:
                break
        if swept:
            logger.info("embeddings_swept", count=swept)
        return swept

    async def model_to_embed(self) -> str | None:
        """Give the configured model if searches go by another, or passages lack its embeddings."""
        async with self._stores.read() as rows:
            active = await rows.knowledge.active_model()
            complete = active == self._model and not await rows.knowledge.lacks_any(self._model)
        return None if complete else self._model

    async def _models_of(self, order: EmbedOrder) -> list[str]:
        return [order.model] if order.model else await self._wanted_models()

    async def _wanted_models(self) -> list[str]:
        """List the model that searches go by, and the configured one if it is another."""
        async with self._stores.read() as rows:
            active = await rows.knowledge.active_model()
        return list(dict.fromkeys(name for name in (active, self._model) if name))

    async def _embed_some(self, name: str, document_id: UUID | None) -> int:
        async with self._stores.read() as rows:
            lacking = await rows.knowledge.lacking(name, EMBEDDED_AT_ONCE, document_id)
        if not lacking:
            return 0
        if name not in self._opened:
            self._opened[name] = self._open_model(name)
        model = self._opened[name]
        vectors = await model.embed([embedded_text(context, text) for _, context, text in lacking])
        packed = {
            text_hash: vector.astype("<f2").tobytes()
            for (text_hash, _, _), vector in zip(lacking, vectors, strict=True)
        }
        async with self._stores.write() as rows:
            await rows.knowledge.add_embeddings(name, packed)
        return len(lacking)

    async def _freshen(self, document_id: UUID) -> None:
        """Have a document's new embeddings read, before the rest of its indexing is done."""
        async with self._stores.write() as rows:
            await rows.knowledge.freshen(document_id, datetime.now(UTC))
        await self._tell(document_id)

    async def _tell(self, document_id: UUID) -> None:
        await self._stores.publish(Channel.KNOWLEDGE, {"document_id": str(document_id)})
