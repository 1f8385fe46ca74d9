"""A trial that takes long says so, again and again, and until when."""

import re
from typing import Any
from uuid import uuid4

from temporalio import workflow
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from mcp_platform.contracts.checks import TrialOrder
    from mcp_platform.names import Collection
    from tests.deployments.servers import NEVER_SPEAKS
    from tests.platform import RunningPlatform
    from tests.waiting import eventually
    from workflows.checks import Shown, try_server


@workflow.defn(name="tests.shown_trial")
class ShownTrialWorkflow:
    """Tries one server, and keeps what was said meanwhile."""

    @workflow.run
    async def run(self, order: TrialOrder) -> list[tuple[int, str]]:
        """Answer with what was said."""
        said: list[tuple[int, str]] = []
        shown = Shown(lambda progress, message: said.append((progress, message)), "the server quiet", 40, 60)
        await try_server(order, shown)
        return said


async def test_a_server_that_hangs_in_a_trial_is_told_with_the_time_it_has(platform: RunningPlatform) -> None:
    client, queue, task_id = platform.parts.temporal, f"tests-{uuid4()}", f"trial-{uuid4()}"
    config = {"servers": [NEVER_SPEAKS]}
    await platform.parts.stores.documents.put(Collection.DRAFTS, f"{task_id}/1", config)
    order = TrialOrder(
        task_id=task_id, owner_id=uuid4(), draft_key=f"{task_id}/1", may_run_commands=True, patience=6.0
    )
    async with Worker(client, task_queue=queue, workflows=[ShownTrialWorkflow]):
        said = await client.execute_workflow(ShownTrialWorkflow.run, order, id=task_id, task_queue=queue)
    (first, begun), *later = said
    assert (first, begun) == (40, "Trying the server quiet")
    told = r"Trying the server quiet: \d+ s so far; it has at most until \d\d:\d\d:\d\d UTC"
    # Where the processor is busy, some come after that.
    assert any(re.fullmatch(told, message) for _, message in later), later
    progress = [each for each, _ in said]
    assert progress == sorted(progress)
    assert 40 < progress[-1] < 60


async def test_the_task_of_a_feasibility_goes_on_while_a_server_hangs(platform: RunningPlatform) -> None:
    admin = await platform.admin()
    idea = {"name": "Quiet", "description": "Says nothing at all, for ever", "servers": [NEVER_SPEAKS]}
    answer = await admin.post("/api/v1/analyze/feasibility", json={"config": idea, "engine": "rules"})
    path = f"/api/v1/tasks/{answer.json()['task_id']}"

    async def read() -> dict[str, Any]:
        task: dict[str, Any] = (await admin.get(path)).json()
        return task

    task = await eventually(read, lambda seen: "s so far; it has at most until" in seen["message"])
    assert task["message"].startswith("Trying the server ")
    assert 45 < task["progress"] < 65
    assert (await admin.post(f"{path}/cancel")).status_code == 202
    await eventually(read, lambda seen: seen["status"] == "cancelled")
