"""Timeouts and retries, each under the name of what it suits."""

from datetime import timedelta

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig

from mcp_platform.names import TaskQueue

_PATIENT = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=5),
)

QUICK = ActivityConfig(start_to_close_timeout=timedelta(seconds=15), retry_policy=_PATIENT)
"""A few reads and writes in our own stores: repeated until the stores are back."""

READING = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=15),
    schedule_to_close_timeout=timedelta(minutes=10),
    retry_policy=_PATIENT,
)
"""A step of an analysis: repeated for a while, so that the task ends whatever the input is."""

THOUGHTFUL = ActivityConfig(
    start_to_close_timeout=timedelta(minutes=2),
    heartbeat_timeout=timedelta(seconds=10),
    schedule_to_close_timeout=timedelta(minutes=10),
    retry_policy=_PATIENT,
)
"""A judgement, by rules or by a model: may be slow, and must not hang for ever."""

_ATTENDED_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=5),
)


def bringing_up(patience: float) -> ActivityConfig:
    """Bound the start of one replica, which may take `patience` seconds until it answers."""
    return ActivityConfig(
        task_queue=TaskQueue.REPLICAS,
        start_to_close_timeout=timedelta(seconds=patience + 60),
        heartbeat_timeout=timedelta(seconds=10),
        # Or a start that was called off could still happen after the replica was taken down.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        retry_policy=_ATTENDED_RETRY,
    )


WATCHING = ActivityConfig(
    task_queue=TaskQueue.REPLICAS,
    # A watch lasts as long as its replica is well; it is begun anew after a month.
    start_to_close_timeout=timedelta(days=30),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=_ATTENDED_RETRY,
)
"""Watching one replica."""

TAKING_DOWN = ActivityConfig(
    task_queue=TaskQueue.REPLICAS,
    start_to_close_timeout=timedelta(seconds=60),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=_ATTENDED_RETRY,
)
"""Ending one replica: repeated until it is gone."""

STOPPING = ActivityConfig(
    start_to_close_timeout=timedelta(minutes=10),
    schedule_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=_PATIENT,
)
"""Waiting for the end of a whole deployment: repeated for a while, so that the task ends."""

RECONCILING = ActivityConfig(
    task_queue=TaskQueue.REPLICAS,
    start_to_close_timeout=timedelta(seconds=55),
    schedule_to_close_timeout=timedelta(minutes=2),
    retry_policy=_PATIENT,
)
"""One comparison of records and truth; the next minute brings the next one."""

SWEEPING = ActivityConfig(
    start_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_attempts=5),
)
"""A walk through all documents; what one day does not manage the next one does."""

SPLITTING = ActivityConfig(start_to_close_timeout=timedelta(minutes=2), retry_policy=_PATIENT)
"""Splitting the longest text there may be, and storing its passages."""

EMBEDDING = ActivityConfig(
    start_to_close_timeout=timedelta(minutes=5),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=500),
        backoff_coefficient=2.0,
        maximum_interval=timedelta(seconds=30),
    ),
)
"""One batch of passages through a model, which may be somebody's server: repeated until it is back.

An attempt for a model that is not configured any more succeeds at once, so that none is repeated for ever.
"""
