"""Asking for checks as workflows do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from mcp_platform.contracts.checks import TrialOrder, TrialReport
    from mcp_platform.names import Collection
    from tests.platform import RunningPlatform
    from workflows.checks import try_server


@workflow.defn(name="tests.trial")
class TrialWorkflow:
    """Tries one server."""

    @workflow.run
    async def run(self, order: TrialOrder) -> TrialReport:
        """Answer with the report."""
        return await try_server(order)


class Asking:
    """Starts checks, and waits for them."""

    def __init__(self, platform: RunningPlatform, client: Client, queue: str) -> None:
        self.platform = platform
        self._client = client
        self._queue = queue

    async def begin(self, config: dict[str, Any], **changes: Any) -> WorkflowHandle[Any, TrialReport]:
        """Begin a trial of a configuration."""
        task_id = changes.pop("task_id", f"trial-{uuid4()}")
        key = f"{task_id}/1"
        await self.platform.parts.stores.documents.put(Collection.DRAFTS, key, config)
        given: dict[str, Any] = {"owner_id": uuid4(), "may_run_commands": True, "patience": 20.0}
        order = TrialOrder(task_id=task_id, draft_key=key, **(given | changes))
        return await self._client.start_workflow(TrialWorkflow.run, order, id=task_id, task_queue=self._queue)

    async def attempt(self, server: dict[str, Any], **changes: Any) -> TrialReport:
        """Try one server, and give the report."""
        return await (await self.begin({"servers": [server]}, **changes)).result()

    async def running_trials(self) -> set[UUID]:
        """Give the replicas of the trials that go on."""
        return await self.platform.parts.stores.trials.replica_ids()


@asynccontextmanager
async def asking(platform: RunningPlatform) -> AsyncIterator[Asking]:
    """Work on the tests' own workflows; the activities are the platform's."""
    client, queue = platform.parts.temporal, f"tests-{uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[TrialWorkflow]):
        yield Asking(platform, client, queue)
