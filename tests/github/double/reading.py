"""Endpoints that read repositories."""

import base64
from typing import Any

from tests.github.double.calls import Answer, Call, Endpoint, Refusal, anywhere, in_repository, not_found
from tests.github.double.git import Entry, GitFailed
from tests.github.double.repositories import Pull, Repository, moment

_LARGEST_BLOB = 100 * 1024 * 1024


async def _user(call: Call) -> Answer:
    if call.account is None:
        raise Refusal(401, "Requires authentication")
    if call.account.installation is not None:
        raise Refusal(403, "Resource not accessible by integration")
    return Answer(
        {"login": call.account.login, "id": 1, "type": "User", "url": f"{call.double.api_url}/user"}
    )


async def _rate_limit(call: Call) -> Answer:
    core = {"limit": 5000, "remaining": call.double.remaining, "reset": call.double.reset, "used": 0}
    return Answer({"resources": {"core": core}, "rate": core})


async def _about(call: Call) -> Answer:
    return Answer(call.repository.as_json(call.right))


async def commit_json(repository: Repository, sha: str) -> dict[str, Any]:
    """Tell of a commit as GitHub's Git database does."""
    text = await repository.git.words("show", "--no-patch", "--format=%H%n%T%n%P%n%aI%n%B", sha)
    commit, tree, parents, when, *message = text.split("\n")
    person = {"name": "Mona Lisa", "email": "mona@example.com", "date": when}
    return {
        "sha": commit,
        "url": f"{repository.api}/git/commits/{commit}",
        "html_url": f"{repository.url}/commit/{commit}",
        "author": person,
        "committer": person,
        "message": "\n".join(message).strip(),
        "tree": {"sha": tree, "url": f"{repository.api}/git/trees/{tree}"},
        "parents": [{"sha": each, "url": f"{repository.api}/git/commits/{each}"} for each in parents.split()],
    }


async def full_commit_json(repository: Repository, sha: str) -> dict[str, Any]:
    """Tell of a commit as the list of commits does."""
    inner = await commit_json(repository, sha)
    return {
        "sha": inner["sha"],
        "url": f"{repository.api}/commits/{inner['sha']}",
        "html_url": inner["html_url"],
        "commit": inner,
        "author": {"login": "mona", "id": 1},
        "committer": {"login": "mona", "id": 1},
        "parents": inner["parents"],
    }


async def _branch(call: Call) -> Answer:
    name = call.words["branch"]
    sha = await call.repository.git.branch(name)
    if sha is None:
        raise Refusal(404, "Branch not found")
    commit = await full_commit_json(call.repository, sha)
    return Answer({"name": name, "commit": commit, "protected": False})


async def _branches(call: Call) -> Answer:
    found = await call.repository.git.branches()
    return call.paged(
        [
            {
                "name": name,
                "commit": {"sha": sha, "url": f"{call.repository.api}/commits/{sha}"},
                "protected": False,
            }
            for name, sha in found.items()
        ]
    )


async def _ref(call: Call) -> Answer:
    name = call.words["ref"]
    sha = await call.repository.git.resolve(f"refs/{name}")
    if sha is None:
        raise not_found()
    return Answer(ref_json(call.repository, name, sha))


def ref_json(repository: Repository, name: str, sha: str) -> dict[str, Any]:
    """Tell of a reference, such as `heads/main`."""
    return {
        "ref": f"refs/{name}",
        "url": f"{repository.api}/git/refs/{name}",
        "object": {"type": "commit", "sha": sha, "url": f"{repository.api}/git/commits/{sha}"},
    }


async def _tree(call: Call) -> Answer:
    repository = call.repository
    if not await repository.git.branches():
        raise Refusal(409, "Git Repository is empty.")
    sha = await repository.git.resolve(call.words["sha"], "tree")
    if sha is None:
        raise not_found()
    # GitHub takes any value of the parameter for yes, also "0".
    recursive = "recursive" in call.request.query
    entries = await repository.git.entries(sha, recursive=recursive)
    truncated = recursive and len(entries) > repository.truncate_above
    return Answer(
        {
            "sha": sha,
            "url": f"{repository.api}/git/trees/{sha}",
            "tree": [_entry(repository, each) for each in entries[: repository.truncate_above]]
            if truncated
            else [_entry(repository, each) for each in entries],
            "truncated": truncated,
        }
    )


def _entry(repository: Repository, entry: Entry) -> dict[str, Any]:
    kind = {"blob": "blobs", "tree": "trees", "commit": "commits"}[entry.type]
    found: dict[str, Any] = {
        "path": entry.path,
        "mode": entry.mode,
        "type": entry.type,
        "sha": entry.sha,
        "url": f"{repository.api}/git/{kind}/{entry.sha}",
    }
    return found if entry.size is None else found | {"size": entry.size}


async def _blob(call: Call) -> Answer:
    sha = call.words["sha"]
    try:
        data = await call.repository.git.run("cat-file", "blob", sha)
    except GitFailed:
        raise not_found() from None
    if len(data) > _LARGEST_BLOB:
        raise Refusal(403, "This API returns blobs up to 100 MB in size.")
    return Answer(
        {
            "sha": sha,
            "url": f"{call.repository.api}/git/blobs/{sha}",
            "size": len(data),
            # In lines, as GitHub writes it.
            "content": base64.encodebytes(data).decode(),
            "encoding": "base64",
        }
    )


async def _git_commit(call: Call) -> Answer:
    sha = await call.repository.git.resolve(call.words["sha"])
    if sha is None:
        raise not_found()
    return Answer(await commit_json(call.repository, sha))


async def _commit(call: Call) -> Answer:
    sha = await call.repository.git.resolve(call.words["ref"])
    if sha is None:
        raise Refusal(422, f"No commit found for SHA: {call.words['ref']}")
    return Answer(await full_commit_json(call.repository, sha))


async def _commits(call: Call) -> Answer:
    start = call.request.query.get("sha", call.repository.default_branch)
    path = call.request.query.get("path")
    head = await call.repository.git.resolve(start)
    if head is None:
        raise not_found()
    lines = await call.repository.git.words("rev-list", head, *(["--", path] if path else []))
    return call.paged([await full_commit_json(call.repository, sha) for sha in lines.split()])


async def _compare(call: Call) -> Answer:
    base_name, _, head_name = call.words["range"].partition("...")
    git = call.repository.git
    base, head = await git.resolve(base_name), await git.resolve(head_name)
    if base is None or head is None:
        raise not_found()
    try:
        middle = await git.words("merge-base", base, head)
    except GitFailed:
        raise Refusal(404, "No common ancestor between the two.") from None
    ahead = (await git.words("rev-list", f"{base}..{head}")).split()
    behind = (await git.words("rev-list", f"{head}..{base}")).split()
    status = ("diverged" if behind else "ahead") if ahead else ("behind" if behind else "identical")
    return Answer(
        {
            "status": status,
            "ahead_by": len(ahead),
            "behind_by": len(behind),
            "total_commits": len(ahead),
            "base_commit": await full_commit_json(call.repository, base),
            "merge_base_commit": await full_commit_json(call.repository, middle),
            "commits": [await full_commit_json(call.repository, sha) for sha in reversed(ahead)],
            "files": await _files(call.repository, middle, head),
        }
    )


async def _files(repository: Repository, base: str, head: str) -> list[dict[str, Any]]:
    found = []
    for status, path, blob, former in await repository.git.changed(base, head):
        file = {"sha": blob, "filename": path, "status": status, "additions": 1, "deletions": 0, "changes": 1}
        found.append(file | ({"previous_filename": former} if former else {}))
    return found


async def pull_json(call: Call, pull: Pull) -> dict[str, Any]:
    """Tell of a pull request."""
    repository, git = call.repository, call.repository.git
    head = pull.head_commit or await git.branch(pull.head)
    base = pull.merge_base or await git.branch(pull.base)
    about = repository.as_json(None)
    return {
        "id": 10_000 + pull.number,
        "number": pull.number,
        "state": pull.state,
        "title": pull.title,
        "body": pull.body,
        "merged": pull.merged,
        "draft": False,
        "user": {"login": "mona", "id": 1},
        "head": {"ref": pull.head, "sha": head, "label": f"{repository.owner}:{pull.head}", "repo": about},
        "base": {"ref": pull.base, "sha": base, "label": f"{repository.owner}:{pull.base}", "repo": about},
        "url": f"{repository.api}/pulls/{pull.number}",
        "html_url": f"{repository.url}/pull/{pull.number}",
        "issue_url": f"{repository.api}/issues/{pull.number}",
        "comments_url": f"{repository.api}/issues/{pull.number}/comments",
        "created_at": moment(),
        "updated_at": moment(),
    }


def found_pull(call: Call) -> Pull:
    """Find the pull request of the path."""
    number = call.words["number"]
    if not number.isdigit() or int(number) not in call.repository.pulls:
        raise not_found()
    return call.repository.pulls[int(number)]


async def _pull(call: Call) -> Answer:
    return Answer(await pull_json(call, found_pull(call)))


async def _pulls(call: Call) -> Answer:
    query = call.request.query
    state = query.get("state", "open")
    found = []
    for pull in sorted(call.repository.pulls.values(), key=lambda each: -each.number):
        owner, _, branch = query.get("head", "").rpartition(":")
        if state not in {"all", pull.state} or (branch and branch != pull.head):
            continue
        if owner.lower() not in {"", call.repository.owner.lower()}:
            continue
        if query.get("base", pull.base) == pull.base:
            found.append(await pull_json(call, pull))
    return call.paged(found)


async def _pull_files(call: Call) -> Answer:
    pull, git = found_pull(call), call.repository.git
    head = pull.head_commit or await git.branch(pull.head)
    base = pull.merge_base or await git.branch(pull.base)
    if head is None or base is None:
        raise not_found()
    middle = await git.words("merge-base", base, head)
    return call.paged(await _files(call.repository, middle, head))


ENDPOINTS: list[Endpoint] = [
    *anywhere("GET", "/user")(_user),
    *anywhere("GET", "/rate_limit")(_rate_limit),
    *in_repository("GET", "", "pull")(_about),
    *in_repository("GET", "/branches", "pull")(_branches),
    *in_repository("GET", "/branches/{branch*}", "pull")(_branch),
    *in_repository("GET", "/git/ref/{ref*}", "pull")(_ref),
    *in_repository("GET", "/git/refs/{ref*}", "pull")(_ref),
    *in_repository("GET", "/git/trees/{sha*}", "pull")(_tree),
    *in_repository("GET", "/git/blobs/{sha}", "pull")(_blob),
    *in_repository("GET", "/git/commits/{sha}", "pull")(_git_commit),
    *in_repository("GET", "/commits", "pull")(_commits),
    *in_repository("GET", "/commits/{ref}", "pull")(_commit),
    *in_repository("GET", "/compare/{range*}", "pull")(_compare),
    *in_repository("GET", "/pulls", "pull")(_pulls),
    *in_repository("GET", "/pulls/{number}", "pull")(_pull),
    *in_repository("GET", "/pulls/{number}/files", "pull")(_pull_files),
]
