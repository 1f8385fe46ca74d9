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

_LONGEST_PULL = timedelta(minutes=30)

_ATTENDED_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=5),
)


def bringing_up(patience: float) -> ActivityConfig:
    """Bound the start of one replica, which may take `patience` seconds until it answers."""
    return ActivityConfig(
        task_queue=TaskQueue.REPLICAS,
        # Its image may have to be pulled first, which has a bound of its own.
        start_to_close_timeout=timedelta(seconds=patience) + _LONGEST_PULL,
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

OBSERVING = WATCHING
"""Watching how busy a deployment is: as long as a watch, and repeated like one."""


def taking_down(drain: float) -> ActivityConfig:
    """Bound the end of one replica, whose calls get `drain` seconds to finish: repeated until it is gone."""
    return ActivityConfig(
        task_queue=TaskQueue.REPLICAS,
        start_to_close_timeout=timedelta(seconds=drain + 60),
        heartbeat_timeout=timedelta(seconds=10),
        retry_policy=_ATTENDED_RETRY,
    )


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

REFRESHING_KNOWN = ActivityConfig(
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_attempts=5),
)
"""Reading what is new in a registry of MCP servers, page by page; each page is kept."""

SWEEPING_IMAGES = ActivityConfig(
    task_queue=TaskQueue.BUILDS,
    start_to_close_timeout=timedelta(minutes=30),
    # It waits its turn behind builds; what one day does not manage the next one does.
    schedule_to_close_timeout=timedelta(hours=1),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_attempts=3),
)
"""Removing images that nobody needs."""

REFRESHING = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=60),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2.0, maximum_interval=timedelta(minutes=1)
    ),
)
"""Asking somebody's authorization server: repeated until it is back, and given up when it refuses."""

SPLITTING = ActivityConfig(start_to_close_timeout=timedelta(minutes=2), retry_policy=_PATIENT)
"""Splitting the longest text there may be, and storing its passages."""

READING_REPOSITORY = ActivityConfig(
    # Some thousand files, one request of 15 seconds at most after the other.
    start_to_close_timeout=timedelta(minutes=10),
    schedule_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=500),
        backoff_coefficient=2.0,
        maximum_interval=timedelta(seconds=30),
    ),
)
"""Reading a repository at GitHub: repeated for an hour; while GitHub is away the workflow waits."""

WRITING_REPOSITORY = ActivityConfig(
    # A dozen requests of 15 seconds at most.
    start_to_close_timeout=timedelta(minutes=5),
    # A rate limit lasts an hour at most, and the next attempt waits for its end.
    schedule_to_close_timeout=timedelta(hours=3),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=500),
        backoff_coefficient=2.0,
        maximum_interval=timedelta(seconds=30),
    ),
)
"""Looking at a part of a repository at GitHub, or writing there: repeated until it is back."""

ROLLING_OUT = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=30),
    # Another roll-out may be in the way, and its image has to be built.
    schedule_to_close_timeout=timedelta(hours=2),
    retry_policy=_ATTENDED_RETRY,
)
"""Asking for a roll-out: repeated until the one before has ended."""

SETTLING = ActivityConfig(
    # An image is built and pulled first; each of that has bounds of its own.
    start_to_close_timeout=timedelta(hours=4),
    schedule_to_close_timeout=timedelta(hours=6),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=_ATTENDED_RETRY,
)
"""Waiting for the end of a roll-out."""

ASKING = ActivityConfig(
    task_queue=TaskQueue.MODELS,
    # An attempt may ask every model of the chain, and each of them for repairs; the settings bound it well
    # below this. What a provider makes us wait for lies between attempts.
    start_to_close_timeout=timedelta(minutes=30),
    schedule_to_close_timeout=timedelta(minutes=40),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=_PATIENT,
)
"""A question to a model, and what it takes to get a valid answer."""

FETCHING = ActivityConfig(
    start_to_close_timeout=timedelta(minutes=4),
    schedule_to_close_timeout=timedelta(minutes=15),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=_PATIENT,
)
"""Getting the files of somebody's repository, and reading what they say."""

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


def building(timeout: timedelta) -> ActivityConfig:
    """Bound the build of an image, which the worker's settings allow so much time.

    An engine that is away, and a worker that ends, are waited for; a build that fails is not repeated.
    """
    return ActivityConfig(
        task_queue=TaskQueue.BUILDS,
        start_to_close_timeout=timeout + timedelta(minutes=1),
        heartbeat_timeout=timedelta(seconds=10),
        # Or the task would say that it is cancelled while the engine still works on it.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1),
            backoff_coefficient=2.0,
            maximum_interval=timedelta(seconds=30),
            maximum_attempts=20,
        ),
    )


def trying(patience: float) -> ActivityConfig:
    """Bound the trial of one server, which may take `patience` seconds until it lists its tools.

    A server that ends the worker is not tried for ever.
    """
    return ActivityConfig(
        task_queue=TaskQueue.REPLICAS,
        # It waits its turn, its image may have to be pulled, and it is removed.
        start_to_close_timeout=timedelta(seconds=patience) + timedelta(minutes=10),
        schedule_to_close_timeout=timedelta(seconds=patience) + timedelta(minutes=20),
        heartbeat_timeout=timedelta(seconds=10),
        # Or the task would say that it is cancelled while the server still runs.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(milliseconds=500),
            backoff_coefficient=1.5,
            maximum_interval=timedelta(seconds=5),
            maximum_attempts=3,
        ),
    )


_FEW = RetryPolicy(initial_interval=timedelta(milliseconds=500), backoff_coefficient=2.0, maximum_attempts=4)

CONNECTING = ActivityConfig(
    # Three requests of 15 seconds at most; somebody waits for it.
    start_to_close_timeout=timedelta(seconds=46),
    schedule_to_close_timeout=timedelta(seconds=50),
    heartbeat_timeout=timedelta(seconds=10),
    # Or a webhook could still be made after it was taken back.
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry_policy=_FEW,
)
"""Asking GitHub for what somebody connects."""

LEAVING = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=50),
    schedule_to_close_timeout=timedelta(minutes=2),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=_FEW,
)
"""Removing what is ours at GitHub: tried a few times, for the token must not stay."""


BUILDING_DRAFT = ActivityConfig(
    task_queue=TaskQueue.BUILDS,
    start_to_close_timeout=timedelta(minutes=20),
    # It waits its turn behind other builds; a task must end all the same.
    schedule_to_close_timeout=timedelta(minutes=40),
    heartbeat_timeout=timedelta(seconds=10),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
)
"""Building the image of a server that is tried once, and may well not be buildable."""
