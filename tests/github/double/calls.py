"""One request to the double, and how its endpoints are written."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from tests.github.double.repositories import Repository

if TYPE_CHECKING:
    from tests.github.double.server import Account, GitHubDouble

_DOCUMENTATION = "https://docs.github.com/rest"


@dataclass
class Answer:
    """What is answered."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer that says no, in GitHub's words."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self._status = status
        self._body: dict[str, Any] = {
            "message": message,
            "documentation_url": _DOCUMENTATION,
            "status": str(status),
        }
        if errors:
            self._body["errors"] = errors
        self._headers = dict(headers or {})

    def answer(self) -> Answer:
        """Give it as an answer."""
        return Answer(self._body, self._status, self._headers)


def not_found() -> Refusal:
    """Say that there is none, or none that the caller may know of."""
    return Refusal(404, "Not Found")


@dataclass
class Call:
    """One request, once it is clear who asks."""

    double: GitHubDouble
    request: web.Request
    words: dict[str, str]
    """What stands in the path, by name."""
    body: Any
    account: Account | None
    app: str | None = None
    right: str | None = None
    _repository: Repository | None = None

    @property
    def repository(self) -> Repository:
        """The one that it is about."""
        assert self._repository is not None
        return self._repository

    @repository.setter
    def repository(self, found: Repository) -> None:
        self._repository = found

    def paged(self, items: list[Any]) -> Answer:
        """Give one page, with links to the others, which name the repository by its number as GitHub's do."""
        query = self.request.query
        size = min(max(int(query.get("per_page", "30")), 1), 100)
        page = max(int(query.get("page", "1")), 1)
        last = max((len(items) + size - 1) // size, 1)
        wanted = {"first": 1, "prev": page - 1, "next": page + 1, "last": last}
        if page <= 1:
            wanted = {name: number for name, number in wanted.items() if name not in {"first", "prev"}}
        if page >= last:
            wanted = {name: number for name, number in wanted.items() if name not in {"next", "last"}}
        path = self.request.rel_url.raw_path.removeprefix("/api/v3")
        if self._repository is not None:
            path = re.sub(r"^/repos/[^/]+/[^/]+", f"/repositories/{self._repository.number}", path)
        base = f"{self.double.api_url}{path}"
        links = ", ".join(
            f'<{base}?per_page={size}&page={number}>; rel="{name}"' for name, number in wanted.items()
        )
        return Answer(items[(page - 1) * size : page * size], headers={"Link": links} if links else {})


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Endpoint:
    """One method of one path."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    right: str | None
    """What the caller must have in the repository: `pull`, `push` or `admin`; None where there is none."""
    hooks: bool
    app: bool

    def matches(self, method: str, path: str) -> dict[str, str] | None:
        """Give the words of the path, if it is one of this endpoint."""
        found = self.pattern.fullmatch(path) if method == self.method else None
        return {name: unquote(word) for name, word in found.groupdict().items()} if found else None


def in_repository(
    method: str, rest: str, right: str, *, hooks: bool = False
) -> Callable[[Handler], list[Endpoint]]:
    """Make endpoints of what follows a repository's path, such as `/git/trees/{sha}`."""

    def made(handler: Handler) -> list[Endpoint]:
        prefixes = ("/repos/{owner}/{repo}", "/repositories/{id}")
        return [_endpoint(method, prefix + rest, handler, right, hooks) for prefix in prefixes]

    return made


def anywhere(method: str, path: str, *, app: bool = False) -> Callable[[Handler], list[Endpoint]]:
    """Make an endpoint of a whole path; `app` is for those where an App proves itself."""
    return lambda handler: [_endpoint(method, path, handler, None, False, app)]


def _endpoint(
    method: str, path: str, handler: Handler, right: str | None, hooks: bool, app: bool = False
) -> Endpoint:
    # `{name}` is one segment, `{name*}` the rest of the path, such as a branch with slashes.
    pattern = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", path)
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    return Endpoint(method, re.compile(pattern), handler, right, hooks, app)
