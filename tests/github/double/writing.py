"""Endpoints that change repositories: Git's objects and branches, pull requests, comments, statuses."""

import base64
import re
from itertools import count
from typing import Any
from uuid import uuid4

from tests.github.double.calls import Answer, Call, Endpoint, Refusal, in_repository, not_found
from tests.github.double.git import GitFailed
from tests.github.double.reading import commit_json, found_pull, pull_json, ref_json
from tests.github.double.repositories import Pull, moment

_NUMBERS = count(9000)
_LONGEST_COMMENT = 65_536
_STATES = {"error", "failure", "pending", "success"}
_STATUSES_OF_A_COMMIT = 1000


def _invalid(resource: str, message: str, code: str = "custom") -> Refusal:
    return Refusal(422, "Validation Failed", [{"resource": resource, "code": code, "message": message}])


async def _create_blob(call: Call) -> Answer:
    content = call.body["content"]
    data = base64.b64decode(content) if call.body.get("encoding") == "base64" else content.encode()
    sha = (await call.repository.git.run("hash-object", "-w", "--stdin", given=data)).decode().strip()
    return Answer({"sha": sha, "url": f"{call.repository.api}/git/blobs/{sha}"}, 201)


async def _create_tree(call: Call) -> Answer:
    git = call.repository.git
    base = await git.resolve(call.body["base_tree"], "tree")
    if base is None:
        raise not_found()
    name = f"refs/double/{uuid4().hex}"
    lines = [f"commit {name}", "committer Mona Lisa <mona@example.com> now", "data 0", f'M 040000 {base} ""']
    for entry in call.body["tree"]:
        if await git.resolve(entry["sha"], "blob") is None:
            raise Refusal(422, "tree.sha is not a valid blob")
        lines.append(f"M {entry['mode']} {entry['sha']} {entry['path']}")
    given = "\n".join(lines).encode() + b"\n"
    await git.run("fast-import", "--quiet", "--date-format=now", given=given)
    sha = await git.resolve(name, "tree")
    await git.run("update-ref", "-d", name)
    return Answer({"sha": sha, "url": f"{call.repository.api}/git/trees/{sha}", "tree": []}, 201)


async def _create_commit(call: Call) -> Answer:
    parents = [word for parent in call.body["parents"] for word in ("-p", parent)]
    try:
        made = await call.repository.git.run(
            "commit-tree", call.body["tree"], *parents, given=call.body["message"].encode()
        )
    except GitFailed:
        raise Refusal(422, "Tree SHA does not exist") from None
    return Answer(await commit_json(call.repository, made.decode().strip()), 201)


def _permit_branch(call: Call, ref: str) -> None:
    protected = call.repository.protected
    if protected and re.fullmatch(protected, ref.removeprefix("refs/heads/")):
        raise Refusal(
            422, "Repository rule violations found\n\nCannot create ref due to creations being restricted."
        )


async def _create_ref(call: Call) -> Answer:
    ref, sha = call.body["ref"], call.body["sha"]
    git = call.repository.git
    _permit_branch(call, ref)
    if await git.resolve(ref) is not None:
        raise Refusal(422, "Reference already exists")
    if await git.resolve(sha) is None:
        raise Refusal(422, "Object does not exist")
    await git.run("update-ref", ref, sha)
    return Answer(ref_json(call.repository, ref.removeprefix("refs/"), sha), 201)


async def _move_ref(call: Call) -> Answer:
    ref, sha = f"refs/{call.words['ref']}", call.body["sha"]
    git = call.repository.git
    present = await git.resolve(ref)
    if present is None:
        raise Refusal(422, "Reference does not exist")
    _permit_branch(call, ref)
    if not call.body.get("force"):
        try:
            await git.run("merge-base", "--is-ancestor", present, sha)
        except GitFailed:
            raise Refusal(422, "Update is not a fast forward") from None
    await git.run("update-ref", ref, sha)
    return Answer(ref_json(call.repository, call.words["ref"], sha))


async def _matching_refs(call: Call) -> Answer:
    start = call.words["ref"].removeprefix("heads/")
    found = await call.repository.git.branches()
    return call.paged(
        [
            ref_json(call.repository, f"heads/{name}", sha)
            for name, sha in found.items()
            if name.startswith(start)
        ]
    )


async def _create_pull(call: Call) -> Answer:
    repository, git = call.repository, call.repository.git
    head, base = call.body["head"].rpartition(":")[2], call.body["base"]
    for branch, place in ((head, "head"), (base, "base")):
        if await git.branch(branch) is None:
            raise Refusal(
                422, "Validation Failed", [{"resource": "PullRequest", "field": place, "code": "invalid"}]
            )
    same = [each for each in repository.pulls.values() if (each.head, each.base) == (head, base)]
    if any(each.state == "open" for each in same):
        raise _invalid("PullRequest", f"A pull request already exists for {repository.owner}:{head}.")
    if not await git.words("rev-list", f"{base}..{head}"):
        raise _invalid("PullRequest", f"No commits between {base} and {head}")
    pull = repository.open_pull(head, base, call.body["title"], call.body.get("body") or "")
    return Answer(await pull_json(call, pull), 201)


async def _edit_pull(call: Call) -> Answer:
    pull: Pull = found_pull(call)
    pull.title = call.body.get("title", pull.title)
    pull.body = call.body.get("body", pull.body)
    pull.state = call.body.get("state", pull.state)
    return Answer(await pull_json(call, pull))


def _comments(call: Call, on: str) -> Answer:
    return call.paged([each for each in call.repository.comments.values() if each["on"] == on])


def _comment(call: Call, on: str, place: str) -> Answer:
    body = call.body.get("body") or ""
    if not body:
        raise Refusal(422, "Validation Failed", [{"resource": "Comment", "field": "body", "code": "missing"}])
    if len(body) > _LONGEST_COMMENT:
        raise _invalid("Comment", "Body is too long (maximum is 65536 characters)")
    assert call.account is not None
    installed = call.account.installation is not None
    user = {
        "login": "mcp-platform[bot]" if installed else call.account.login,
        "id": 1,
        "type": "Bot" if installed else "User",
    }
    number = next(_NUMBERS)
    made: dict[str, Any] = {
        "id": number,
        "on": on,
        "body": body,
        "user": user,
        "url": f"{call.repository.api}/{place}/{number}",
        "html_url": f"{call.repository.url}/{on}#comment-{number}",
        "created_at": moment(),
        "updated_at": moment(),
    }
    call.repository.comments[number] = made
    return Answer(made, 201)


async def _edit_comment(call: Call) -> Answer:
    number = call.words["number"]
    known = call.repository.comments.get(int(number)) if number.isdigit() else None
    if known is None:
        raise not_found()
    known |= {"body": call.body["body"], "updated_at": moment()}
    return Answer(known)


async def _pull_comments(call: Call) -> Answer:
    return _comments(call, f"pull/{found_pull(call).number}")


async def _comment_on_pull(call: Call) -> Answer:
    return _comment(call, f"pull/{found_pull(call).number}", "issues/comments")


async def _commit_comments(call: Call) -> Answer:
    return _comments(call, f"commit/{call.words['sha']}")


async def _comment_on_commit(call: Call) -> Answer:
    if await call.repository.git.resolve(call.words["sha"]) is None:
        raise Refusal(422, f"No commit found for SHA: {call.words['sha']}")
    return _comment(call, f"commit/{call.words['sha']}", "comments")


async def _create_status(call: Call) -> Answer:
    sha = await call.repository.git.resolve(call.words["sha"])
    if sha is None:
        raise Refusal(422, f"No commit found for SHA: {call.words['sha']}")
    if call.body.get("state") not in _STATES:
        raise _invalid("Status", "State is not included in the list")
    if len(call.body.get("description") or "") > 140:
        raise _invalid("Status", "description is too long (maximum is 140 characters)")
    made = {
        "id": next(_NUMBERS),
        "sha": sha,
        "state": call.body["state"],
        "description": call.body.get("description"),
        "context": call.body.get("context", "default"),
        "target_url": call.body.get("target_url"),
        "url": f"{call.repository.api}/statuses/{sha}",
        "created_at": moment(),
        "updated_at": moment(),
    }
    alike = [
        each for each in call.repository.statuses if (each["sha"], each["context"]) == (sha, made["context"])
    ]
    if len(alike) >= _STATUSES_OF_A_COMMIT:
        raise _invalid("Status", "This SHA and context has reached the maximum number of statuses.")
    call.repository.statuses.append(made)
    return Answer(made, 201)


ENDPOINTS: list[Endpoint] = [
    *in_repository("POST", "/git/blobs", "push")(_create_blob),
    *in_repository("POST", "/git/trees", "push")(_create_tree),
    *in_repository("POST", "/git/commits", "push")(_create_commit),
    *in_repository("POST", "/git/refs", "push")(_create_ref),
    *in_repository("PATCH", "/git/refs/{ref*}", "push")(_move_ref),
    *in_repository("GET", "/git/matching-refs/{ref*}", "pull")(_matching_refs),
    *in_repository("POST", "/pulls", "push")(_create_pull),
    *in_repository("PATCH", "/pulls/{number}", "push")(_edit_pull),
    *in_repository("GET", "/issues/{number}/comments", "pull")(_pull_comments),
    *in_repository("POST", "/issues/{number}/comments", "pull")(_comment_on_pull),
    *in_repository("PATCH", "/issues/comments/{number}", "pull")(_edit_comment),
    *in_repository("GET", "/commits/{sha}/comments", "pull")(_commit_comments),
    *in_repository("POST", "/commits/{sha}/comments", "pull")(_comment_on_commit),
    *in_repository("PATCH", "/comments/{number}", "pull")(_edit_comment),
    *in_repository("POST", "/statuses/{sha}", "push")(_create_status),
]
