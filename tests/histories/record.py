"""Records the histories that the replay test reads: `python -m tests.histories.record`."""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from activities.clients.embeddings import BUILT_IN
from mcp_platform.contracts.analysis import FeasibilityOrder
from mcp_platform.contracts.deployments import ReplicaOrder, ReplicaOutcome
from mcp_platform.logs import configure_logs
from mcp_platform.names import (
    TaskQueue,
    deployment_workflow_id,
    indexing_workflow_id,
    reembed_workflow_id,
)
from mcp_platform.settings import LogSettings
from tests.deployments.servers import LEAVES_AT_ONCE, TIME
from tests.knowledge.documents import add
from tests.platform import Caller, RunningPlatform, quick_settings, running_platform
from tests.services.temporal import dev_server
from tests.tasks.states import deliberating
from tests.waiting import eventually
from tests.worker.states import record_wish
from tests.workflows.fleet import Fleet, becomes_healthy, cannot_start, deployed
from workflows.analysis import FeasibilityWorkflow
from workflows.monitoring import ReconcileWorkflow, SweepWorkflow

FOLDER: Final = Path(__file__).parent

_WORKER: Final = "worker"
"""Stands for the process and machine that did something."""
_MACHINES_OWN: Final = re.compile(r"^\d+@")
_LEFT_OUT: Final = {"stackTrace", "sourcePath"}


def scrubbed(value: Any) -> Any:
    """Give a history's JSON without what tells of the machine that recorded it."""
    if isinstance(value, dict):
        return {name: scrubbed(item) for name, item in value.items() if name not in _LEFT_OUT}
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    if isinstance(value, str) and _MACHINES_OWN.match(value):
        return _WORKER
    return value


class Recorder:
    """Writes histories into the folder.

    Args:
        client: A client of the server that has them.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def save(self, name: str, workflow_id: str, run_id: str | None = None) -> None:
        """Write the history of one run."""
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        history = await handle.fetch_history()
        text = json.dumps(scrubbed(json.loads(history.to_json())), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n")
        sys.stdout.write(f"{name}: {len(history.events)} events\n")

    async def save_ended(self, name: str, workflow_id: str) -> None:
        """Wait until the workflow has ended, however, and write its history."""
        try:
            await self._client.get_workflow_handle(workflow_id).result()
        except WorkflowFailureError as error:
            sys.stdout.write(f"{name} ends with: {error.cause}\n")
        await self.save(name, workflow_id)


def workflow_of(deployment_id: str) -> str:
    """Give the id of a deployment's workflow."""
    return deployment_workflow_id(UUID(deployment_id))


async def stop(admin: Caller, deployment_id: str) -> None:
    """Stop a deployment."""
    answer = await admin.delete(f"/api/v1/deployments/{deployment_id}")
    assert answer.status_code == 200, answer.text


async def record_deployments(platform: RunningPlatform, admin: Caller, recorder: Recorder) -> None:
    """Bring up, heal, scale, fail and stop."""
    started = await admin.deploy(TIME, replicas=2)
    deployment_id = started["deployment_id"]
    running = await admin.deployment_is(deployment_id, "running")
    victim = running["replicas"][0]["pid"]
    os.kill(victim, signal.SIGKILL)
    await eventually(
        lambda: admin.deployment(deployment_id),
        lambda seen: seen["status"] == "running" and seen["replicas"][0]["pid"] != victim,
    )
    await recorder.save("deployment_healed_and_still_running", workflow_of(deployment_id))
    for replicas in (3, 1):
        answer = await admin.patch(f"/api/v1/deployments/{deployment_id}", json={"replicas": replicas})
        assert answer.status_code == 200, answer.text
    await admin.deployment_is(deployment_id, "running")
    await stop(admin, deployment_id)
    await recorder.save_ended("deployment_healed_scaled_and_stopped", workflow_of(deployment_id))

    failing = (await admin.deploy(LEAVES_AT_ONCE))["deployment_id"]
    await eventually(lambda: admin.deployment(failing), lambda seen: "after 2 s" in (seen["reason"] or ""))
    await stop(admin, failing)
    await recorder.save_ended("deployment_that_never_starts", workflow_of(failing))

    cancelled = (await admin.deploy(TIME))["deployment_id"]
    await admin.deployment_is(cancelled, "running")
    await platform.parts.temporal.get_workflow_handle(workflow_of(cancelled)).cancel()
    await recorder.save_ended("deployment_cancelled_in_temporal", workflow_of(cancelled))


async def record_continuation() -> None:
    """Continue as new, on a server that soon suggests it."""

    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        return await (becomes_healthy if order.ordinal == 0 else cannot_start)(order)

    async with await dev_server({"limit.historyCount.suggestContinueAsNew": "20"}) as environment:
        recorder = Recorder(environment.client)
        async with deployed(environment.client, Fleet(start), replicas=2) as deployment:

            async def run() -> str | None:
                return (await deployment.describe()).run_id

            first = await run()
            second = await eventually(run, lambda found: found != first)
            await deployment.signal("stop")
            await deployment.result()
            await recorder.save("deployment_continued_as_new", deployment.id, first)
            await recorder.save("deployment_taken_over", deployment.id, second)


async def record_analyses(platform: RunningPlatform, recorder: Recorder) -> None:
    """Complete, cancel and fail."""
    member = await platform.member()
    task_id = await member.start_analysis("Reads a database and sends e-mails")
    await recorder.save_ended("feasibility_completed", task_id)
    with deliberating() as deliberation:
        task_id = await deliberation.start_task(member)
        await member.post(f"/api/v1/tasks/{task_id}/cancel")
        await recorder.save_ended("feasibility_cancelled", task_id)
    order = FeasibilityOrder(task_id=str(uuid4()), idea_key="no-such-idea", owner_id=uuid4())
    handle = await platform.parts.temporal.start_workflow(
        FeasibilityWorkflow.run, order, id=order.task_id, task_queue=TaskQueue.ORCHESTRATION
    )
    await recorder.save_ended("feasibility_failed", handle.id)


async def record_deletions(admin: Caller, recorder: Recorder) -> None:
    """Delete an MCP together with its deployment."""
    started = await admin.deploy(TIME)
    await admin.deployment_is(started["deployment_id"], "running")
    answer = await admin.delete(f"/api/v1/mcps/{started['tool_id']}", params={"force": True})
    assert answer.status_code == 202, answer.text
    await recorder.save_ended("mcp_deletion_completed", answer.json()["task_id"])


async def record_knowledge(admin: Caller, recorder: Recorder) -> None:
    """Activate a first embedding model; index a document, and one that is changed meanwhile."""
    await recorder.save_ended("knowledge_model_activated", reembed_workflow_id(BUILT_IN))
    document_id = await add(admin, "Recorded", "# One\n\nFirst.\n\n# Two\n\nSecond.")
    await recorder.save_ended("document_indexed", indexing_workflow_id(UUID(document_id)))
    restless = await add(admin, "Restless", "Some text of it. " * 5_000)
    path = f"/api/v1/knowledge/documents/{restless}"
    answer = await admin.put(path, json={"content": "Less text."})
    assert answer.status_code == 200, answer.text
    await recorder.save_ended("document_changed_while_indexed", indexing_workflow_id(UUID(restless)))


async def record_monitoring(platform: RunningPlatform, admin: Caller, recorder: Recorder) -> None:
    """Compare with nothing to do, and with a wish to fulfil; sweep."""
    temporal = platform.parts.temporal
    for name in ("reconcile_found_nothing", "reconcile_started_a_deployment"):
        await temporal.execute_workflow(ReconcileWorkflow.run, id=name, task_queue=TaskQueue.ORCHESTRATION)
        await recorder.save(name, name)
        if name == "reconcile_found_nothing":
            lost = await record_wish(platform, admin, TIME, timedelta(minutes=5))
    await admin.deployment_is(lost, "running")
    await stop(admin, lost)
    await temporal.execute_workflow(SweepWorkflow.run, id="sweep", task_queue=TaskQueue.ORCHESTRATION)
    await recorder.save("sweep", "sweep")


async def main() -> None:
    """Record all of them, in the place of those that were recorded before."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            await dev_server() as environment,
            running_platform(quick_settings(Path(folder)), environment.client) as platform,
        ):
            recorder = Recorder(environment.client)
            await record_analyses(platform, recorder)
            admin = await platform.admin()
            await record_monitoring(platform, admin, recorder)
            await record_deployments(platform, admin, recorder)
            await record_deletions(admin, recorder)
            await record_knowledge(admin, recorder)
    await record_continuation()


if __name__ == "__main__":
    configure_logs(LogSettings(level="critical"))
    asyncio.run(main())
    # The SDK's own threads may crash the interpreter while it ends (sdk-python#300).
    time.sleep(0.05)
