"""Cancellations that come at the worst moment: none is lost, and none takes with it what comes after it."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from mcp_platform.contracts.checks import TrialOutcome, TrialReport
from mcp_platform.contracts.github import SyncCause, SyncOrder, SyncReport
from mcp_platform.contracts.images import BuildBounds, BuildOrder, BuiltImage, SourceKind
from mcp_platform.contracts.improvements import ImprovementOrder, Looked, ServerToTry
from mcp_platform.contracts.merging import CheckFound, CheckOrder, DeployOrder, MergedPush
from mcp_platform.contracts.syncing import PlanMade, SyncRequest
from mcp_platform.contracts.tasks import TaskState
from mcp_platform.names import CHECK_AGAIN, DEPLOY_PUSH, SYNC_AGAIN, TaskQueue
from tests.services.temporal import new_namespace
from tests.waiting import PATIENCE
from tests.workflows.steps import Step, Steps, answers, goes_on, heedless
from workflows.analysis import FeasibilityWorkflow
from workflows.github_sync.checks import CheckPullRequestWorkflow
from workflows.github_sync.deploying import DeployMergedWorkflow
from workflows.github_sync.syncing import SyncWorkflow
from workflows.images import BuildImageWorkflow
from workflows.improvements import ImprovementWorkflow

ID = uuid4()
PASSED = TrialReport(outcome=TrialOutcome.PASSED)
LACKS_IMAGE = TrialReport(outcome=TrialOutcome.NOT_TRIED, needs_image=True)
BUILT = BuiltImage(image="sha256:0", tag="test:1", source=SourceKind.PYPI, built=True, seconds=1.0)
SYNCED = SyncReport(
    connection_id=ID,
    commit="a" * 40,
    branch="main",
    files=1,
    definitions=[],
    added=0,
    changed=0,
    unchanged=0,
    refused=0,
    removed=0,
)


@dataclass(frozen=True)
class Repeated:
    """A task that is told what else is to be done while it runs."""

    workflow: type
    order: Any
    asking: str
    """The signal that tells it."""
    asked: list[Any]
    step: str
    """The first of its steps that asks GitHub."""
    steps: dict[str, Any]
    """What its steps answer."""


SYNC = Repeated(
    SyncWorkflow,
    SyncOrder(connection_id=ID, owner_id=ID, cause=SyncCause.PUSH),
    SYNC_AGAIN,
    [SyncRequest(cause=SyncCause.REQUEST)],
    "github.read_definitions",
    {"github.read_definitions": PlanMade(commit="a" * 40, to_write=0), "github.finish_sync": SYNCED},
)
PUSH = MergedPush(connection_id=ID, owner_id=ID, commit="a" * 40, mcp_ids=[])
DEPLOY = Repeated(
    DeployMergedWorkflow,
    DeployOrder(connection_id=ID, owner_id=ID, waiting=PUSH),
    DEPLOY_PUSH,
    [PUSH],
    "github.note_deployment",
    {"github.note_deployment": True},
)
CHECK = Repeated(
    CheckPullRequestWorkflow,
    CheckOrder(connection_id=ID, owner_id=ID, number=1),
    CHECK_AGAIN,
    [],
    "github.read_pull_request",
    {"github.read_pull_request": CheckFound(open=False)},
)
each_repeated = pytest.mark.parametrize("task", [SYNC, DEPLOY, CHECK], ids=["sync", "deploy", "check"])


@pytest.fixture
async def client(temporal: Client) -> Client:
    """Give a client of a namespace without workers."""
    return await new_namespace(temporal)


async def started(client: Client, workflow: type, order: Any) -> WorkflowHandle[Any, Any]:
    """Start a task."""
    name = getattr(workflow, "__temporal_workflow_definition").name
    begun = await client.start_workflow(name, order, id=str(uuid4()), task_queue=TaskQueue.ORCHESTRATION)
    # Of the newest run, whichever that is.
    return client.get_workflow_handle(begun.id)


async def ends_cancelled(handle: WorkflowHandle[Any, Any], steps: Steps) -> None:
    """Wait for the end, and see that it is recorded as what it is."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert [outcome.status for outcome in steps.outcomes] == [TaskState.CANCELLED]


@each_repeated
async def test_what_is_asked_for_right_after_a_cancellation_is_done(client: Client, task: Repeated) -> None:
    asked = asyncio.Event()

    async def record() -> None:
        await asked.wait()

    answering = {name: answers(value) for name, value in task.steps.items()}
    steps = Steps({**answering, task.step: goes_on, "tasks.conclude": record})
    async with steps.running(client, task.workflow):
        handle = await started(client, task.workflow, task.order)
        await steps.has_begun(task.step)
        await handle.cancel()
        # The record says so by now, or is about to, and the workflow has not ended.
        await steps.has_begun("tasks.conclude")
        await handle.signal(task.asking, args=task.asked)
        steps.steps[task.step] = answering[task.step]
        asked.set()
        async with asyncio.timeout(PATIENCE):
            await handle.result()
    assert [outcome.status for outcome in steps.outcomes] == [TaskState.CANCELLED, TaskState.COMPLETED]


@each_repeated
async def test_what_was_asked_for_before_a_cancellation_is_cancelled_with_it(
    client: Client, task: Repeated
) -> None:
    steps = Steps({task.step: goes_on})
    async with steps.running(client, task.workflow):
        handle = await started(client, task.workflow, task.order)
        await steps.has_begun(task.step)
        await handle.signal(task.asking, args=task.asked)
        await handle.cancel()
        await ends_cancelled(handle, steps)


async def test_a_check_that_is_cancelled_while_it_judges_is_recorded_so(client: Client) -> None:
    found = CheckFound(open=True, head="a" * 40, key="plan", ideas={0: "idea"})
    steps = Steps({"github.read_pull_request": answers(found), "analysis.understand": goes_on})
    async with steps.running(client, CheckPullRequestWorkflow, FeasibilityWorkflow):
        handle = await started(client, CheckPullRequestWorkflow, CHECK.order)
        await steps.has_begun("analysis.understand")
        await handle.cancel()
        await ends_cancelled(handle, steps)


@pytest.mark.parametrize(
    ("during", "trying"),
    [
        ("checks.try_server", {"checks.try_server": heedless(PASSED)}),
        (
            "images.build_draft",
            {"checks.try_server": answers(LACKS_IMAGE), "images.build_draft": heedless("sha256:0")},
        ),
    ],
)
async def test_a_trial_that_is_done_just_when_its_task_is_cancelled_is_its_last_step(
    client: Client, during: str, trying: dict[str, Step]
) -> None:
    server = ServerToTry(name="main", trusted=True)
    looked = Looked(config_key="c", version="1.0.0", draft_key="d", servers=[server], packages=[])
    steps = Steps({"improvements.look": answers(looked), **trying})
    order = ImprovementOrder(task_id=str(uuid4()), mcp_id=ID, owner_id=ID)
    async with steps.running(client, ImprovementWorkflow):
        handle = await started(client, ImprovementWorkflow, order)
        await steps.has_begun(during)
        await handle.cancel()
        await ends_cancelled(handle, steps)
    assert steps.begun[-2:] == [during, "tasks.conclude"]


async def test_a_build_that_is_done_just_when_it_is_cancelled_is_recorded_as_cancelled(
    client: Client,
) -> None:
    bounds = BuildBounds(timeout=60.0)
    steps = Steps({"images.begin": answers(bounds), "images.build": heedless(BUILT)})
    async with steps.running(client, BuildImageWorkflow):
        order = BuildOrder(deployment_id=ID, revision=1, owner_id=ID)
        handle = await started(client, BuildImageWorkflow, order)
        await steps.has_begun("images.build")
        await handle.cancel()
        await ends_cancelled(handle, steps)
