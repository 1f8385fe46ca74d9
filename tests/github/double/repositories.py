"""What the double knows of a repository beside what Git does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from tests.github.double.git import Git

_NUMBERS = count(1000)


def moment() -> str:
    """Give the present time as GitHub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pull:
    """A pull request: which branch is to go into which."""

    number: int
    title: str
    body: str
    head: str
    base: str
    state: str = "open"
    merged: bool = False
    merge_base: str | None = None
    """Kept when it is merged."""
    head_commit: str | None = None


@dataclass
class Repository:
    """A repository. Whoever has a right there is in `rights`, by name: `pull`, `push` or `admin`."""

    owner: str
    name: str
    folder: Path
    address: str
    """Where the double answers."""
    private: bool = True
    default_branch: str = "main"
    archived: bool = False
    number: int = field(default_factory=lambda: next(_NUMBERS))
    rights: dict[str, str] = field(default_factory=dict)
    hooks: dict[int, dict[str, Any]] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    truncate_above: int = 100_000
    """A recursive tree of more entries is cut off."""
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Of pull requests and of commits, by their numbers; `on` says which."""
    statuses: list[dict[str, Any]] = field(default_factory=list)
    """Of commits, in the order in which they were written."""
    protected: str = ""
    """An expression for the branches that nobody may make or move."""

    def __post_init__(self) -> None:
        self.git = Git(self.folder)

    @property
    def full_name(self) -> str:
        """Its owner and name."""
        return f"{self.owner}/{self.name}"

    @property
    def url(self) -> str:
        """What users connect."""
        return f"{self.address}/{self.full_name}"

    @property
    def api(self) -> str:
        """Where the API tells of it."""
        return f"{self.address}/api/v3/repos/{self.full_name}"

    async def commit(
        self,
        files: Mapping[str, str | bytes | None],
        *,
        branch: str | None = None,
        message: str = "Change",
        parent: str | None = None,
    ) -> str:
        """Commit changes of files (None removes one) to a branch; `parent` other than its head forces it."""
        name = branch or self.default_branch
        return await self.git.commit(files, name, message, parent or await self.git.branch(name))

    async def head(self, branch: str | None = None) -> str:
        """Give a branch's commit."""
        found = await self.git.branch(branch or self.default_branch)
        assert found is not None, f"no branch {branch}"
        return found

    async def set_branch(self, name: str, commit: str | None) -> None:
        """Let a branch be at this commit, by force; None removes it."""
        await self.git.set_branch(name, commit)

    def open_pull(self, head: str, base: str | None = None, title: str = "Change", body: str = "") -> Pull:
        """Open a pull request of one branch into another."""
        number = max(self.pulls, default=0) + 1
        self.pulls[number] = Pull(number, title, body, head, base or self.default_branch)
        return self.pulls[number]

    def as_json(self, right: str | None) -> dict[str, Any]:
        """Tell of it as GitHub does, to somebody with this right."""
        rights = {"pull": 1, "push": 2, "admin": 3}
        level = rights.get(right or "", 1)
        return {
            "id": self.number,
            "name": self.name,
            "full_name": self.full_name,
            "private": self.private,
            "owner": {"login": self.owner, "id": 1, "type": "Organization"},
            "html_url": self.url,
            "url": self.api,
            "default_branch": self.default_branch,
            "archived": self.archived,
            "disabled": False,
            "fork": False,
            "visibility": "private" if self.private else "public",
            "permissions": {
                "admin": level >= 3,
                "maintain": level >= 3,
                "push": level >= 2,
                "triage": level >= 2,
                "pull": True,
            },
        }

    def push_payload(
        self, before: str, after: str, branch: str | None = None, *, forced: bool = False
    ) -> dict[str, Any]:
        """Give what GitHub posts of a push; forty zeros stand for a branch that is not."""
        zeros = "0" * 40
        return {
            "ref": f"refs/heads/{branch or self.default_branch}",
            "before": before,
            "after": after,
            "created": before == zeros,
            "deleted": after == zeros,
            "forced": forced,
            "repository": self.as_json(None),
            "pusher": {"name": "mona", "email": "mona@example.com"},
            "sender": {"login": "mona", "id": 1},
            "commits": [],
            "head_commit": None if after == zeros else {"id": after, "timestamp": moment()},
        }
