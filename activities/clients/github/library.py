"""What touches PyGithub to read: opened, asked in a thread, and its errors told apart.

Loaded when a connection is first used.
"""

import base64
import binascii
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Final, TypeVar

import requests
import urllib3.exceptions
from github import Auth, Github, GithubIntegration
from github.GithubException import BadAttributeException, GithubException
from github.GitTree import GitTree
from github.PullRequest import PullRequest as FoundPullRequest
from jwt.exceptions import PyJWTError

from activities.clients.github.faults import fault_of
from activities.clients.github.transport import AddressRefused, install
from mcp_platform.contracts.repositories import (
    FaultKind,
    GitHubFault,
    Hook,
    PullRequest,
    PullRequestFile,
    RepositoryFacts,
    Tree,
    TreeEntry,
)

T = TypeVar("T")

TIMEOUT: Final = 15
"""Seconds that GitHub may be silent."""
_PAGE: Final = 100
_MOST_TREES: Final = 2_000
_MOST_ENTRIES: Final = 500_000
_MOST_FILES: Final = 3_000
"""GitHub tells of no more files of a pull request."""
HOOK_EVENTS: Final = ["push", "pull_request"]

install()


def open_token(api_url: str, token: str) -> Github:
    """Open GitHub with a personal token."""
    return _open(api_url, Auth.Token(token))


def open_installation(api_url: str, app_id: int, key: str, installation_id: int) -> Github:
    """Open GitHub as an installation of an App, whose token lasts an hour."""
    try:
        app = GithubIntegration(auth=Auth.AppAuth(app_id, key), **_options(api_url))
    except (ValueError, PyJWTError) as error:
        raise GitHubFault(FaultKind.TOKEN_EXPIRED, _BAD_KEY) from error
    with app:
        try:
            token = asked(lambda: app.get_access_token(installation_id).token, "installation")
        except GitHubFault as fault:
            raise _no_installation(fault, app_id, installation_id) from None
    return _open(api_url, Auth.Token(token))


_BAD_KEY: Final = "The private key of the platform's GitHub App cannot be used; an administrator sets it"


def _no_installation(fault: GitHubFault, app_id: int, installation_id: int) -> GitHubFault:
    """Say why an App gets no token of an installation: its own key, or what became of the installation."""
    which = f"The installation {installation_id} of the platform's GitHub App"
    match fault.kind:
        case FaultKind.TOKEN_EXPIRED if fault.message != _BAD_KEY:
            reason = (
                f"GitHub does not accept the private key of the platform's App {app_id}: it was removed,"
                " is another App's, or our clock is wrong; an administrator sets id and private key anew"
            )
            return GitHubFault(FaultKind.TOKEN_EXPIRED, reason)
        case FaultKind.NOT_FOUND:
            reason = f"{which} is not there (any more): it was uninstalled, or is another App's"
            return GitHubFault(FaultKind.NO_ACCESS, reason)
        case FaultKind.NO_ACCESS if "suspended" in fault.message.lower():
            reason = f"{which} is suspended; who administers the account at GitHub can end that"
            return GitHubFault(FaultKind.NO_ACCESS, reason)
    return fault


def _open(api_url: str, auth: Auth.Auth) -> Github:
    # Lazy: a repository is not read before its branches are.
    return Github(auth=auth, lazy=True, **_options(api_url))


def _options(api_url: str) -> dict[str, Any]:
    return {
        "base_url": api_url,
        "timeout": TIMEOUT,
        "user_agent": "mcp-platform",
        "per_page": _PAGE,
        "retry": 0,
        "seconds_between_requests": None,
        "seconds_between_writes": None,
    }


def asked(question: Callable[[], T], subject: str | None = None) -> T:
    """Ask GitHub, which blocks.

    Args:
        question: What calls PyGithub.
        subject: What it is about, as a 404 is told; None for the repository itself.

    Raises:
        GitHubFault: It did not do it; the kind says why.
    """
    try:
        return question()
    except GithubException as error:
        headers = {name.lower(): str(value) for name, value in (error.headers or {}).items()}
        raise fault_of(error.status, headers, _message(error), subject) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError) as error:
        raise GitHubFault(FaultKind.UNAVAILABLE, f"GitHub cannot be reached: {_why(error)}") from None
    except PyJWTError:
        raise GitHubFault(FaultKind.TOKEN_EXPIRED, _BAD_KEY) from None
    except (BadAttributeException, AssertionError, RuntimeError, ValueError, TypeError, KeyError) as error:
        # What PyGithub makes of an answer that is none of GitHub's.
        reason = f"the address does not answer like GitHub ({type(error).__name__})"
        raise GitHubFault(FaultKind.UNAVAILABLE, reason) from None


def _message(error: GithubException) -> str:
    data = error.data if isinstance(error.data, dict) else {}
    said = [str(data.get("message") or error.message or "")]
    errors = data.get("errors")
    for each in errors if isinstance(errors, list) else []:
        said.append(
            str(each.get("message") or each.get("code") or "") if isinstance(each, dict) else str(each)
        )
    return "; ".join(part for part in said if part)


def _why(error: BaseException) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AddressRefused):
            return str(seen)
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


def login(github: Github) -> str:
    """Tell whose token it is."""
    return github.get_user().login


def facts(github: Github, full_name: str) -> RepositoryFacts:
    """Read a repository."""
    found = github.get_repo(full_name)
    rights = found.permissions
    return RepositoryFacts(
        id=found.id,
        full_name=found.full_name,
        default_branch=found.default_branch,
        html_url=found.html_url,
        private=found.private,
        archived=found.archived,
        may_push=bool(rights and rights.push) and _writes(github.oauth_scopes, private=found.private),
        may_administer=bool(rights and rights.admin),
    )


def _writes(scopes: list[str] | None, *, private: bool) -> bool:
    """Tell whether the scopes of a classic token let it write; others have none, and GitHub does not say.

    The rule is that of "Scopes for OAuth apps" in GitHub's documentation.
    """
    return scopes is None or "repo" in scopes or (not private and "public_repo" in scopes)


def branch_head(github: Github, full_name: str, branch: str) -> str:
    """Read the newest commit of a branch."""
    return github.get_repo(full_name).get_branch(branch).commit.sha


def tree(github: Github, full_name: str, commit: str) -> Tree:
    """Read all files at a commit; a tree that GitHub cuts off is read folder by folder."""
    repository = github.get_repo(full_name)
    entries: list[TreeEntry] = []
    waiting, read = [("", commit)], 0
    while waiting:
        prefix, sha = waiting.pop()
        found = repository.get_git_tree(sha, recursive=True)
        read += 1
        if found.raw_data.get("truncated"):
            found = repository.get_git_tree(sha)
            waiting += [(f"{prefix}{each.path}/", each.sha) for each in found.tree if each.type == "tree"]
            read += 1
        entries += _files(found, prefix)
        if read > _MOST_TREES or len(entries) > _MOST_ENTRIES:
            raise GitHubFault(
                FaultKind.REFUSED,
                f"The repository is too large: more than {_MOST_ENTRIES} files or its folders",
            )
    return Tree(commit=commit, entries=sorted(entries, key=lambda entry: entry.path))


def _files(found: GitTree, prefix: str) -> list[TreeEntry]:
    return [
        TreeEntry(path=prefix + each.path, blob=each.sha, size=each.size or 0, mode=each.mode)
        for each in found.tree
        if each.type == "blob"
    ]


def blob(github: Github, full_name: str, sha: str, largest: int) -> bytes:
    """Read a file's content."""
    found = github.get_repo(full_name).get_git_blob(sha)
    if found.size > largest:
        raise GitHubFault(FaultKind.REFUSED, f"The file has {found.size} bytes, more than {largest}")
    if found.encoding != "base64":
        return found.content.encode()
    try:
        return base64.b64decode(found.content)
    except binascii.Error:
        raise ValueError("a blob that is no base64") from None


def pull_request(github: Github, full_name: str, number: int) -> PullRequest:
    """Read a pull request."""
    return pull_request_facts(github.get_repo(full_name).get_pull(number))


def pull_request_facts(found: FoundPullRequest) -> PullRequest:
    """Give what is wanted of a pull request."""
    head: Any = found.head.repo
    return PullRequest(
        number=found.number,
        title=found.title,
        open=found.state == "open",
        merged=bool(found.merged),
        base_branch=found.base.ref,
        base_commit=found.base.sha,
        head_branch=found.head.ref,
        head_commit=found.head.sha,
        head_repository=head.full_name if head is not None else None,
        html_url=found.html_url,
    )


def pull_request_files(github: Github, full_name: str, number: int) -> list[PullRequestFile]:
    """Read what a pull request changes."""
    files: list[PullRequestFile] = []
    for each in github.get_repo(full_name).get_pull(number).get_files():
        files.append(
            PullRequestFile(
                path=each.filename, status=each.status, blob=each.sha, previous_path=each.previous_filename
            )
        )
        if len(files) >= _MOST_FILES:
            break
    return files


def hooks(github: Github, full_name: str) -> list[Hook]:
    """List a repository's webhooks."""
    return [
        Hook(
            id=each.id,
            url=str(each.config.get("url", "")),
            active=each.active,
            updated_at=each.updated_at,
        )
        for each in github.get_repo(full_name).get_hooks()
    ]


def ensure_hook(github: Github, full_name: str, url: str, secret: str) -> int:
    """Have GitHub tell this address of pushes and pull requests: anew, or as its webhook there is now."""
    config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
    repository = github.get_repo(full_name)
    for each in repository.get_hooks():
        if each.config.get("url") == url:
            each.edit("web", config, events=HOOK_EVENTS, active=True)
            return each.id
    return repository.create_hook("web", config, events=HOOK_EVENTS, active=True).id


def delete_hooks(github: Github, full_name: str, url: str) -> int:
    """Remove the webhooks to this address; tell how many there were."""
    found = [each for each in github.get_repo(full_name).get_hooks() if each.config.get("url") == url]
    for each in found:
        asked_for_absence(each.delete)
    return len(found)


def asked_for_absence(question: Callable[[], object]) -> None:
    """Ask GitHub to remove something; that it is not there is success."""
    try:
        question()
    except GithubException as error:
        if error.status != 404:
            raise
