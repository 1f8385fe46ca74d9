"""Events of GitHub's webhooks: what they say, and which of them the platform acts on.

Their fields are described in "Webhook events and payloads" of GitHub's documentation.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from mcp_platform.contracts.github import BRANCH_GONE, Connection, CredentialKind

_CHECKED: Final = frozenset({"opened", "synchronize", "reopened", "closed"})
_APP_GONE: Final = {
    "deleted": "the platform's App was uninstalled at GitHub",
    "suspend": "the platform's App was suspended at GitHub",
}
_APP_BACK: Final = frozenset({"created", "unsuspend"})
_BRANCHES: Final = "refs/heads/"
_LONGEST: Final = 255


class Ignored(Exception):
    """The platform does nothing about an event; the message says why."""


@dataclass(frozen=True)
class Heard:
    """What an event says, as far as the platform acts on it."""

    event: str
    action: str | None = None
    branch: str | None = None
    """That was pushed to, or that a pull request is to be merged into."""
    commit: str | None = None
    pull_request: int | None = None
    repository_id: int | None = None
    """GitHub's, of the one that it is about."""
    repositories: frozenset[str] | None = None
    """The full names, in lower case, that an event about an App's installation is about; None for all."""
    details: dict[str, Any] = field(default_factory=dict)

    def concerns(self, connection: Connection) -> str | None:
        """Tell why an event does not concern a connection; None where it does."""
        if self.event.startswith("installation") and connection.credential is not CredentialKind.APP:
            return "it is about the platform's App, and the connection is by a token"
        if None not in (self.repository_id, connection.repository_id) and (
            self.repository_id != connection.repository_id
        ):
            return "it is about another repository, which has this name now"
        if self.repositories is not None and connection.full_name.lower() not in self.repositories:
            return "it is about other repositories"
        if self.branch is not None and self.branch != connection.branch:
            return f"it is about the branch {self.branch!r}, and the connection follows {connection.branch!r}"
        return None


def repository_of(payload: dict[str, Any]) -> str | None:
    """Give the full name of the repository that an event is about."""
    found = _at(payload, "repository", "full_name")
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST else None


def installation_of(payload: dict[str, Any]) -> int | None:
    """Give the id of the App's installation that an event comes from."""
    return _number(_at(payload, "installation", "id"))


def understood(event: str, payload: dict[str, Any]) -> Heard:
    """Read an event.

    Raises:
        Ignored: The platform does not act on it.
    """
    match event:
        case "push":
            return _push(payload)
        case "pull_request":
            return _pull_request(payload)
        case "installation":
            return _installation(payload)
        case "installation_repositories":
            return _repositories(payload)
    raise Ignored("the platform does not act on events of this kind")


def _push(payload: dict[str, Any]) -> Heard:
    ref, after = payload.get("ref"), payload.get("after")
    if not isinstance(ref, str) or not ref.startswith(_BRANCHES):
        raise Ignored("it is no push to a branch")
    gone = payload.get("deleted") is True
    # The sync looks for itself where the branch is; without the commit nothing is lost but a hint.
    commit = after[:64] if isinstance(after, str) and not gone else None
    branch = ref.removeprefix(_BRANCHES)[:_LONGEST]
    return Heard(
        "push",
        BRANCH_GONE if gone else None,
        branch=branch,
        commit=commit,
        repository_id=_number(_at(payload, "repository", "id")),
    )


def _pull_request(payload: dict[str, Any]) -> Heard:
    action, number = _action(payload), _number(payload.get("number"))
    base, head = _at(payload, "pull_request", "base", "ref"), _at(payload, "pull_request", "head", "sha")
    moved = action == "edited" and _at(payload, "changes", "base") is not None
    if action not in _CHECKED and not moved:
        raise Ignored("it changes nothing that a check of the pull request depends on")
    if number is None or not isinstance(base, str) or not isinstance(head, str):
        raise Ignored("it does not say which pull request it is about")
    return Heard(
        "pull_request",
        action,
        branch=base[:_LONGEST],
        commit=head[:64],
        pull_request=number,
        repository_id=_number(_at(payload, "repository", "id")),
    )


def _installation(payload: dict[str, Any]) -> Heard:
    action = _action(payload)
    if action in _APP_GONE:
        return Heard("installation", action, details={"refused": _APP_GONE[action]})
    if action in _APP_BACK:
        return Heard("installation", action)
    raise Ignored("it takes no right from the platform's App, and gives it none")


def _repositories(payload: dict[str, Any]) -> Heard:
    action = _action(payload)
    if action not in {"added", "removed"}:
        raise Ignored("it takes no right from the platform's App, and gives it none")
    listed = payload.get(f"repositories_{action}")
    names = {_at(each, "full_name") for each in (listed if isinstance(listed, list) else [])}
    refused = "the platform's App may not see the repository any more" if action == "removed" else None
    return Heard(
        "installation_repositories",
        action,
        repositories=frozenset(name.lower() for name in names if isinstance(name, str)),
        details={"refused": refused} if refused else {},
    )


def _action(payload: dict[str, Any]) -> str:
    found = payload.get("action")
    return found[:64] if isinstance(found, str) else ""


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 2**63 else None
