"""What every worker brings along: its catalogue and its schedules."""

import inspect
from datetime import timedelta
from importlib import import_module
from pkgutil import walk_packages

import pytest
from temporalio.client import (
    Client,
    CreateScheduleInput,
    Interceptor,
    OutboundInterceptor,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
)
from temporalio.service import RPCError, RPCStatusCode

import workflows
from mcp_platform.names import RECONCILE_SCHEDULE, SWEEP_SCHEDULE
from tests.services.temporal import new_namespace
from tests.waiting import eventually
from worker.catalogue import WORKFLOWS
from worker.schedules import ensure_schedules, keep_schedules


def test_the_catalogue_lists_every_workflow_that_there_is() -> None:
    found = set()
    for module in walk_packages(workflows.__path__, "workflows."):
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

    await eventually(begun, lambda number: number >= 1)


class Refusals(Interceptor):
    """Answers the first requests for a schedule with an error; Temporal gets the others."""

    def __init__(self, status: RPCStatusCode, times: int) -> None:
        self.status = status
        self.left = times

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Refusing(next, self)


class _Refusing(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, refusals: Refusals) -> None:
        super().__init__(next)
        self.refusals = refusals

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        if self.refusals.left:
            self.refusals.left -= 1
            raise RPCError("not now", self.refusals.status, b"")
        return await super().create_schedule(input)


def with_refusals(client: Client, refusals: Refusals) -> Client:
    """Give a client to the same Temporal that meets these refusals."""
    config = client.config()
    config["interceptors"] = [refusals]
    return Client(**config)


async def test_schedules_are_asked_for_again_while_temporal_is_away(temporal: Client) -> None:
    client = await new_namespace(temporal)
    refusals = Refusals(RPCStatusCode.UNAVAILABLE, times=2)
    await keep_schedules(with_refusals(client, refusals))
    assert refusals.left == 0
    for name in (RECONCILE_SCHEDULE, SWEEP_SCHEDULE):
        assert (await client.get_schedule_handle(name).describe()).schedule.spec.intervals


async def test_schedules_that_temporal_forbids_end_the_worker_with_its_reason(temporal: Client) -> None:
    refusals = Refusals(RPCStatusCode.PERMISSION_DENIED, times=2)
    with pytest.raises(RPCError, match="not now"):
        await keep_schedules(with_refusals(temporal, refusals))
    assert refusals.left == 1
