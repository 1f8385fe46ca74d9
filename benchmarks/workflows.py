"""What durability costs: the same work as a bare call, as a workflow, and as a task over the API."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.worker import Worker
from websockets.asyncio.client import connect

with workflow.unsafe.imports_passed_through():
    from activities.feasibility_rules import (
        Case,
        RuleAnalyst,
        find_capabilities,
        problems_of,
        server_kinds,
    )
    from benchmarks.servers import Platform
    from benchmarks.tables import show
    from mcp_platform.connection import connect_temporal
    from mcp_platform.contracts.analysis import Idea, IdeaFacts, KnownMcps
    from mcp_platform.settings import TemporalSettings

QUEUE = "bench"
WARM_UP = 10
ONE_BY_ONE = 100
AT_ONCE = 50
CROWD = 500
_IDEA = {"name": "Time zone tool", "description": "Tells the current time in any time zone."}

Work = Callable[[], Awaitable[object]]


@activity.defn(name="bench.echo")
async def echo(text: str) -> str:
    """Return the text."""
    return text


@workflow.defn(name="bench.one_activity")
class OneActivityWorkflow:
    """Run one activity."""

    @workflow.run
    async def run(self, text: str) -> str:
        """Return what the activity returns."""
        return await workflow.execute_activity(echo, text, start_to_close_timeout=timedelta(seconds=30))


async def judge() -> None:
    """Judge the idea by a bare call: what the task's activities compute, without stores or Temporal."""
    idea = Idea.model_validate(_IDEA)
    facts = IdeaFacts(
        idea_key="",
        capabilities=find_capabilities(idea),
        servers=server_kinds(idea),
        problems=problems_of(idea),
        words=len(idea.description.split()),
    )
    await RuleAnalyst().judge(Case(idea=idea, facts=facts, known=KnownMcps(similar=[])))


async def run(platform: Platform) -> None:
    """Measure on the platform's own Temporal server; the first two with a worker of our own."""
    client = await connect_temporal(platform.temporal, TemporalSettings())

    async def one_activity() -> None:
        await client.execute_workflow(OneActivityWorkflow.run, "hello", id=str(uuid4()), task_queue=QUEUE)

    rows = [await _row("bare call of an activity's function", lambda: echo("hello"))]
    async with Worker(client, task_queue=QUEUE, workflows=[OneActivityWorkflow], activities=[echo]):
        rows.append(await _row("workflow with that one activity", one_activity, at_once=AT_ONCE))
    rows.append(await _row("bare call of the feasibility rules", judge))
    rows.append(await _row("GET /api/v1/mcps, for scale", lambda: platform.ask("GET", "/mcps")))
    rows.append(await _row("feasibility task: POST until its WebSocket says completed", _task(platform)))
    show(
        "Durability: one by one, and many at once",
        ["work", "p50", "p95", f"a second, {AT_ONCE} at once"],
        rows,
    )


def _task(platform: Platform) -> Work:
    address = f"{platform.api.replace('http', 'ws', 1)}/ws?token={platform.token}"

    async def work() -> None:
        async with connect(address) as socket:
            task = await platform.ask("POST", "/analyze/feasibility", {"config": _IDEA})
            await socket.send(json.dumps({"type": "subscribe", "task_id": task["task_id"]}))
            async for message in socket:
                if json.loads(message)["status"] == "completed":
                    return

    return work


async def _row(name: str, work: Work, at_once: int = 0) -> list[str]:
    for _ in range(WARM_UP):
        await work()
    cuts = statistics.quantiles([await _timed(work) for _ in range(ONE_BY_ONE)], n=100)
    rate = f"{await _rate(work, at_once):.0f}" if at_once else ""
    return [name, f"{cuts[49]:.3g} ms", f"{cuts[94]:.3g} ms", rate]


async def _timed(work: Work) -> float:
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


async def _rate(work: Work, at_once: int) -> float:
    gate = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with gate:
            await work()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CROWD):
            group.create_task(one())
    return CROWD / (time.perf_counter() - started)
