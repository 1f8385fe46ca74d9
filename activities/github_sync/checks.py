"""Reading pull requests: which definitions they change, and into what."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from temporalio import activity
from temporalio.common import WorkflowIDConflictPolicy

from activities.github_sync.definitions import (
    LARGEST,
    Read,
    is_definition,
    read_definitions,
    written_entries,
)
from activities.github_sync.ideas import idea_of
from activities.github_sync.opening import Opened, opened
from activities.github_sync.reading import why_unread
from activities.heartbeat import beating
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.merging import (
    ChangedDefinition,
    ChangeKind,
    CheckFound,
    CheckOrder,
    CheckPlan,
    CheckStep,
    PullRequestEvent,
)
from mcp_platform.contracts.repositories import (
    FaultKind,
    GitHubFault,
    PullRequest,
    PullRequestFile,
    TreeEntry,
)
from mcp_platform.contracts.syncing import FoundDefinition, RefusedDefinition
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.differences import Difference, differences
from mcp_platform.names import (
    CHECK_AGAIN,
    CHECK_WORKFLOW,
    Channel,
    Collection,
    TaskQueue,
    check_workflow_id,
)

if TYPE_CHECKING:
    from temporalio.client import Client

    from activities.clients.github import GitHubs
    from storage.stores import Stores

MOST_CHECKED: Final = 20
"""Definitions of a pull request that are judged."""
_MOST_LINES: Final = 60
_LONGEST_LINE: Final = 300
_PATIENCE: Final = timedelta(seconds=10)


class PullRequestActivities:
    """The steps of a check of a pull request; each may be repeated. Nothing of it is ever started.

    Args:
        stores: Where connections are.
        githubs: Opens repositories.
        temporal: Has the workflows that check.
    """

    def __init__(self, stores: Stores, githubs: GitHubs, temporal: Client) -> None:
        self._stores = stores
        self._githubs = githubs
        self._temporal = temporal

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [self.begin, self.reopen, self.read]

    @activity.defn(name="github.begin_check")
    async def begin(self, event: PullRequestEvent) -> None:
        """Start the pull request's workflow, or tell the one that runs that there is a newer head."""
        order = CheckOrder(**event.model_dump())
        await self._reopen(order)
        task_id = check_workflow_id(order.connection_id, order.number)
        await self._temporal.start_workflow(
            CHECK_WORKFLOW,
            order,
            id=task_id,
            task_queue=TaskQueue.ORCHESTRATION,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=CHECK_AGAIN,
            rpc_timeout=_PATIENCE,
        )
        told = Event(type=EventType.TASK_STARTED, owner_id=order.owner_id, data={"task_id": task_id})
        await self._stores.publish(Channel.EVENTS, told)

    @activity.defn(name="github.reopen_check")
    async def reopen(self, order: CheckOrder) -> None:
        """Begin the task anew, for an event that came while the one before was being recorded as done."""
        await self._reopen(order)

    @activity.defn(name="github.read_pull_request")
    async def read(self, step: CheckStep) -> CheckFound:
        """Find which definitions differ between head and base, and keep what is to be judged."""
        async with beating(), opened(self._stores, self._githubs, step.connection_id) as found:
            connection = found.connection
            pull = await found.github.pull_request(connection.full_name, step.number)
            if not pull.open or pull.base_branch != connection.branch:
                return CheckFound(open=False)
            changed = await _Reader(found, pull).changed()
        ideas: dict[int, str] = {}
        definitions: list[ChangedDefinition] = []
        for place, (definition, idea) in enumerate(changed[:MOST_CHECKED]):
            definitions.append(definition)
            if idea is not None:
                ideas[place] = f"{step.task_id}/{pull.head_commit}-{pull.base_commit}-{place}"
                await self._stores.documents.put(Collection.IDEAS, ideas[place], idea)
        fork = (pull.head_repository or "").lower() != connection.full_name.lower()
        plan = CheckPlan(
            head=pull.head_commit,
            fork=fork,
            definitions=definitions,
            more=max(len(changed) - MOST_CHECKED, 0),
        )
        key = f"{step.task_id}/{pull.head_commit}-{pull.base_commit}"
        await self._stores.documents.put(Collection.SYNC_REPORTS, key, plan.model_dump(mode="json"))
        return CheckFound(
            open=True,
            head=pull.head_commit,
            fork=fork,
            key=key,
            ideas=ideas,
        )

    async def _reopen(self, order: CheckOrder) -> None:
        task = TaskRecord(
            task_id=check_workflow_id(order.connection_id, order.number),
            kind=TaskKind.GITHUB_CHECK,
            owner_id=order.owner_id,
            status=TaskState.PENDING,
            message="Queued",
            created_at=datetime.now(UTC),
        )
        async with self._stores.write() as rows:
            await rows.tasks.reopen(task)


@dataclass(frozen=True)
class _Side:
    """A file at the head or at the base."""

    blob: str = ""
    definitions: dict[str, Read] = field(default_factory=dict)
    entries: dict[str, Any] = field(default_factory=dict)
    """What it says of each, valid or not."""

    def wording(self, entry: str) -> Any:
        """Give what is compared where a definition cannot be read."""
        return self.entries.get(entry) if entry else self.blob


class _Reader:
    """Reads one pull request's definitions, before and after."""

    def __init__(self, found: Opened, pull: PullRequest) -> None:
        self._github = found.github
        self._connection = found.connection
        self._pull = pull

    async def changed(self) -> list[tuple[ChangedDefinition, dict[str, Any] | None]]:
        """Give what changes, each with what is to be judged of it."""
        name, below = self._connection.full_name, self._connection.path
        files = [
            file
            for file in await self._github.pull_request_files(name, self._pull.number)
            if is_definition(file.path, below)
            or (file.previous_path and is_definition(file.previous_path, below))
        ]
        if not files:
            return []
        old = await self._entries(self._pull.base_commit)
        new = await self._entries(self._pull.head_commit)
        changed = []
        for file in files[: MOST_CHECKED + 1]:
            before_path = file.previous_path or file.path
            before = await self._side(old.get(before_path))
            here = file.status != "removed" and is_definition(file.path, below)
            after = await self._side(new.get(file.path) if here else None)
            changed += _pairs(file, before, after)
        return changed

    async def _entries(self, commit: str) -> dict[str, TreeEntry]:
        tree = await self._github.tree(self._connection.full_name, commit)
        return {entry.path: entry for entry in tree.entries}

    async def _side(self, file: TreeEntry | None) -> _Side:
        if file is None:
            return _Side()
        if (reason := why_unread(file)) is not None:
            return _Side(file.blob, {"": RefusedDefinition(path=file.path, reason=reason)})
        try:
            content = await self._github.blob(self._connection.full_name, file.blob, LARGEST)
        except GitHubFault as fault:
            if fault.kind is not FaultKind.REFUSED:
                raise
            return _Side(file.blob, {"": RefusedDefinition(path=file.path, reason=fault.message)})
        definitions = {each.entry: each for each in read_definitions(file.path, content)}
        return _Side(file.blob, definitions, written_entries(file.path, content))


def _pairs(
    file: PullRequestFile, base: _Side, head: _Side
) -> list[tuple[ChangedDefinition, dict[str, Any] | None]]:
    found: list[tuple[ChangedDefinition, dict[str, Any] | None]] = []
    before, after = base.definitions, head.definitions
    for entry in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(entry), after.get(entry)
        if new is None:
            assert old is not None
            gone = ChangedDefinition(path=old.path, entry=entry, slug=old.slug, kind=ChangeKind.REMOVED)
            # A file that cannot be read any more says nothing about its entries.
            if not isinstance(after.get(""), RefusedDefinition):
                found.append((gone, None))
        elif isinstance(new, RefusedDefinition):
            refused = ChangedDefinition(
                path=file.path, entry=entry, slug=new.slug, kind=ChangeKind.REFUSED, reason=new.reason
            )
            if old != new or base.wording(entry) != head.wording(entry):
                found.append((refused, None))
        else:
            steps = list(differences(_said(old), _said(new)))
            if not steps:
                continue
            known = isinstance(old, FoundDefinition)
            changed = ChangedDefinition(
                path=file.path,
                entry=entry,
                slug=new.slug,
                kind=ChangeKind.CHANGED if known else ChangeKind.ADDED,
                differences=_lines(steps) if known else [],
            )
            name, description = new.name or new.slug, new.description or ""
            found.append((changed, idea_of(name, description, new.config)))
    return found


def _said(definition: Read | None) -> dict[str, Any]:
    if not isinstance(definition, FoundDefinition):
        return {}
    return definition.model_dump(mode="json", exclude={"path", "entry"}, exclude_none=True)


def _lines(steps: list[Difference]) -> list[str]:
    lines: list[str] = []
    for step in steps:
        if step.op != "add":
            lines.append(f"- {step.path}: {_short(step.old)}")
        if step.op != "remove":
            lines.append(f"+ {step.path}: {_short(step.value)}")
    return (
        lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], f"… {len(lines) - _MOST_LINES} more"]
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
