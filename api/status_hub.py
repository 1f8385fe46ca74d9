"""Task status for live listeners: one watcher for each watched task, however many listen.

A task's status changes only when its workflow's history grows. So a long poll on the history says
that something happened, one query says what, and the newest revision goes to every listener. An
update or a query of its own for each listener would break down at ten of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError

from api.outbox import Outbox
from api.task_reader import TaskReader, TaskView
from mcp_platform.contracts.tasks import TaskRecord
from mcp_platform.errors import Unavailable

logger = structlog.get_logger(__name__)

_FIRST_RETRY = 0.2
_LONGEST_RETRY = 5.0
_CLOSING = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    }
)
_TELLING = _CLOSING | {EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED}


@dataclass
class _Watch:
    """One watched task."""

    outboxes: set[Outbox] = field(default_factory=set)
    record: TaskRecord | None = None
    shown: TaskView | None = None
    """The newest state that was told."""
    last: str | None = None
    """The newest message that was sent, for those who come later."""
    watcher: asyncio.Task[None] | None = None


class StatusHub:
    """Fans the status of tasks out to the listeners of one process."""

    def __init__(self, reader: TaskReader, temporal: Client) -> None:
        self._reader = reader
        self._temporal = temporal
        self._watches: dict[str, _Watch] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        """Those that run, with those that were told to end and have not ended yet."""
        self._behind: dict[str, float] = {}
        """Since when the news of some tasks cannot be had."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Watch while the body runs; no watcher is left at the end."""
        try:
            yield
        finally:
            for watch in self._watches.values():
                if watch.watcher:
                    watch.watcher.cancel()
            await asyncio.gather(*self._watchers, return_exceptions=True)

    @property
    def watched(self) -> int:
        """How many tasks are watched now."""
        return len(self._watches)

    @property
    def behind_since(self) -> float | None:
        """The moment up to which the news of all watched tasks was told; None: up to now."""
        return min(self._behind.values(), default=None)

    def subscribe(self, task_id: str, outbox: Outbox) -> None:
        """Tell this listener the task's state at once, and each newer one until it is final."""
        watch = self._watches.get(task_id)
        if watch is None:
            watch = self._watches[task_id] = _Watch()
            watch.watcher = asyncio.create_task(self._watch(task_id, watch))
            self._watchers.add(watch.watcher)
            watch.watcher.add_done_callback(self._watchers.discard)
        watch.outboxes.add(outbox)
        outbox.watched.add(task_id)
        if watch.last:
            outbox.put(task_id, "task_update", watch.last)

    def unsubscribe(self, task_id: str, outbox: Outbox) -> None:
        """Tell this listener no more of the task."""
        watch = self._watches.get(task_id)
        if watch is None:
            return
        watch.outboxes.discard(outbox)
        outbox.watched.discard(task_id)
        if not watch.outboxes and watch.watcher:
            watch.watcher.cancel()
            del self._watches[task_id]
            self._behind.pop(task_id, None)

    def leave(self, outbox: Outbox) -> None:
        """Tell this listener nothing more."""
        for task_id in list(outbox.watched):
            self.unsubscribe(task_id, outbox)

    async def _watch(self, task_id: str, watch: _Watch) -> None:
        delay = _FIRST_RETRY
        while True:
            known = watch.last
            try:
                view = await self._tell(task_id, watch)
                self._behind.pop(task_id, None)
                if view is not None and not view.stale and not view.status.final:
                    view = await self._follow(task_id, watch)
                if view is None or view.status.final:
                    break
            except (RPCError, Unavailable) as error:
                logger.info("task_watch_interrupted", task_id=task_id, error=str(error))
                self._behind.setdefault(task_id, time.time())
            except Exception:
                # A watcher that died would leave its listeners waiting for ever.
                logger.exception("task_watch_failed", task_id=task_id)
                self._behind.setdefault(task_id, time.time())
            delay = _FIRST_RETRY if watch.last != known else min(delay * 2, _LONGEST_RETRY)
            await asyncio.sleep(delay)
        if self._watches.get(task_id) is watch:
            del self._watches[task_id]
            for outbox in watch.outboxes:
                outbox.watched.discard(task_id)

    async def _follow(self, task_id: str, watch: _Watch) -> TaskView | None:
        """Tell each change until the workflow's history ends; the newest state."""
        events = self._temporal.get_workflow_handle(task_id).fetch_history_events(wait_new_event=True)
        while True:
            await events.fetch_next_page()
            ended = not events.next_page_token
            types = {event.event_type for event in events.current_page or []}
            if ended or types & _TELLING:
                view = await self._tell(task_id, watch, running=not (ended or types & _CLOSING))
                if ended or view is None or view.status.final or view.stale:
                    return view

    async def _tell(self, task_id: str, watch: _Watch, *, running: bool = False) -> TaskView | None:
        if watch.record is None or not running:
            watch.record = await self._reader.find(task_id)
        if watch.record is None:
            return None
        view = await self._reader.view(watch.record, running=running)
        if view.stale and watch.shown is not None:
            # What was told before is newer than the record, which follows the workflow.
            view = watch.shown.model_copy(update={"stale": True})
        else:
            watch.shown = view
        message = render_update(view)
        if message != watch.last:
            watch.last = message
            for outbox in watch.outboxes:
                outbox.put(task_id, "task_update", message)
        return view


def render_update(view: TaskView) -> str:
    """Give the `task_update` message, as JSON text; fields that do not apply are left out."""
    body = view.model_dump_json(exclude={"created_at", "completed_at", "kind"}, exclude_none=True)
    return '{"type":"task_update",' + body[1:]
