"""Histories of cancellations that come just when something else happens."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol
from uuid import uuid4

from temporalio.client import Client

from mcp_platform.contracts.deployments import RevisionState
from mcp_platform.contracts.improvements import ImprovementOrder, Looked, ServerToTry
from tests.workflows.fleet import becomes_healthy, deployed
from tests.workflows.steps import Steps, answers, goes_on, heedless
from tests.workflows.test_cancellations import ID, PASSED, SYNC, started
from tests.workflows.test_rollouts import is_running, is_settled, roll_out, rollout
from tests.workflows.test_rollouts_called_off import Starts
from tests.workflows.test_rollouts_called_off import heedless as starts_heedlessly
from workflows.deployments import DeploymentWorkflow
from workflows.improvements import ImprovementWorkflow


class Save(Protocol):
    """Writes the history of a run, by the name of the file and the workflow's id."""

    def __call__(self, name: str, workflow_id: str, run_id: str | None = None) -> Awaitable[None]:
        """Write it."""


async def record_cancellations(client: Client, save: Save) -> None:
    """Cancel a trial and call off a roll-out that are done just then; ask for a sync after a cancellation."""
    await _trial(client, save)
    await _sync(client, save)
    await _roll_out(client, save)


async def _trial(client: Client, save: Save) -> None:
    server = ServerToTry(name="main", trusted=True)
    looked = Looked(config_key="c", version="1.0.0", draft_key="d", servers=[server], packages=[])
    steps = Steps({"improvements.look": answers(looked), "checks.try_server": heedless(PASSED)})
    order = ImprovementOrder(task_id=str(uuid4()), mcp_id=ID, owner_id=ID)
    async with steps.running(client, ImprovementWorkflow):
        handle = await started(client, ImprovementWorkflow, order)
        await steps.has_begun("checks.try_server")
        await handle.cancel()
        await asyncio.gather(handle.result(), return_exceptions=True)
        await save("improvements_cancelled_just_when_a_trial_was_done", handle.id)


async def _sync(client: Client, save: Save) -> None:
    asked = asyncio.Event()

    async def record() -> None:
        await asked.wait()

    answering = {name: answers(value) for name, value in SYNC.steps.items()}
    steps = Steps({**answering, SYNC.step: goes_on, "tasks.conclude": record})
    async with steps.running(client, SYNC.workflow):
        handle = await started(client, SYNC.workflow, SYNC.order)
        first = (await handle.describe()).run_id
        await steps.has_begun(SYNC.step)
        await handle.cancel()
        await steps.has_begun("tasks.conclude")
        await handle.signal(SYNC.asking, args=SYNC.asked)
        steps.steps[SYNC.step] = answering[SYNC.step]
        asked.set()
        await handle.result()
        await save("sync_cancelled_and_asked_for_again", handle.id, first)


async def _roll_out(client: Client, save: Save) -> None:
    starts = Starts({(0, 2): starts_heedlessly(becomes_healthy)})
    async with deployed(client, starts.fleet, replicas=2) as deployment:
        await is_running(deployment)
        await roll_out(deployment, rollout())
        await starts.have((0, 2))
        await deployment.execute_update(DeploymentWorkflow.call_off, "somebody")
        await is_settled(deployment, RevisionState.FAILED)
        await deployment.signal(DeploymentWorkflow.stop)
        await deployment.result()
        await save("deployment_called_off_just_when_a_replica_was_healthy", deployment.id)
