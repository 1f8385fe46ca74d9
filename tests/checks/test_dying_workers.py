"""A worker that dies in the middle of a trial: nothing stays, and another one tries anew."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import psutil
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from mcp_platform.contracts.checks import TrialOrder, TrialOutcome
from mcp_platform.names import Collection, TaskQueue
from mcp_platform.settings import Settings
from storage.stores import open_stores
from tests.checks.asking import TrialWorkflow
from tests.checks.mortal_worker import serve
from tests.deployments.servers import TINY
from tests.migrated import make_schema
from tests.services.temporal import new_namespace
from tests.waiting import eventually

ONCE = """
import os, runpy, sys, time
mark, tiny, word = sys.argv[1:]
if not os.path.exists(mark):
    open(mark, "w").close()
    time.sleep(600)
sys.argv = [tiny, word]
runpy.run_path(tiny, run_name="__main__")
"""
"""Hangs the first time that it is started, and does the next time."""


def running(word: str) -> list[psutil.Process]:
    """Find living processes whose command line has this word."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if word in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


async def worker_process(address: str, namespace: str, folder: Path) -> asyncio.subprocess.Process:
    """Start a worker that can be killed."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.checks.mortal_worker", address, namespace, str(folder), "mortal")
    )


async def test_a_killed_worker_leaves_nothing_and_the_trial_is_done_by_the_next(
    temporal_environment: WorkflowEnvironment, tmp_path: Path
) -> None:
    client = await new_namespace(temporal_environment.client)
    settings, word, task_id = Settings(data_dir=tmp_path), f"w{uuid4().hex}", f"trial-{uuid4()}"
    await make_schema(settings.sql_url)
    server = {
        "name": "once",
        "command": sys.executable,
        "args": ["-c", ONCE, str(tmp_path / "mark"), str(TINY), word],
    }
    async with open_stores(settings) as stores:
        await stores.documents.put(Collection.DRAFTS, f"{task_id}/1", {"servers": [server]})
    order = TrialOrder(task_id=task_id, owner_id=uuid4(), draft_key=f"{task_id}/1", may_run_commands=True)
    address = client.service_client.config.target_host
    async with Worker(client, task_queue=TaskQueue.ORCHESTRATION, workflows=[TrialWorkflow]):
        handle = await client.start_workflow(
            TrialWorkflow.run, order, id=task_id, task_queue=TaskQueue.ORCHESTRATION
        )
        first = await worker_process(address, client.namespace, tmp_path)
        # Three programs start one after the other: the worker, the runner and the server.
        await eventually(lambda: asyncio.to_thread((tmp_path / "mark").exists), within=60.0)
        assert running(word) != []
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
        await eventually(lambda: asyncio.to_thread(running, word), lambda found: not found)
        async with AsyncExitStack() as stack:
            stores = await stack.enter_async_context(open_stores(settings))
            second = asyncio.create_task(serve(settings, client, "mortal", stack, stores))
            report = await handle.result()
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
    assert report.outcome is TrialOutcome.PASSED, report
    assert report.server_info["version"] == word
    assert running(word) == []
