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
from mcp_platform.contracts.deployments import (
    Autoscaling,
    ReplicaOrder,
    ReplicaOutcome,
    RevisionState,
    ScaleDeployment,
)
from mcp_platform.contracts.improvements import ImprovementOrder
from mcp_platform.contracts.loads import ScaleDecision
from mcp_platform.logs import configure_logs
from mcp_platform.names import (
    TaskQueue,
    deployment_workflow_id,
    indexing_workflow_id,
    reembed_workflow_id,
)
from mcp_platform.settings import LogSettings
from tests.deployments.servers import LEAVES_AT_ONCE, NEVER_SPEAKS, TIME
from tests.generation.asking import TINY_PROJECT, draft, generating_platform, turns
from tests.histories.cancellations import record_cancellations
from tests.histories.connections import record_connections
from tests.histories.merges import record_merges
from tests.histories.syncs import record_syncs
from tests.images.rehearsal import BUILDING, Rehearsal, fails, goes_on, rehearsed, succeeds
from tests.knowledge.documents import add
from tests.oauth import rehearsal as authorizations
from tests.oauth.rehearsal import EXPIRED
from tests.platform import Caller, RunningPlatform, quick_settings, running_platform
from tests.services.temporal import dev_server
from tests.tasks.states import deliberating
from tests.waiting import eventually
from tests.worker.states import record_wish
from tests.workflows.fleet import Fleet, becomes_healthy, cannot_start, deployed
from tests.workflows.test_rollouts import Load, is_running, is_settled, roll_out, rollout, standing
from workflows.analysis import FeasibilityWorkflow
from workflows.authorizations import AuthorizationWorkflow
from workflows.deployments import DeploymentWorkflow
from workflows.images import BuildImageWorkflow
from workflows.improvements import ImprovementWorkflow
from workflows.known import RefreshKnownWorkflow
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


async def record_rollouts() -> None:
    """Roll out, back by itself, and to zero and up again."""

    async def start(order: ReplicaOrder) -> ReplicaOutcome:
        return await (cannot_start if order.revision == 3 else becomes_healthy)(order)

    async with await dev_server() as environment:
        recorder = Recorder(environment.client)
        fleet, load = Fleet(start), Load()
        fleet.others.append(load.observe)
        async with deployed(environment.client, fleet, replicas=2) as deployment:
            await is_running(deployment)
            for state in (RevisionState.ACTIVE, RevisionState.FAILED):
                await roll_out(deployment, rollout())
                await is_settled(deployment, state)
            scaling = Autoscaling(max=1, idle_after=60)
            await deployment.execute_update(DeploymentWorkflow.scale, ScaleDeployment(autoscaling=scaling))
            for replicas in (0, 1):
                load.decisions.put_nowait(ScaleDecision(replicas=replicas, reason="recorded"))
                await standing(fleet, *[(place, 2) for place in range(replicas)])
            await recorder.save("deployment_rolled_out_and_back_and_asleep", deployment.id)
            await deployment.signal("stop", 1.0)
            await deployment.result()
            await recorder.save("deployment_rolled_and_stopped_gently", deployment.id)


async def record_analyses(platform: RunningPlatform, recorder: Recorder) -> None:
    """Complete, also with what is looked up and tried; cancel and fail."""
    member = await platform.member()
    task_id = await member.start_analysis("Reads a database and sends e-mails")
    await recorder.save_ended("feasibility_completed", task_id)
    task_id = await member.start_analysis("Tells the time:\n\n`uvx mcp-server-time==2026.10.19`")
    await recorder.save_ended("feasibility_with_checks", task_id)
    with deliberating() as deliberation:
        task_id = await deliberation.start_task(member)
        await member.post(f"/api/v1/tasks/{task_id}/cancel")
        await recorder.save_ended("feasibility_cancelled", task_id)
    order = FeasibilityOrder(task_id=str(uuid4()), idea_key="no-such-idea", owner_id=uuid4())
    handle = await platform.parts.temporal.start_workflow(
        FeasibilityWorkflow.run, order, id=order.task_id, task_queue=TaskQueue.ORCHESTRATION
    )
    await recorder.save_ended("feasibility_failed", handle.id)


async def record_long_trial(admin: Caller, recorder: Recorder) -> None:
    """Cancel in the middle of a trial that goes on for so long that the task has said so."""
    mcp = await admin.register_mcp({"servers": [NEVER_SPEAKS]})
    answer = await admin.post("/api/v1/analyze/improvements", json={"tool_id": mcp["id"]})
    path = f"/api/v1/tasks/{answer.json()['task_id']}"
    await eventually(lambda: admin.get(path), lambda seen: " s so far; " in seen.json()["message"])
    await admin.post(f"{path}/cancel")
    await recorder.save_ended("improvements_cancelled_in_a_long_trial", answer.json()["task_id"])


async def record_improvements(platform: RunningPlatform, admin: Caller, recorder: Recorder) -> None:
    """Complete with a trial; cancel in the middle of one; fail."""
    for name, server in (("improvements_completed", TIME), ("improvements_cancelled", NEVER_SPEAKS)):
        mcp = await admin.register_mcp({"servers": [server]})
        answer = await admin.post("/api/v1/analyze/improvements", json={"tool_id": mcp["id"]})
        task_id = answer.json()["task_id"]
        if server is NEVER_SPEAKS:
            await eventually(platform.parts.stores.trials.replica_ids)
            await admin.post(f"/api/v1/tasks/{task_id}/cancel")
        await recorder.save_ended(name, task_id)
    order = ImprovementOrder(task_id=str(uuid4()), mcp_id=uuid4(), owner_id=uuid4())
    handle = await platform.parts.temporal.start_workflow(
        ImprovementWorkflow.run, order, id=order.task_id, task_queue=TaskQueue.ORCHESTRATION
    )
    await recorder.save_ended("improvements_failed", handle.id)


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


async def record_known_servers(platform: RunningPlatform, recorder: Recorder) -> None:
    """Look for new servers where no registry is set."""
    name = "known_servers_refreshed"
    await platform.parts.temporal.execute_workflow(
        RefreshKnownWorkflow.run, id=name, task_queue=TaskQueue.ORCHESTRATION
    )
    await recorder.save(name, name)


async def record_builds(client: Client) -> None:
    """Build an image, fail to, and call a build off; without an engine, whose words name its machine."""
    recorder = Recorder(client)
    for name, build in (("build_completed", succeeds), ("build_failed", fails)):
        async with rehearsed(client, Rehearsal(build)) as handle:
            await recorder.save_ended(name, handle.id)
    async with rehearsed(client, Rehearsal(goes_on)) as handle:
        await eventually(
            lambda: handle.query(BuildImageWorkflow.status), lambda found: found.message == BUILDING
        )
        await handle.cancel()
        await recorder.save_ended("build_cancelled", handle.id)


async def record_authorizations(client: Client) -> None:
    """Refresh and end an authorization at a remote server, and see one expire; without any such server."""
    recorder = Recorder(client)
    going = authorizations.Rehearsal()
    async with authorizations.rehearsed(client, going) as handle:
        await handle.execute_update(AuthorizationWorkflow.prepared)
        await handle.execute_update(AuthorizationWorkflow.settled)

        async def refreshed() -> bool:
            return going.refreshed >= 2

        await eventually(refreshed)
        await handle.signal(AuthorizationWorkflow.end)
        await recorder.save_ended("authorization_refreshed_and_ended", handle.id)
    async with authorizations.rehearsed(client, authorizations.Rehearsal([EXPIRED])) as handle:
        await handle.execute_update(AuthorizationWorkflow.settled)
        await recorder.save_ended("authorization_expired", handle.id)


async def record_generations(folder: Path, client: Client) -> None:
    """Repair a model's draft, read a repository, and find nothing."""
    async with generating_platform(folder, client) as generating:
        recorder = Recorder(generating.platform.parts.temporal)
        generating.provider.answers("generate-config", turns(draft("mcp-server-invented"), draft()))
        wishes: tuple[tuple[str, dict[str, Any]], ...] = (
            ("generation_repaired", {"description": "Say one word, again and again"}),
            ("generation_of_a_known_server", {"description": "current time", "engine": "rules"}),
            ("generation_of_a_repository", {"repository_url": generating.git.add("tiny.git", TINY_PROJECT)}),
            ("generation_found_nothing", {"description": "Steer the coffee machine", "engine": "rules"}),
        )
        for name, wish in wishes:
            task = await generating.task(**wish)
            await recorder.save(name, task["task_id"])


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
            await record_improvements(platform, admin, recorder)
            await record_long_trial(admin, recorder)
            await record_monitoring(platform, admin, recorder)
            await record_known_servers(platform, recorder)
            await record_connections(platform, admin, recorder, Path(folder))
            await record_deployments(platform, admin, recorder)
            await record_deletions(admin, recorder)
            await record_knowledge(admin, recorder)
            await record_syncs(platform, recorder.save, recorder.save_ended)
            await record_merges(platform, admin, recorder.save, recorder.save_ended)
    await record_continuation()
    await record_rollouts()
    async with await dev_server() as environment:
        await record_builds(environment.client)
        await record_authorizations(environment.client)
        await record_cancellations(environment.client, Recorder(environment.client).save)
    with tempfile.TemporaryDirectory() as folder:
        async with await dev_server() as environment:
            await record_generations(Path(folder), environment.client)


if __name__ == "__main__":
    configure_logs(LogSettings(level="critical"))
    asyncio.run(main())
    # The SDK's own threads may crash the interpreter while it ends (sdk-python#300).
    time.sleep(0.05)
