"""Schedules, declared here and made true at each start of a worker."""

import asyncio
from datetime import timedelta
from functools import partial
from itertools import chain, repeat

import structlog
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
from temporalio.service import RPCError, RPCStatusCode

from mcp_platform.names import (
    HEADS_SCHEDULE,
    KNOWN_SERVERS_SCHEDULE,
    RECONCILE_SCHEDULE,
    SWEEP_SCHEDULE,
    TaskQueue,
)
from workflows.github_sync.watching import WatchHeadsWorkflow
from workflows.known import RefreshKnownWorkflow
from workflows.monitoring import ReconcileWorkflow, SweepWorkflow

logger = structlog.get_logger(__name__)

_SCHEDULED = (
    (RECONCILE_SCHEDULE, ReconcileWorkflow, timedelta(minutes=1)),
    (SWEEP_SCHEDULE, SweepWorkflow, timedelta(days=1)),
    (KNOWN_SERVERS_SCHEDULE, RefreshKnownWorkflow, timedelta(days=1)),
    (HEADS_SCHEDULE, WatchHeadsWorkflow, timedelta(minutes=15)),
)

_DELAYS = (0.5, 1, 2, 5, 15)
"""Seconds between tries, while Temporal does not answer."""
_FINAL = {
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.UNIMPLEMENTED,
}


def _schedule(
    name: str,
    workflow: type[ReconcileWorkflow]
    | type[SweepWorkflow]
    | type[RefreshKnownWorkflow]
    | type[WatchHeadsWorkflow],
    every: timedelta,
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


async def keep_schedules(temporal: Client) -> None:
    """Ensure the schedules, as often as it takes.

    Raises:
        RPCError: Temporal refuses, which it would the next time too.
    """
    for delay in chain(_DELAYS, repeat(_DELAYS[-1])):
        try:
            return await ensure_schedules(temporal)
        except RPCError as error:
            if error.status in _FINAL:
                raise
            logger.warning("schedules_not_ensured", error=str(error), again_in=delay)
        await asyncio.sleep(delay)


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
