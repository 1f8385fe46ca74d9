"""Schedules, declared here and made true at each start of a worker."""

from datetime import timedelta
from functools import partial

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from mcp_platform.names import RECONCILE_SCHEDULE, SWEEP_SCHEDULE, TaskQueue
from workflows.monitoring import ReconcileWorkflow, SweepWorkflow

_SCHEDULED = (
    (RECONCILE_SCHEDULE, ReconcileWorkflow, timedelta(minutes=1)),
    (SWEEP_SCHEDULE, SweepWorkflow, timedelta(days=1)),
)


def _schedule(
    name: str, workflow: type[ReconcileWorkflow] | type[SweepWorkflow], every: timedelta
) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            workflow.run,
            id=name,
            task_queue=TaskQueue.ORCHESTRATION,
            execution_timeout=timedelta(hours=2),
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP,
            # After an outage one run is enough.
            catchup_window=timedelta(minutes=1),
        ),
    )


async def ensure_schedules(temporal: Client) -> None:
    """Create the schedules, or bring existing ones up to date, and run each once now."""
    for name, workflow, every in _SCHEDULED:
        schedule = _schedule(name, workflow, every)
        try:
            await temporal.create_schedule(name, schedule, trigger_immediately=True)
        except ScheduleAlreadyRunningError:
            handle = temporal.get_schedule_handle(name)
            await handle.update(partial(_replaced_by, schedule))
            await handle.trigger()


def _replaced_by(schedule: Schedule, _known: ScheduleUpdateInput) -> ScheduleUpdate:
    return ScheduleUpdate(schedule=schedule)
