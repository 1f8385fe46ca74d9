"""GitHub, GitHub.com or an Enterprise server, as the credential of a connection sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final, TypeVar

from activities.finishing import to_its_end
from mcp_platform.contracts.github import CredentialKind, SealedConnection, connection_purpose
from mcp_platform.contracts.repositories import (
    FaultKind,
    GitHubFault,
    Hook,
    PullRequest,
    PullRequestFile,
    RepositoryFacts,
    Tree,
)
from mcp_platform.github_settings import GitHubSettings
from mcp_platform.security.sealing import CannotUnseal, Sealer

if TYPE_CHECKING:  # slow to import, and of no use before a connection is
    from github import Github

T = TypeVar("T")

_LIBRARY: Final = "activities.clients.github.library"


class GitHubs:
    """Opens GitHub for connections.

    Args:
        settings: The App's, and which servers may be asked.
        sealer: Opens the tokens.
    """

    def __init__(self, settings: GitHubSettings, sealer: Sealer) -> None:
        self._settings = settings
        self._sealer = sealer

    @asynccontextmanager
    async def opened(self, sealed: SealedConnection) -> AsyncIterator[GitHub]:
        """Open GitHub with a connection's credential, and close it again.

        Raises:
            GitHubFault: The credential cannot be used; or whatever is asked meanwhile is not done.
        """
        connection = sealed.connection
        library = await asyncio.to_thread(resolve_name, _LIBRARY)
        if not self._settings.allows(connection.api_url):
            reason = (
                "The platform does not connect to this GitHub (any more); an administrator names its host"
            )
            raise GitHubFault(FaultKind.NO_ACCESS, reason)
        renewing: Callable[[], Github] | None = None
        if connection.credential is CredentialKind.APP:
            opening = renewing = self._installation(library, connection.api_url, connection.installation_id)
        else:
            token = self._token(sealed)
            opening = lambda: library.open_token(connection.api_url, token)  # noqa: E731
        github = GitHub(await asyncio.to_thread(opening), library, renewing)
        try:
            yield github
        finally:
            await github.close()

    def _token(self, sealed: SealedConnection) -> str:
        try:
            if sealed.sealed_token is None:
                raise CannotUnseal("there is none")
            purpose = connection_purpose(sealed.connection.id, "token")
            return self._sealer.unseal(sealed.sealed_token, purpose).decode()
        except CannotUnseal:
            reason = "The stored token cannot be opened: give a new one by PATCH"
            raise GitHubFault(FaultKind.TOKEN_EXPIRED, reason) from None

    def _installation(self, library: Any, api_url: str, installation_id: int | None) -> Callable[[], Github]:
        own = self._settings

        def opening() -> Github:
            key = own.app_key()
            if own.app_id is None or key is None or api_url != own.app_api_url:
                reason = "The platform has no GitHub App there; an administrator sets its id and private key"
                raise GitHubFault(FaultKind.NO_ACCESS, reason)
            opened: Github = library.open_installation(api_url, own.app_id, key, installation_id)
            return opened

        return opening


class GitHub:
    """One GitHub, asked one question at a time: so GitHub wants it, and PyGithub needs it.

    Every method raises a `GitHubFault` when GitHub does not do what it is asked.

    Args:
        github: As the credential opened it.
        library: What asks through it.
        renewing: Opens it anew, where the credential is one that ends by itself and can be had again.
    """

    def __init__(self, github: Github, library: Any, renewing: Callable[[], Github] | None = None) -> None:
        self._github = github
        self._library = library
        self._renewing = renewing
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections to it."""
        await to_its_end(asyncio.to_thread(self._github.close))

    async def run(self, question: Callable[[Github], T], subject: str | None = None) -> T:
        """Ask something through PyGithub, in a thread.

        Args:
            question: Calls PyGithub.
            subject: What a 404 says is not there, such as `branch 'main'`; None for the repository.
        """
        async with self._turn:
            try:
                return await self._ask(question, subject)
            except GitHubFault as fault:
                if fault.kind is not FaultKind.TOKEN_EXPIRED or self._renewing is None:
                    raise
            # An installation's token has ended: what was asked was not done, and is asked with a new one.
            old, self._github = self._github, await asyncio.to_thread(self._renewing)
            await to_its_end(asyncio.to_thread(old.close))
            return await self._ask(question, subject)

    async def _ask(self, question: Callable[[Github], T], subject: str | None) -> T:
        # A thread cannot be stopped: whoever takes back what it does, or closes what it asks through, has
        # to come after it.
        answer: T = await to_its_end(
            asyncio.to_thread(self._library.asked, lambda: question(self._github), subject)
        )
        return answer

    async def login(self) -> str:
        """Tell whose token it is; an installation of an App has no account."""
        return await self.run(self._library.login)

    async def repository(self, full_name: str) -> RepositoryFacts:
        """Read a repository, and what the credential may do there."""
        return await self.run(lambda github: self._library.facts(github, full_name))

    async def branch_head(self, full_name: str, branch: str) -> str:
        """Read the newest commit of a branch: `NOT_FOUND` is that of the branch, not of the repository."""
        try:
            return await self.run(
                lambda github: self._library.branch_head(github, full_name, branch), f"branch {branch!r}"
            )
        except GitHubFault as fault:
            if fault.kind is FaultKind.NOT_FOUND:
                await self.repository(full_name)
            raise

    async def tree(self, full_name: str, commit: str) -> Tree:
        """Read all files at a commit, however many they are."""
        return await self.run(
            lambda github: self._library.tree(github, full_name, commit), f"commit {commit}"
        )

    async def blob(self, full_name: str, sha: str, largest: int) -> bytes:
        """Read a file's content, of at most so many bytes; a larger one is `REFUSED`."""
        return await self.run(
            lambda github: self._library.blob(github, full_name, sha, largest), f"blob {sha}"
        )

    async def pull_request(self, full_name: str, number: int) -> PullRequest:
        """Read a pull request."""
        return await self.run(
            lambda github: self._library.pull_request(github, full_name, number), f"pull request {number}"
        )

    async def pull_request_files(self, full_name: str, number: int) -> list[PullRequestFile]:
        """Read what a pull request changes."""
        return await self.run(
            lambda github: self._library.pull_request_files(github, full_name, number),
            f"pull request {number}",
        )

    async def hooks(self, full_name: str) -> list[Hook]:
        """List a repository's webhooks; only who administers it may."""
        return await self.run(lambda github: self._library.hooks(github, full_name))

    async def ensure_hook(self, full_name: str, url: str, secret: str) -> int:
        """Have GitHub tell this address of pushes and pull requests; the webhook's id."""
        return await self.run(lambda github: self._library.ensure_hook(github, full_name, url, secret))

    async def delete_hooks(self, full_name: str, url: str) -> int:
        """Remove the webhooks to this address; finding none is success."""
        return await self.run(lambda github: self._library.delete_hooks(github, full_name, url))
