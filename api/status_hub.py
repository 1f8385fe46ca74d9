"""Task status for live listeners: one watcher for each watched task, however many listen.

A task's status changes only when its workflow's history grows. So a long poll on the history says
that something happened, one query says what, and the newest revision goes to every listener. An
update or a query of its own for each listener would break down at ten of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError

from api.outbox import Outbox
from api.task_reader import TaskReader, TaskView
from mcp_platform.errors import Unavailable

logger = structlog.get_logger(__name__)

_FIRST_RETRY = 0.2
_LONGEST_RETRY = 5.0
_TELLING = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    }
)


@dataclass
class _Watch:
    """One watched task."""

    outboxes: set[Outbox] = field(default_factory=set)
    last: str | None = None
    """The newest message that was sent, for those who come later."""
    watcher: asyncio.Task[None] | None = None


class StatusHub:
    """Fans the status of tasks out to the listeners of one process."""

    def __init__(self, reader: TaskReader, temporal: Client) -> None:
        self._reader = reader
        self._temporal = temporal
        self._watches: dict[str, _Watch] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Watch while the body runs; no watcher is left at the end."""
        try:
            yield
        finally:
            watchers = [watch.watcher for watch in self._watches.values() if watch.watcher]
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)

    @property
    def watched(self) -> int:
        """How many tasks are watched now."""
        return len(self._watches)

    def subscribe(self, task_id: str, outbox: Outbox) -> None:
        """Tell this listener the task's state at once, and each newer one until it is final."""
        watch = self._watches.get(task_id)
        if watch is None:
            watch = self._watches[task_id] = _Watch()
            watch.watcher = asyncio.create_task(self._watch(task_id, watch))
        watch.outboxes.add(outbox)
        if watch.last:
            outbox.put(task_id, "task_update", watch.last)

    def unsubscribe(self, task_id: str, outbox: Outbox) -> None:
        """Tell this listener no more of the task."""
        watch = self._watches.get(task_id)
        if watch is None:
            return
        watch.outboxes.discard(outbox)
        if not watch.outboxes and watch.watcher:
            watch.watcher.cancel()
            del self._watches[task_id]

    def leave(self, outbox: Outbox) -> None:
        """Tell this listener nothing more."""
        for task_id in [key for key, watch in self._watches.items() if outbox in watch.outboxes]:
            self.unsubscribe(task_id, outbox)

    async def _watch(self, task_id: str, watch: _Watch) -> None:
        delay = _FIRST_RETRY
        while True:
            known = watch.last
            try:
                view = await self._tell(task_id, watch)
                if view is not None and not view.stale and not view.status.final:
                    view = await self._follow(task_id, watch)
                if view is None or view.status.final:
                    break
            except (RPCError, Unavailable) as error:
                logger.info("task_watch_interrupted", task_id=task_id, error=str(error))
            except Exception:
                # A watcher that died would leave its listeners waiting for ever.
                logger.exception("task_watch_failed", task_id=task_id)
            delay = _FIRST_RETRY if watch.last != known else min(delay * 2, _LONGEST_RETRY)
            await asyncio.sleep(delay)
        if self._watches.get(task_id) is watch:
            del self._watches[task_id]

    async def _follow(self, task_id: str, watch: _Watch) -> TaskView | None:
        """Tell each change until the workflow's history ends; the newest state."""
        events = self._temporal.get_workflow_handle(task_id).fetch_history_events(wait_new_event=True)
        while True:
            await events.fetch_next_page()
            ended = not events.next_page_token
            if ended or any(event.event_type in _TELLING for event in events.current_page or []):
                view = await self._tell(task_id, watch)
                if ended or view is None or view.status.final or view.stale:
                    return view

    async def _tell(self, task_id: str, watch: _Watch) -> TaskView | None:
        view = await self._reader.read(task_id)
        if view is None:
            return None
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
