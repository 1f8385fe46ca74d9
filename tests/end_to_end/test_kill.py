"""An embedded platform that is killed, again and again: after each restart everything is true."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from tests.deployments.servers import IGNORES_SIGTERM, NEVER_SPEAKS, TIME
from tests.end_to_end.programs import (
    Platform,
    answers,
    instance_of,
    replicas_of,
    state_is_true,
    temporal_of,
)
from tests.platform import Caller
from tests.waiting import eventually

TASKS = 40

pytestmark = pytest.mark.timeout(300)
"""A start alone may take as long as the programs' patience."""


@pytest.fixture(scope="module")
async def mortal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Give the platform that these tests kill; each leaves it running."""
    platform = Platform(tmp_path_factory.mktemp("mortal") / "data")
    await platform.start()
    yield platform
    await platform.close()


@pytest.fixture
async def admin(mortal: Platform) -> AsyncIterator[Caller]:
    """Give the administrator, whose deployments are stopped after the test."""
    await mortal.restore()
    caller = await mortal.admin()
    yield caller
    await mortal.restore()
    for entry in (await caller.get("/api/v1/deployments")).json()["deployments"]:
        await caller.delete(f"/api/v1/deployments/{entry['deployment_id']}")


@pytest.fixture
def instance(mortal: Platform) -> str:
    """Give the mark of the platform's processes."""
    return instance_of(mortal.data_dir)


async def replicas_appear(instance: str, count: int) -> None:
    """Wait until processes of so many replicas live."""

    async def seen() -> int:
        return len(await asyncio.to_thread(replicas_of, instance))

    await eventually(seen, lambda living: living == count)


async def test_killed_while_replicas_start_each_wished_one_runs_once_after_the_restart(
    mortal: Platform, admin: Caller, instance: str
) -> None:
    slug = (await admin.deploy(TIME, replicas=2))["slug"]
    await replicas_appear(instance, 2)
    await mortal.kill()
    await mortal.start()
    await state_is_true(admin, instance, [slug])


async def test_killed_right_after_a_deployment_was_accepted_it_comes_up_after_the_restart(
    mortal: Platform, admin: Caller, instance: str
) -> None:
    slug = (await admin.deploy(TIME))["slug"]
    await mortal.kill()
    await mortal.start()
    await state_is_true(admin, instance, [slug])


async def test_killed_twice_while_replicas_run_they_come_back_by_themselves(
    mortal: Platform, admin: Caller, instance: str
) -> None:
    started = await admin.deploy(TIME, replicas=2)
    odd = await admin.deploy(IGNORES_SIGTERM)
    await state_is_true(admin, instance, [started["slug"], odd["slug"]])
    await mortal.kill()
    # The second time while it is starting: it may be anywhere.
    await mortal.begin()
    await eventually(lambda: asyncio.to_thread(temporal_of, mortal.data_dir))
    await mortal.kill()
    await mortal.start()
    await state_is_true(admin, instance, [started["slug"], odd["slug"]])
    details = await admin.deployment(started["deployment_id"])
    # Once, or twice where the second kill came as late as that.
    assert {replica["restarts"] for replica in details["replicas"]} <= {1, 2}


async def test_killed_while_tasks_run_each_task_ends_completed(mortal: Platform, admin: Caller) -> None:
    tasks = await asyncio.gather(*(admin.start_analysis(f"Reads file {number}") for number in range(TASKS)))
    await mortal.kill()
    await mortal.start()
    ended = await asyncio.gather(*(admin.task_is(task, "completed", "failed") for task in tasks))
    assert [task["status"] for task in ended] == ["completed"] * TASKS
    assert {task["result"]["engine"] for task in ended} == {"rules"}
    assert {task["progress"] for task in ended} == {100}


@pytest.mark.parametrize("server", [IGNORES_SIGTERM, NEVER_SPEAKS], ids=["running", "starting"])
async def test_killed_while_a_deployment_stops_it_is_stopped_after_the_restart(
    mortal: Platform, admin: Caller, instance: str, server: dict[str, object]
) -> None:
    started = await admin.deploy(server)
    await replicas_appear(instance, 1)
    path = f"/api/v1/deployments/{started['deployment_id']}"
    stopping = asyncio.create_task(admin.delete(path))
    await admin.deployment_is(started["deployment_id"], "stopping", "stopped")
    await mortal.kill()
    await asyncio.gather(stopping, return_exceptions=True)
    await mortal.start()
    stopped = await admin.deployment_is(started["deployment_id"], "stopped")
    assert stopped["stopped_at"]
    assert stopped["replicas"] == []
    assert not replicas_of(instance)
    assert (await admin.delete(path)).status_code == 200


async def test_temporal_killed_during_a_deployment_and_tasks_comes_back_and_all_is_done(
    mortal: Platform, admin: Caller, instance: str
) -> None:
    slug = (await admin.deploy(TIME, replicas=2))["slug"]
    tasks = await asyncio.gather(*(admin.start_analysis() for _ in range(TASKS)))
    before = await only_temporal(mortal)
    os.kill(before, signal.SIGKILL)
    after = await eventually(lambda: only_temporal(mortal), lambda pid: pid not in {0, before})
    await state_is_true(admin, instance, [slug])
    ended = await asyncio.gather(*(admin.task_is(task, "completed", "failed") for task in tasks))
    assert [task["status"] for task in ended] == ["completed"] * TASKS

    # And once more while nothing happens: calls do not need it, and replicas stay as they are.
    running = {process.pid for found in replicas_of(instance).values() for process in found}
    os.kill(after, signal.SIGKILL)
    await answers(admin, slug, times=10)
    await eventually(lambda: only_temporal(mortal), lambda pid: pid not in {0, after})
    await eventually(lambda: health(admin), lambda status: status == 200)
    await state_is_true(admin, instance, [slug])
    assert {process.pid for found in replicas_of(instance).values() for process in found} == running


async def only_temporal(platform: Platform) -> int:
    """Give the process id of the platform's one Temporal server; 0 while there is none."""
    found = await asyncio.to_thread(temporal_of, platform.data_dir)
    assert len(found) <= 1
    return found[0].pid if found else 0


async def health(caller: Caller) -> int:
    """Give the status of the platform's health."""
    return (await caller.get("/health")).status_code
