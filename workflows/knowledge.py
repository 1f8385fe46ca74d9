"""Making documents searchable, and changing the model that makes their embeddings."""

from typing import Any

from temporalio import workflow

from activities.knowledge import KnowledgeActivities
from mcp_platform.contracts.knowledge import (
    DocumentIndexed,
    EmbedOrder,
    IndexOrder,
    ReembedOrder,
    SplitDocument,
)
from mcp_platform.contracts.tasks import TaskState, TaskStatus
from workflows.policies import EMBEDDING, QUICK, SPLITTING, SWEEPING
from workflows.tasks import TaskWorkflow


@workflow.defn(name="knowledge.index_document")
class IndexDocumentWorkflow(TaskWorkflow):
    """Split and embed a document, again whenever it was changed meanwhile."""

    @workflow.init
    def __init__(self, order: IndexOrder) -> None:
        super().__init__()
        self._changed = False

    @workflow.signal(name="knowledge.changed")
    def changed(self) -> None:
        """Hear that the document has a newer revision, or is gone."""
        self._changed = True

    @workflow.run
    async def run(self, order: IndexOrder) -> TaskStatus:
        """Answer with the final status, whose result says how many passages the document has."""
        status = await self._carry_out(lambda: self._steps(order))
        if self._changed:
            workflow.continue_as_new(order)
        return status

    async def _steps(self, order: IndexOrder) -> dict[str, Any]:
        while True:
            self._changed = False
            self._advance(5, "Splitting into passages")
            split = await workflow.execute_activity_method(
                KnowledgeActivities.split, order.document_id, **SPLITTING
            )
            if split is None:
                return {"document_id": str(order.document_id), "passages": 0}
            if await self._embed(order, split):
                return {"document_id": str(order.document_id), "passages": split.passages}
            if workflow.info().is_continue_as_new_suggested():
                # A document that changes again and again: its newest revision is read anew anyway.
                workflow.continue_as_new(order)

    async def _embed(self, order: IndexOrder, split: SplitDocument) -> bool:
        """Embed all passages of a revision; false when there is a newer one."""
        embedded = 0
        while not self._changed:
            step = await workflow.execute_activity_method(
                KnowledgeActivities.embed, EmbedOrder(document_id=order.document_id), **EMBEDDING
            )
            embedded += step.embedded
            if step.lacking == 0:
                break
            percent = 10 + 85 * embedded // (embedded + step.lacking)
            self._advance(percent, f"Embedding {split.passages} passages")
        if self._changed:
            return False
        indexed = DocumentIndexed(document_id=order.document_id, revision=split.revision)
        # Where it is gone by now, the next round finds that out.
        return await workflow.execute_activity_method(KnowledgeActivities.finish, indexed, **QUICK)


@workflow.defn(name="knowledge.reembed")
class ReembedWorkflow:
    """Embed with another model what lacks it, then let searches go by that model.

    It gives up when yet another model is configured meanwhile.
    """

    @workflow.init
    def __init__(self, order: ReembedOrder) -> None:
        self._status = TaskStatus(status=TaskState.RUNNING)

    @workflow.query
    def status(self) -> TaskStatus:
        """How far it is; searches go by the former model until it is done."""
        return self._status

    @workflow.run
    async def run(self, order: ReembedOrder) -> TaskStatus:
        """Answer with the final status."""
        embedded = order.embedded
        while True:
            step = await workflow.execute_activity_method(
                KnowledgeActivities.embed, EmbedOrder(model=order.model), **EMBEDDING
            )
            if step.superseded:
                return self._end(TaskState.CANCELLED, "Another model is configured by now")
            embedded += step.embedded
            self._advance(100 * embedded // max(embedded + step.lacking, 1), f"{embedded} passages embedded")
            if step.lacking == 0 and await self._activate(order.model):
                break
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(ReembedOrder(model=order.model, embedded=embedded))
        await workflow.execute_activity_method(KnowledgeActivities.sweep, **SWEEPING)
        return self._end(TaskState.COMPLETED, "Completed", progress=100)

    def _end(self, state: TaskState, message: str, **changes: int) -> TaskStatus:
        changed = {"revision": self._status.revision + 1, "status": state, "message": message, **changes}
        self._status = self._status.model_copy(update=changed)
        return self._status

    async def _activate(self, model: str) -> bool:
        return await workflow.execute_activity_method(KnowledgeActivities.activate, model, **QUICK)

    def _advance(self, progress: int, message: str) -> None:
        changes = {"revision": self._status.revision + 1, "progress": progress, "message": message}
        self._status = self._status.model_copy(update=changes)
