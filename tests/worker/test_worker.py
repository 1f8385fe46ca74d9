"""What every worker brings along: its catalogue and its schedules."""

import inspect
from datetime import timedelta
from importlib import import_module
from pkgutil import iter_modules

from temporalio.client import Client, ScheduleActionStartWorkflow

import workflows
from mcp_platform.names import RECONCILE_SCHEDULE, SWEEP_SCHEDULE
from tests.services.temporal import new_namespace
from tests.waiting import eventually
from worker.catalogue import WORKFLOWS
from worker.schedules import ensure_schedules


def test_the_catalogue_lists_every_workflow_that_there_is() -> None:
    found = set()
    for module in iter_modules(workflows.__path__, "workflows."):
        members = inspect.getmembers(import_module(module.name), inspect.isclass)
        found |= {kind for _name, kind in members if hasattr(kind, "__temporal_workflow_definition")}
    assert found == set(WORKFLOWS)


async def test_schedules_are_kept_as_declared_whatever_was_done_by_hand(temporal: Client) -> None:
    client = await new_namespace(temporal)
    await ensure_schedules(client)
    await client.get_schedule_handle(RECONCILE_SCHEDULE).pause()
    await ensure_schedules(client)
    for name, every in ((RECONCILE_SCHEDULE, timedelta(minutes=1)), (SWEEP_SCHEDULE, timedelta(days=1))):
        schedule = (await client.get_schedule_handle(name).describe()).schedule
        assert isinstance(schedule.action, ScheduleActionStartWorkflow)
        assert [interval.every for interval in schedule.spec.intervals] == [every]
        assert not schedule.state.paused


async def test_a_worker_that_starts_has_records_and_truth_compared_at_once(temporal: Client) -> None:
    client = await new_namespace(temporal)
    await ensure_schedules(client)
    handle = client.get_schedule_handle(RECONCILE_SCHEDULE)

    async def begun() -> int:
        return (await handle.describe()).info.num_actions

    await eventually(begun, lambda number: number >= 1, within=10)
