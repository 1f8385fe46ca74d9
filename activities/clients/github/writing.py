"""What is written to a repository: files as commits, branches, pull requests, comments and statuses."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final

from mcp_platform.contracts.repositories import CommitOrder, FaultKind, GitHubFault, PullRequest, StatusOrder

if TYPE_CHECKING:
    from github import Github
    from github.Repository import Repository

    from activities.clients.github import GitHub

_BOT: Final = "Bot"
_LONGEST_STATUS: Final = 140
"""Characters of a status' description, which GitHub bounds."""


class Writing:
    """Writes to one repository. Every method raises a `GitHubFault` when GitHub does not do it.

    Args:
        github: As the connection's credential opened it.
        full_name: The repository.
        author: Whose comments are ours: the login of the token's account; None for an App.
    """

    def __init__(self, github: GitHub, full_name: str, author: str | None = None) -> None:
        self._github = github
        self._full_name = full_name
        self._author = author

    async def branch(self, name: str) -> str | None:
        """Read the newest commit of a branch; None when there is no such branch."""
        try:
            return await self._github.branch_head(self._full_name, name)
        except GitHubFault as fault:
            if fault.kind is FaultKind.NOT_FOUND:
                return None
            raise

    async def branches(self, prefix: str) -> list[str]:
        """Name the branches that begin so."""

        def ask(github: Github) -> list[str]:
            found = _repository(github, self._full_name).get_git_matching_refs(f"heads/{prefix}")
            return [each.ref.removeprefix("refs/heads/") for each in found]

        return await self._github.run(ask)

    async def commit(self, order: CommitOrder) -> str:
        """Make a commit on another one, and give its id. No branch leads to it yet."""

        def ask(github: Github) -> str:
            repository = _repository(github, self._full_name)
            parent = repository.get_git_commit(order.parent)
            blob = repository.create_git_blob(order.text, "utf-8")
            element = resolve_name("github:InputGitTreeElement")
            entry = element(order.path, order.mode, "blob", sha=blob.sha)
            tree = repository.create_git_tree([entry], base_tree=parent.tree)
            return repository.create_git_commit(order.message, tree, [parent]).sha

        return await self._github.run(ask, f"commit {order.parent}")

    async def create_branch(self, name: str, commit: str) -> None:
        """Have a new branch lead to a commit."""
        await self._github.run(
            lambda github: _repository(github, self._full_name).create_git_ref(f"refs/heads/{name}", commit)
        )

    async def move_branch(self, name: str, commit: str) -> None:
        """Have a branch lead to a later commit; one that does not follow its present one is refused."""

        def ask(github: Github) -> None:
            found = _repository(github, self._full_name).get_git_ref(f"heads/{name}")
            # Where it is changed is another address than where it is read; the answer says which.
            found.complete()
            found.edit(commit, force=False)

        await self._github.run(ask, f"branch {name!r}")

    async def open_pull_request(self, head: str, base: str) -> tuple[PullRequest, str] | None:
        """Find the open pull request from one branch to another, with its text."""

        def ask(github: Github) -> tuple[PullRequest, str] | None:
            owner = self._full_name.partition("/")[0]
            pulls = _repository(github, self._full_name).get_pulls(
                state="open", head=f"{owner}:{head}", base=base
            )
            for each in pulls:
                return _facts(each), each.body or ""
            return None

        return await self._github.run(ask)

    async def create_pull_request(self, head: str, base: str, title: str, body: str) -> PullRequest:
        """Open a pull request."""
        return await self._github.run(
            lambda github: _facts(
                _repository(github, self._full_name).create_pull(base=base, head=head, title=title, body=body)
            )
        )

    async def describe_pull_request(self, number: int, title: str, body: str) -> None:
        """Give a pull request another title and text."""
        await self._github.run(
            lambda github: _repository(github, self._full_name).get_pull(number).edit(title=title, body=body),
            f"pull request {number}",
        )

    async def close_pull_request(self, number: int) -> None:
        """Close a pull request without a merge."""
        await self._github.run(
            lambda github: _repository(github, self._full_name).get_pull(number).edit(state="closed"),
            f"pull request {number}",
        )

    async def put_comment(self, number: int, marker: str, body: str, *, new: bool = True) -> bool:
        """Have a pull request bear this comment: in place of ours with the same marker, if it has one.

        Args:
            number: Of the pull request.
            marker: What our comment has in it.
            body: The comment.
            new: Whether to write a first one.

        Returns:
            Whether anything was written.
        """

        def ask(github: Github) -> bool:
            pull = _repository(github, self._full_name).get_pull(number)
            for each in pull.get_issue_comments():
                if self._is_ours(each, marker):
                    return _edited(each, body)
            if new:
                pull.create_issue_comment(body)
            return new

        return await self._github.run(ask, f"pull request {number}")

    async def put_commit_comment(self, commit: str, marker: str, body: str, *, new: bool = True) -> bool:
        """Have a commit bear this comment, as `put_comment` does; `new` is whether to write a first one.

        Returns:
            Whether anything was written.
        """

        def ask(github: Github) -> bool:
            found = _repository(github, self._full_name).get_commit(commit)
            for each in found.get_comments():
                if self._is_ours(each, marker):
                    return _edited(each, body)
            if new:
                found.create_comment(body)
            return new

        return await self._github.run(ask, f"commit {commit}")

    async def put_status(self, order: StatusOrder) -> bool:
        """Have a commit bear this status; false where the credential may not write any."""

        def ask(github: Github) -> None:
            _repository(github, self._full_name).get_commit(order.commit).create_status(
                order.state, description=_cut(order.description), context=order.context
            )

        try:
            await self._github.run(ask, f"commit {order.commit}")
        except GitHubFault as fault:
            if fault.kind in {FaultKind.NO_ACCESS, FaultKind.NOT_FOUND, FaultKind.REFUSED}:
                return False
            raise
        return True

    def _is_ours(self, comment: Any, marker: str) -> bool:
        """Tell whether we wrote a comment: anybody can copy the marker."""
        if marker not in (comment.body or "") or comment.user is None:
            return False
        if self._author is None:
            return bool(comment.user.type == _BOT)
        return bool(comment.user.login == self._author)


def _repository(github: Github, full_name: str) -> Repository:
    return github.get_repo(full_name)


def _edited(comment: Any, body: str) -> bool:
    if comment.body == body:
        return False
    comment.edit(body)
    return True


def _facts(found: Any) -> PullRequest:
    facts: PullRequest = resolve_name("activities.clients.github.library:pull_request_facts")(found)
    return facts


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_STATUS else f"{text[: _LONGEST_STATUS - 1]}…"
