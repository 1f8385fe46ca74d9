"""What GitHub tells of a repository, and how it fails to."""

from datetime import datetime
from enum import StrEnum

from mcp_platform.contracts.base import Contract, Moment


class FaultKind(StrEnum):
    """Why GitHub did not do what it was asked."""

    NO_SUCH_REPOSITORY = "no_such_repository"
    """There is none, or the credential may not know of it: GitHub does not say which."""
    NO_ACCESS = "no_access"
    """The credential holds, and does not allow this."""
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - the name of a fault
    """The credential does not hold: expired, revoked or never issued."""
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    """It does not answer, or not like GitHub."""
    NOT_FOUND = "not_found"
    """Something in the repository is not there: a branch, a file, a pull request."""
    REFUSED = "refused"
    """It understood and does not want to: an empty repository, a branch that exists, a bad value."""


class GitHubFault(Exception):
    """GitHub did not do what it was asked.

    Args:
        kind: Why.
        message: What is wrong and what would be right, for a person; never a credential.
        reset_at: When a rate limit ends.
    """

    def __init__(self, kind: FaultKind, message: str, reset_at: datetime | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.reset_at = reset_at

    @property
    def passing(self) -> bool:
        """Whether the same question may be answered later, without anybody doing anything."""
        return self.kind in {FaultKind.RATE_LIMITED, FaultKind.UNAVAILABLE}


class RepositoryFacts(Contract):
    """A repository, and what the credential may do there."""

    id: int
    """GitHub's, which stays when the repository is renamed."""
    full_name: str
    """As GitHub spells it; another than was asked for where it was renamed."""
    default_branch: str
    html_url: str
    private: bool
    archived: bool
    may_push: bool
    may_administer: bool


class TreeEntry(Contract):
    """A file of a tree."""

    path: str
    blob: str
    size: int
    mode: str
    """`100644`, `100755`, or `120000` of a symbolic link."""


class Tree(Contract):
    """All files of a repository at a commit; submodules are left out."""

    commit: str
    entries: list[TreeEntry]


class PullRequest(Contract):
    """A pull request."""

    number: int
    title: str
    open: bool
    merged: bool
    base_branch: str
    base_commit: str
    head_branch: str
    head_commit: str
    head_repository: str | None
    """Where its head is: another repository for a fork, None where that was deleted."""
    html_url: str


class PullRequestFile(Contract):
    """A file that a pull request changes."""

    path: str
    status: str
    """`added`, `modified`, `removed` or `renamed`."""
    blob: str | None
    previous_path: str | None = None


class Hook(Contract):
    """A webhook as GitHub has it."""

    id: int
    url: str
    active: bool
    updated_at: Moment | None = None


class CommitOrder(Contract):
    """A commit that changes one file."""

    parent: str
    path: str
    text: str
    mode: str = "100644"
    message: str


class StatusOrder(Contract):
    """What a commit's status is to say."""

    commit: str
    context: str
    state: str
    """`pending`, `success`, `failure` or `error`."""
    description: str
