"""Looking whether repositories that no webhook tells of have new commits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from temporalio import activity

from activities.github_sync.definitions import is_definition
from activities.github_sync.opening import repository_of
from activities.heartbeat import beating
from mcp_platform.contracts.github import Connection, Definition, SealedConnection
from mcp_platform.contracts.merging import HeadsSeen
from mcp_platform.contracts.repositories import FaultKind, GitHubFault, Tree

if TYPE_CHECKING:
    from activities.clients.github import GitHub, GitHubs
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

TellDrift = Callable[["Stores", UUID], Awaitable[None]]
"""Tells listeners how a connection's repository and the platform stand to each other now."""

_AT_ONCE: Final = 50
_MOST: Final = 2_000
"""Connections of one round; the next one begins where it ended, at the first again."""


class DriftActivities:
    """Compares heads with what is known of them.

    Args:
        stores: Where connections are.
        githubs: Opens repositories.
        tell_drift: Tells listeners.
    """

    def __init__(self, stores: Stores, githubs: GitHubs, tell_drift: TellDrift) -> None:
        self._stores = stores
        self._githubs = githubs
        self._tell_drift = tell_drift

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [self.watch_heads]

    @activity.defn(name="github.watch_heads")
    async def watch_heads(self) -> HeadsSeen:
        """Ask for the head of each branch; where nothing has changed that costs nothing of a rate limit."""
        seen = HeadsSeen()
        async with beating():
            last: UUID | None = None
            while seen.asked < _MOST:
                async with self._stores.read() as rows:
                    some = await rows.connections.watched(last, _AT_ONCE)
                for sealed in some:
                    seen = await self._look(sealed, seen)
                if len(some) < _AT_ONCE:
                    break
                last = some[-1].connection.id
        return seen

    async def _look(self, sealed: SealedConnection, seen: HeadsSeen) -> HeadsSeen:
        """Look at one; a repository that does not answer is no reason to leave out the others."""
        connection = sealed.connection
        try:
            async with self._githubs.opened(sealed) as github:
                facts = await repository_of(github, connection)
                head = await github.branch_head(facts.full_name, connection.branch)
                moved = head != connection.head_commit
                if moved:
                    await self._note(github, connection, facts.full_name, head)
        except GitHubFault as fault:
            # The next round is a quarter of an hour away, and syncs say what a person has to mend.
            limited = fault.kind is FaultKind.RATE_LIMITED
            logger.info("head_not_seen", connection_id=str(connection.id), kind=fault.kind, limited=limited)
            return seen.model_copy(update={"asked": seen.asked + 1, "failed": seen.failed + 1})
        return seen.model_copy(update={"asked": seen.asked + 1, "moved": seen.moved + moved})

    async def _note(self, github: GitHub, connection: Connection, full_name: str, head: str) -> None:
        tree = await github.tree(full_name, head)
        async with self._stores.read() as rows:
            known = await rows.connections.definitions(connection.id)
        changes: dict[str, object] = {"head_commit": head}
        if connection.synced_commit is not None and _same(connection, tree, known):
            # In step with what it was synced with, so in step with this too.
            changes["synced_commit"] = head
        async with self._stores.write() as rows:
            await rows.connections.update(connection.id, datetime.now(UTC), **changes)
        await self._tell_drift(self._stores, connection.id)


def _same(connection: Connection, tree: Tree, known: list[Definition]) -> bool:
    """Tell whether the files of all definitions are as they were, and there are no others."""
    files = {each.path: each.blob for each in tree.entries if is_definition(each.path, connection.path)}
    return files == {each.path: each.blob for each in known if not each.gone}
