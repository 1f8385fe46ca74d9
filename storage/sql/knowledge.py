"""Documents of the knowledge base, their passages, and what models make of those."""

import builtins
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, or_, select, update

from mcp_platform.contracts.knowledge import Document, FoundPassage, Passage
from mcp_platform.errors import Conflict, NotFound
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Page, Repository, changed_rows
from storage.sql.tables import (
    KnowledgeDocumentRow,
    KnowledgeEmbeddingRow,
    KnowledgeModelRow,
    KnowledgePassageRow,
)

_MODEL_ROW: Final = 1
_ROWS_AT_ONCE: Final = 200


@dataclass(frozen=True)
class StoredPassage:
    """A passage as the index needs it; without a vector, the model has not seen it yet."""

    document_id: UUID
    ordinal: int
    terms: bytes
    vector: bytes | None


@dataclass(frozen=True)
class StoredDocument:
    """A document as the index needs it, of which `indexed_at` says how fresh it is."""

    id: UUID
    indexed_at: datetime
    created_at: datetime
    details: dict[str, Any]


class KnowledgeRepository(Repository[SessionT]):
    """The knowledge base's rows. Each change of a document raises its revision by one."""

    async def add(self: "KnowledgeRepository[WriteSession]", document: Document) -> None:
        """Add a document, whose text is stored already."""
        await self._session.execute(insert(KnowledgeDocumentRow).values(_values(document)))

    async def get(self, document_id: UUID) -> Document | None:
        """Find the document with this id."""
        query = select(KnowledgeDocumentRow).where(KnowledgeDocumentRow.id == document_id)
        row = await self._session.scalar(query)
        return _document(row) if row else None

    async def list(
        self,
        *,
        page: int,
        page_size: int,
        tag: str | None = None,
        source: str | None = None,
        language: str | None = None,
    ) -> Page[Document]:
        """List one page, newest first."""
        query = select(KnowledgeDocumentRow).order_by(
            KnowledgeDocumentRow.created_at.desc(), KnowledgeDocumentRow.id.desc()
        )
        if tag is not None:
            # Not LIKE: on SQLite that takes A and a for the same.
            query = query.where(func.instr(KnowledgeDocumentRow.tags_text, f"\n{tag}\n") > 0)
        if source is not None:
            query = query.where(KnowledgeDocumentRow.source == source)
        if language is not None:
            query = query.where(KnowledgeDocumentRow.language == language.lower())
        rows, total = await self._rows(query, page, page_size)
        return Page([_document(row) for row in rows], total)

    async def update(
        self: "KnowledgeRepository[WriteSession]", document: Document, expected_revision: int
    ) -> None:
        """Replace revision `expected_revision` by the given one, which is the next.

        Raises:
            Conflict: Somebody else was first.
            NotFound: The document is gone.
        """
        kept = {"id", "owner_id", "created_at", "indexed_revision", "indexed_at"}
        values = {name: value for name, value in _values(document).items() if name not in kept}
        compare_and_set = (
            update(KnowledgeDocumentRow)
            .where(KnowledgeDocumentRow.id == document.id, KnowledgeDocumentRow.revision == expected_revision)
            .values(values)
        )
        if await changed_rows(self._session, compare_and_set):
            return
        if await self.get(document.id) is None:
            raise NotFound("document", document.id)
        raise Conflict(
            "The document was changed by somebody else in the meantime; read it again and repeat the change",
            resource_type="document",
            resource_id=str(document.id),
        )

    async def delete(self: "KnowledgeRepository[WriteSession]", document_id: UUID) -> bool:
        """Remove a document with its passages; false when there is none."""
        gone = delete(KnowledgeDocumentRow).where(KnowledgeDocumentRow.id == document_id)
        return await changed_rows(self._session, gone) == 1

    async def unindexed(self, before: datetime, limit: int) -> builtins.list[Document]:
        """List documents whose newest revision is not indexed and is older than this, oldest first."""
        query = (
            select(KnowledgeDocumentRow)
            .where(
                KnowledgeDocumentRow.indexed_revision < KnowledgeDocumentRow.revision,
                KnowledgeDocumentRow.updated_at < before,
            )
            .order_by(KnowledgeDocumentRow.updated_at, KnowledgeDocumentRow.id)
            .limit(limit)
        )
        return [_document(row) for row in await self._session.scalars(query)]

    async def used_contents(self, keys: Collection[str]) -> set[str]:
        """Find which of these texts a document points to."""
        query = select(KnowledgeDocumentRow.content_key).where(KnowledgeDocumentRow.content_key.in_(keys))
        return set(await self._session.scalars(query))

    async def replace_passages(
        self: "KnowledgeRepository[WriteSession]",
        document_id: UUID,
        revision: int,
        passages: Sequence[Passage],
        moment: datetime,
    ) -> bool:
        """Put these passages in the place of the document's; false when it has another revision by now."""
        still = update(KnowledgeDocumentRow).where(
            KnowledgeDocumentRow.id == document_id, KnowledgeDocumentRow.revision == revision
        )
        if not await changed_rows(self._session, still.values(indexed_at=moment)):
            return False
        old = delete(KnowledgePassageRow).where(KnowledgePassageRow.document_id == document_id)
        await self._session.execute(old)
        rows = [{"document_id": document_id, **passage.model_dump()} for passage in passages]
        for some in _batches(rows):
            await self._session.execute(insert(KnowledgePassageRow), some)
        return True

    async def freshen(self: "KnowledgeRepository[WriteSession]", document_id: UUID, moment: datetime) -> None:
        """Record that searches have something new to read of this document."""
        there = update(KnowledgeDocumentRow).where(KnowledgeDocumentRow.id == document_id)
        await self._session.execute(there.values(indexed_at=moment))

    async def finish(
        self: "KnowledgeRepository[WriteSession]", document_id: UUID, revision: int, moment: datetime
    ) -> bool:
        """Record that a revision is indexed; false when there is a newer one."""
        done = (
            update(KnowledgeDocumentRow)
            .where(KnowledgeDocumentRow.id == document_id, KnowledgeDocumentRow.revision == revision)
            .values(indexed_revision=revision, indexed_at=moment)
        )
        return await changed_rows(self._session, done) == 1

    async def lacking(
        self, model: str, limit: int, document_id: UUID | None = None
    ) -> builtins.list[tuple[str, str, str]]:
        """List hash, context and text of passages that this model has not seen, each hash once."""
        query = select(KnowledgePassageRow.text_hash).where(*_lacks(model, document_id))
        hashes = list(await self._session.scalars(query.distinct().limit(limit)))
        texts = select(
            KnowledgePassageRow.text_hash, KnowledgePassageRow.context, KnowledgePassageRow.text
        ).where(KnowledgePassageRow.text_hash.in_(hashes))
        found = {row[0]: (row[0], row[1], row[2]) for row in await self._session.execute(texts)}
        return list(found.values())

    async def count_lacking(self, model: str, document_id: UUID | None = None) -> int:
        """Count the different texts that this model has not seen."""
        query = select(func.count(KnowledgePassageRow.text_hash.distinct()))
        return await self._session.scalar(query.where(*_lacks(model, document_id))) or 0

    async def lacks_any(self, model: str) -> bool:
        """Tell whether there is a passage that this model has not seen, of a document that is indexed."""
        query = (
            select(KnowledgePassageRow.ordinal)
            .join(KnowledgeDocumentRow, KnowledgeDocumentRow.id == KnowledgePassageRow.document_id)
            .where(
                *_lacks(model, None),
                KnowledgeDocumentRow.indexed_revision == KnowledgeDocumentRow.revision,
            )
        )
        return await self._session.scalar(query.limit(1)) is not None

    async def add_embeddings(
        self: "KnowledgeRepository[WriteSession]", model: str, vectors: dict[str, bytes]
    ) -> None:
        """Keep what a model made of texts, by their hashes; what is kept already stays."""
        known = select(KnowledgeEmbeddingRow.text_hash).where(
            KnowledgeEmbeddingRow.model == model, KnowledgeEmbeddingRow.text_hash.in_(list(vectors))
        )
        there = set(await self._session.scalars(known.with_for_update()))
        rows = [
            {"model": model, "text_hash": text_hash, "vector": vector}
            # In one order, so that two who add the same wait for each other only once.
            for text_hash, vector in sorted(vectors.items())
            if text_hash not in there
        ]
        for some in _batches(rows):
            await self._session.execute(insert(KnowledgeEmbeddingRow), some)

    async def active_model(self) -> str | None:
        """Give the name of the model that searches go by; none before the first is activated."""
        query = select(KnowledgeModelRow.name).where(KnowledgeModelRow.id == _MODEL_ROW)
        return await self._session.scalar(query)

    async def activate(self: "KnowledgeRepository[WriteSession]", model: str, moment: datetime) -> None:
        """Let searches go by this model from now on."""
        values = {"name": model, "activated_at": moment}
        there = update(KnowledgeModelRow).where(KnowledgeModelRow.id == _MODEL_ROW).values(values)
        if not await changed_rows(self._session, there):
            await self._session.execute(insert(KnowledgeModelRow).values(id=_MODEL_ROW, **values))

    async def sweep_embeddings(
        self: "KnowledgeRepository[WriteSession]", models: Collection[str], limit: int
    ) -> int:
        """Delete some embeddings of other models than these, or of texts that no passage has; count them."""
        used = exists().where(KnowledgePassageRow.text_hash == KnowledgeEmbeddingRow.text_hash)
        key = (KnowledgeEmbeddingRow.model, KnowledgeEmbeddingRow.text_hash)
        found = await self._session.execute(
            select(*key).where(KnowledgeEmbeddingRow.model.not_in(models) | ~used).limit(limit)
        )
        keys = sorted((row[0], row[1]) for row in found)
        for model, group in groupby(keys, key=itemgetter(0)):
            for some in _batches([text_hash for _, text_hash in group]):
                gone = delete(KnowledgeEmbeddingRow).where(
                    KnowledgeEmbeddingRow.model == model, KnowledgeEmbeddingRow.text_hash.in_(some)
                )
                await self._session.execute(gone)
        return len(keys)

    async def count_indexed(self) -> int:
        """Count the documents that have passages, or had a text without any."""
        query = select(func.count()).select_from(KnowledgeDocumentRow)
        return await self._session.scalar(query.where(KnowledgeDocumentRow.indexed_at.is_not(None))) or 0

    async def indexed_since(self, moment: datetime) -> builtins.list[tuple[UUID, datetime]]:
        """List ids and freshness of the documents whose passages changed since."""
        query = select(KnowledgeDocumentRow.id, KnowledgeDocumentRow.indexed_at).where(
            KnowledgeDocumentRow.indexed_at >= moment
        )
        return [(row[0], row[1]) for row in await self._session.execute(query) if row[1]]

    async def indexed_ids(self) -> set[UUID]:
        """List the ids of all documents that have passages."""
        query = select(KnowledgeDocumentRow.id).where(KnowledgeDocumentRow.indexed_at.is_not(None))
        return set(await self._session.scalars(query))

    async def indexed_page(self, after: UUID | None, limit: int) -> builtins.list[StoredDocument]:
        """List documents that have passages, in the order of their ids, from behind this one on."""
        query = _stored().where(KnowledgeDocumentRow.indexed_at.is_not(None))
        if after is not None:
            query = query.where(KnowledgeDocumentRow.id > after)
        rows = await self._session.execute(query.order_by(KnowledgeDocumentRow.id).limit(limit))
        return [StoredDocument(*row) for row in rows]

    async def indexed(self, document_ids: Collection[UUID]) -> builtins.list[StoredDocument]:
        """List those of these documents that have passages."""
        query = _stored().where(
            KnowledgeDocumentRow.indexed_at.is_not(None), KnowledgeDocumentRow.id.in_(document_ids)
        )
        return [StoredDocument(*row) for row in await self._session.execute(query)]

    async def passages_of(self, document_ids: Collection[UUID], model: str) -> builtins.list[StoredPassage]:
        """List the passages of these documents, with what this model made of them, in order."""
        query = (
            select(
                KnowledgePassageRow.document_id,
                KnowledgePassageRow.ordinal,
                KnowledgePassageRow.terms,
                KnowledgeEmbeddingRow.vector,
            )
            .outerjoin(
                KnowledgeEmbeddingRow,
                (KnowledgeEmbeddingRow.text_hash == KnowledgePassageRow.text_hash)
                & (KnowledgeEmbeddingRow.model == model),
            )
            .where(KnowledgePassageRow.document_id.in_(document_ids))
            .order_by(KnowledgePassageRow.document_id, KnowledgePassageRow.ordinal)
        )
        return [StoredPassage(*row) for row in await self._session.execute(query)]

    async def show(self, keys: Iterable[tuple[UUID, int]]) -> dict[tuple[UUID, int], FoundPassage]:
        """Read these passages with their documents; those that are gone are left out."""
        key = (KnowledgePassageRow.document_id, KnowledgePassageRow.ordinal)
        query = (
            select(
                *key,
                KnowledgeDocumentRow.title,
                KnowledgeDocumentRow.details,
                KnowledgeDocumentRow.indexed_at,
                KnowledgePassageRow.begins,
                KnowledgePassageRow.text,
            )
            .join(KnowledgeDocumentRow, KnowledgeDocumentRow.id == KnowledgePassageRow.document_id)
            # Not a list of pairs: SQLite reads the whole table for that.
            .where(or_(*(and_(key[0] == document_id, key[1] == ordinal) for document_id, ordinal in keys)))
        )
        return {
            (row.document_id, row.ordinal): FoundPassage.model_validate(row, from_attributes=True)
            for row in await self._session.execute(query)
        }


def _stored() -> Any:
    return select(
        KnowledgeDocumentRow.id,
        KnowledgeDocumentRow.indexed_at,
        KnowledgeDocumentRow.created_at,
        KnowledgeDocumentRow.details,
    )


def _lacks(model: str, document_id: UUID | None) -> builtins.list[ColumnElement[bool]]:
    seen = exists().where(
        KnowledgeEmbeddingRow.model == model,
        KnowledgeEmbeddingRow.text_hash == KnowledgePassageRow.text_hash,
    )
    of_document = [] if document_id is None else [KnowledgePassageRow.document_id == document_id]
    return [*of_document, ~seen]


def _batches(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (rows[place : place + _ROWS_AT_ONCE] for place in range(0, len(rows), _ROWS_AT_ONCE))


def _values(document: Document) -> dict[str, Any]:
    details = document.details
    language = details.get("language")
    tags = "".join(f"{tag}\n" for tag in details.get("tags", []))
    return document.model_dump() | {
        "source": details.get("source"),
        # `zh-CN` and `zh-cn` are one language; `details` keeps what was given.
        "language": language.lower() if language else None,
        "tags_text": f"\n{tags}",
    }


def _document(row: KnowledgeDocumentRow) -> Document:
    return Document.model_validate(row, from_attributes=True)
