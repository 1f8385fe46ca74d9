"""A connection's repository, opened for one activity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from temporalio.exceptions import ApplicationError

from activities.github_sync.faults import ANOTHER_REPOSITORY, failure_of
from activities.heartbeat import beating
from mcp_platform.contracts.github import Connection, ConnectionState, CredentialKind
from mcp_platform.contracts.repositories import FaultKind, GitHubFault, RepositoryFacts

if TYPE_CHECKING:
    from activities.clients.github import GitHub, GitHubs
    from activities.clients.github.writing import Writing
    from storage.stores import Stores


@dataclass(frozen=True)
class Opened:
    """A connection with the name that its repository has now, and GitHub as its credential sees it."""

    connection: Connection
    github: GitHub

    async def author(self) -> str | None:
        """Tell whose comments are ours: the account of the token; None for an App."""
        if self.connection.credential is CredentialKind.APP:
            return None
        return await self.github.login()


async def repository_of(github: GitHub, connection: Connection) -> RepositoryFacts:
    """Read a connection's repository, under whichever name it has now.

    Raises:
        GitHubFault: GitHub does not give it, or another repository has taken its name.
    """
    facts = await github.repository(connection.full_name)
    if connection.repository_id not in {None, facts.id}:
        raise GitHubFault(FaultKind.NO_SUCH_REPOSITORY, ANOTHER_REPOSITORY)
    return facts


class WritingActivities:
    """What activities that write to repositories share.

    Args:
        stores: Where connections are.
        githubs: Opens repositories.
        writing: Writes to one.
    """

    def __init__(self, stores: Stores, githubs: GitHubs, writing: type[Writing]) -> None:
        self._stores = stores
        self._githubs = githubs
        self._writing = writing

    @asynccontextmanager
    async def _opened(self, connection_id: UUID) -> AsyncIterator[tuple[Opened, Writing]]:
        """Open a connection's repository to write to it, and beat meanwhile."""
        async with beating(), opened(self._stores, self._githubs, connection_id) as found:
            author = await found.author()
            yield found, self._writing(found.github, found.connection.full_name, author)


@asynccontextmanager
async def opened(stores: Stores, githubs: GitHubs, connection_id: UUID) -> AsyncIterator[Opened]:
    """Open a connection's repository; what GitHub does not do fails the activity, repeated where that helps.

    Raises:
        ApplicationError: The connection is gone, or GitHub does not do what it is asked.
    """
    async with stores.read() as rows:
        sealed = await rows.connections.sealed(connection_id)
    if sealed is None or sealed.connection.state is ConnectionState.DISCONNECTING:
        raise ApplicationError("the repository is not connected any more", type="Gone", non_retryable=True)
    try:
        async with githubs.opened(sealed) as github:
            facts = await repository_of(github, sealed.connection)
            renamed = sealed.connection.model_copy(update={"full_name": facts.full_name})
            yield Opened(renamed, github)
    except GitHubFault as fault:
        raise failure_of(fault) from fault
