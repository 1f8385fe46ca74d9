"""Reading all definitions of a repository, at the head of its branch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from temporalio.exceptions import ApplicationError

from activities.github_sync.definitions import (
    LARGEST,
    LOOKED_FOR,
    MOST_DEFINITIONS,
    MOST_FILES,
    is_definition,
    read_definitions,
)
from activities.github_sync.opening import repository_of
from mcp_platform.contracts.github import Connection
from mcp_platform.contracts.repositories import FaultKind, GitHubFault, TreeEntry
from mcp_platform.contracts.syncing import FoundDefinition, RefusedDefinition

if TYPE_CHECKING:
    from activities.clients.github import GitHub

_MOST_BYTES: Final = 4_194_304
"""Bytes of all definitions of a repository together."""
_FILES: Final = frozenset({"100644", "100755"})


@dataclass
class Reading:
    """What the definitions of a repository say at a commit."""

    full_name: str
    commit: str
    files: int
    blobs: dict[str, str] = field(default_factory=dict)
    """Git's ids of the files' contents, by their paths."""
    found: list[FoundDefinition] = field(default_factory=list)
    refused: list[RefusedDefinition] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


async def read_repository(github: GitHub, connection: Connection) -> Reading:
    """Read the head of the connection's branch, and all definitions at that commit.

    Raises:
        GitHubFault: GitHub does not answer.
        ApplicationError: There is more of it than a sync takes.
    """
    facts = await repository_of(github, connection)
    commit = await github.branch_head(facts.full_name, connection.branch)
    tree = await github.tree(facts.full_name, commit)
    files = [each for each in tree.entries if is_definition(each.path, connection.path)]
    _check_bounds(files)
    reading = Reading(full_name=facts.full_name, commit=commit, files=len(tree.entries))
    for file in files:
        await _read_file(github, reading, file)
    if len(reading.found) + len(reading.refused) > MOST_DEFINITIONS:
        raise _too_much(f"{MOST_DEFINITIONS} definitions")
    if not reading.found and not reading.refused:
        reading.warnings.append(_nothing(connection.path, tree.entries))
    return reading


async def _read_file(github: GitHub, reading: Reading, file: TreeEntry) -> None:
    reading.blobs[file.path] = file.blob
    if (reason := why_unread(file)) is not None:
        reading.refused.append(RefusedDefinition(path=file.path, reason=reason))
        return
    try:
        content = await github.blob(reading.full_name, file.blob, LARGEST)
    except GitHubFault as fault:
        if fault.kind is not FaultKind.REFUSED:
            raise
        reading.refused.append(RefusedDefinition(path=file.path, reason=fault.message))
        return
    for each in read_definitions(file.path, content):
        if isinstance(each, FoundDefinition):
            reading.found.append(each)
        else:
            reading.refused.append(each)


def why_unread(file: TreeEntry) -> str | None:
    """Tell why a file's content is not asked for; None where it is.

    GitHub gives files of 100 MB, which would be in memory before anybody sees how large they are.
    """
    if file.mode not in _FILES:
        return "it is a symbolic link, which is not followed"
    if file.size > LARGEST:
        return f"it has {file.size} bytes, more than {LARGEST}"
    return None


def _nothing(path: str, entries: list[TreeEntry]) -> str:
    """Say why a sync finds no definition."""
    if path and not any(each.path == path or each.path.startswith(f"{path}/") for each in entries):
        return f"Nothing lies below {path!r} in the repository, which is the connection's path"
    where = f" below {path!r}" if path else ""
    return f"No definition was found{where}: looked for {LOOKED_FOR}"


def _check_bounds(files: list[TreeEntry]) -> None:
    if len(files) > MOST_FILES:
        raise _too_much(f"{MOST_FILES} files with definitions")
    if sum(min(file.size, LARGEST) for file in files) > _MOST_BYTES:
        raise _too_much(f"{_MOST_BYTES} bytes of definitions")


def _too_much(bound: str) -> ApplicationError:
    reason = f"the repository has more than {bound}; narrow the connection to a folder by its path"
    return ApplicationError(reason, type="TooManyDefinitions", non_retryable=True)
