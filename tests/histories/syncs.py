"""Histories of syncs with repositories, and of deliveries of webhooks."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from mcp_platform.contracts.github import Delivery
from mcp_platform.names import TaskQueue
from tests.github.double import GitHubDouble
from tests.github.syncs import Bound, bind, own, servers
from tests.platform import RunningPlatform
from tests.waiting import eventually
from workflows.github_sync.deliveries import DeliveryWorkflow

Save = Callable[[str, str], Awaitable[None]]
"""Writes the history of a workflow, by the name of the file and the id."""


async def record_syncs(platform: RunningPlatform, save: Save, save_ended: Save) -> None:
    """Add, change and refuse; run once more; wait for a rate limit and be cancelled; fail; hear of a push."""
    with tempfile.TemporaryDirectory() as folder:
        async with GitHubDouble(Path(folder)).running() as github:
            bound = await bind(platform, github, {"mcp.json": own("synced"), ".mcp.json": servers("a", "b")})
            await bound.sync()
            await save_ended("sync_added", bound.task_id)
            await _again(bound, github)
            await save_ended("sync_asked_for_again", bound.task_id)

            github.use_up(3000)
            await bound.ask()
            await eventually(
                lambda: bound.caller.task_is(bound.task_id, "running"), lambda seen: "rate" in seen["message"]
            )
            await bound.caller.post(f"/api/v1/tasks/{bound.task_id}/cancel")
            await save_ended("sync_cancelled_at_a_rate_limit", bound.task_id)
            github.behave()

            await bound.repository.set_branch("main", None)
            await bound.ask()
            await save_ended("sync_failed", bound.task_id)
            await _delivery(bound, save)


async def _again(bound: Bound, github: GitHubDouble) -> None:
    """Ask for a sync while one reads."""
    await bound.repository.commit({"mcp.json": own("synced", "npx"), "b/mcp.json": own("a")})
    slow = github.misbehave(delay=1.0, path="/git/blobs/", times=1)
    await bound.ask()
    await eventually(lambda: asyncio.sleep(0.02, slow.times), lambda left: left == 0)
    await bound.ask()
    await bound.caller.task_is(bound.task_id, "completed")


async def _delivery(bound: Bound, save: Save) -> None:
    connection = bound.sealed.connection
    temporal = bound.platform.parts.temporal
    whose = {connection.id: connection.owner_id}
    deliveries = {
        "delivery_of_a_push": Delivery(
            delivery_id=str(uuid4()), event="push", connections=whose, ref="main", commit="a" * 40
        ),
        "delivery_about_the_app": Delivery(
            delivery_id=str(uuid4()), event="installation", connections=whose, action="unsuspend"
        ),
    }
    for name, delivery in deliveries.items():
        await temporal.execute_workflow(
            DeliveryWorkflow.run, delivery, id=name, task_queue=TaskQueue.ORCHESTRATION
        )
        await save(name, name)
