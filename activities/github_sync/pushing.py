"""Taking the platform's versions of definitions to their repository, as branches and pull requests."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.github_sync.definitions import LARGEST
from activities.github_sync.faults import NOT_ALLOWED
from activities.github_sync.markdown import fenced
from activities.github_sync.opening import Opened, WritingActivities, opened
from activities.github_sync.rendering import NotWritten, new_definition, new_path, rendered
from activities.heartbeat import beating
from mcp_platform.contracts.github import Connection, Definition
from mcp_platform.contracts.mcps import Mcp
from mcp_platform.contracts.pushing import (
    MootOrder,
    PushedDefinition,
    PushItem,
    PushOrder,
    PushPlan,
    PushRequest,
    PushStep,
)
from mcp_platform.contracts.repositories import CommitOrder, GitHubFault, PullRequest
from mcp_platform.names import Collection

if TYPE_CHECKING:
    from activities.clients.github.writing import Writing

MOST_PUSHED: Final = 50
"""MCPs that one push takes to a repository."""
_PREFIX: Final = "mcp-platform/"
_LONGEST_DIFFERENCE: Final = 20_000


@dataclass(frozen=True)
class _File:
    """A file that is to be written: as it is at the base, and at the commit that ours will follow."""

    parent: str
    mode: str
    base: str | None
    present: str | None


class PushActivities(WritingActivities):
    """The steps of a push, and what ends the pull requests that it made; each may be repeated."""

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [self.plan, self.write, self.close_moot]

    @activity.defn(name="github.plan_push")
    async def plan(self, order: PushOrder) -> PushPlan:
        """Find which MCPs the platform has changed since they were last in step."""
        request = await self._request(order.task_id)
        async with beating(), opened(self._stores, self._githubs, order.connection_id) as found:
            connection = found.connection
            head = await found.github.branch_head(connection.full_name, connection.branch)
        async with self._stores.read() as rows:
            definitions = await rows.connections.definitions(connection.id)
        living = [each for each in definitions if not each.gone]
        wanted = request.tool_id or (connection.tool_id if not living else None)
        if wanted is not None:
            living = [each for each in living if each.mcp_id == wanted]
            items = [_item(each) for each in living] or [await self._new(connection, wanted)]
            return PushPlan(commit=head, branch=connection.branch, items=items, unchanged=0)
        changed = [each for each in living if await self._is_changed(each)]
        return PushPlan(
            commit=head,
            branch=connection.branch,
            items=[_item(each) for each in changed[:MOST_PUSHED]],
            unchanged=len(living) - len(changed),
        )

    @activity.defn(name="github.push_definition")
    async def write(self, step: PushStep) -> PushedDefinition:
        """Write one MCP to its branch, and see that a pull request is open for it."""
        request = await self._request(step.task_id)
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(step.item.mcp_id)
        if mcp is None:
            raise ApplicationError("the MCP is gone", type="Gone", non_retryable=True)
        config = await self._stores.documents.get(Collection.CONFIGS, mcp.config_key) or {}
        async with self._opened(step.connection_id) as (found, writing):
            push = _Push(found, writing, step, mcp, config, request)
            try:
                return await push.carry_out()
            except NotWritten as reason:
                return push.told(pushed=False, refused=True, reason=str(reason))

    @activity.defn(name="github.close_moot")
    async def close_moot(self, order: MootOrder) -> list[int]:
        """Close our pull requests with MCPs of which repository and platform say the same; their numbers.

        A credential that may not is no failure: then they stay as they are.
        """
        async with self._stores.read() as rows:
            known = {each.mcp_id: each for each in await rows.connections.definitions(order.connection_id)}
            mcps = [await rows.mcps.get(mcp_id) for mcp_id in order.mcp_ids if mcp_id in known]
        # One that was changed on the platform meanwhile may be in a newer pull request.
        same = [mcp for mcp in mcps if mcp is not None and mcp.config_key == known[mcp.id].config_key]
        closed: list[int] = []
        async with self._opened(order.connection_id) as (found, writing):
            try:
                branches = await writing.branches(_PREFIX) if same else []
                for mcp in same:
                    closed += await _Ours(found.connection, writing, mcp).close_moot(branches)
            except GitHubFault as fault:
                if fault.kind not in NOT_ALLOWED:
                    raise
        return closed

    async def _request(self, task_id: str) -> PushRequest:
        asked = await self._stores.documents.get(Collection.IDEAS, task_id)
        return PushRequest.model_validate(asked or {})

    async def _is_changed(self, definition: Definition) -> bool:
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(definition.mcp_id)
        return mcp is not None and mcp.revision != definition.revision

    async def _new(self, connection: Connection, mcp_id: UUID) -> PushItem:
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(mcp_id)
        if mcp is None:
            raise ApplicationError("the MCP is gone", type="Gone", non_retryable=True)
        return PushItem(mcp_id=mcp_id, path=new_path(mcp.slug, connection.path), new=True)


class _Ours:
    """Our open pull requests with one MCP."""

    def __init__(self, connection: Connection, writing: Writing, mcp: Mcp) -> None:
        self._connection = connection
        self._writing = writing
        self._prefix = f"{_PREFIX}{mcp.slug}-"
        self._mcp = mcp
        self.branch = f"{self._prefix}{mcp.version}"
        self.marker = f"<!-- mcp-platform:push {connection.id} {mcp.id} -->"

    async def close_earlier(self) -> list[int]:
        """Close those with other versions, of which the present one takes the place."""
        branches = await self._writing.branches(self._prefix)
        found = [number for name, number in await self._open(branches) if name != self.branch]
        for number in found:
            await self._writing.close_pull_request(number)
        return found

    async def close_moot(self, branches: list[str]) -> list[int]:
        """Close those of these branches and say why: the repository says what the platform says."""
        marker = f"<!-- mcp-platform:moot {self._connection.id} {self._mcp.id} -->"
        said = (
            f"{marker}\nClosed: `{self._connection.branch}` and the platform say the same of"
            f" `{self._mcp.slug}` by now (version {self._mcp.version}), so there is nothing to merge."
        )
        found = [number for _, number in await self._open(branches)]
        for number in found:
            await self._writing.put_comment(number, marker, said)
            await self._writing.close_pull_request(number)
        return found

    async def _open(self, branches: list[str]) -> list[tuple[str, int]]:
        """Find those of these branches that are open, and their numbers."""
        ours = re.compile(re.escape(self._prefix) + r"\d+\.\d+\.\d+")
        found = []
        for name in branches:
            if not ours.fullmatch(name):
                continue
            known = await self._writing.open_pull_request(name, self._connection.branch)
            if known is not None and self.marker in known[1]:
                found.append((name, known[0].number))
        return found


class _Push:
    """One MCP on its way to a repository."""

    def __init__(
        self,
        found: Opened,
        writing: Writing,
        step: PushStep,
        mcp: Mcp,
        config: dict[str, Any],
        request: PushRequest,
    ) -> None:
        self._found = found
        self._connection = found.connection
        self._writing = writing
        self._step = step
        self._item = step.item
        self._mcp = mcp
        self._config = config
        self._request = request
        self._ours = _Ours(found.connection, writing, mcp)
        self._branch = self._ours.branch

    def told(self, **facts: Any) -> PushedDefinition:
        """Say what became of it."""
        said = {"mcp_id": self._mcp.id, "slug": self._mcp.slug, "version": self._mcp.version}
        return PushedDefinition.model_validate({**said, "path": self._item.path, **facts})

    async def carry_out(self) -> PushedDefinition:
        """Commit, branch, pull request: what is there already stays.

        Raises:
            NotWritten: It cannot be written to that file.
        """
        head = await self._writing.branch(self._branch)
        file = await self._file(head)
        written = self._written(file)
        if written == file.base:
            same = "the repository says the same already"
            return self.told(pushed=False, reason=same, closed=await self._moot())
        commit = head
        if head is None or written != file.present:
            commit = await self._commit(file, written)
            if head is None:
                await self._writing.create_branch(self._branch, commit)
            else:
                await self._writing.move_branch(self._branch, commit)
        pull, updated = await self._pull_request(file.base, written)
        return self.told(
            pushed=True,
            branch=self._branch,
            commit=commit,
            pull_request=pull.number,
            pull_request_url=pull.html_url,
            updated=updated,
            closed=await self._ours.close_earlier(),
        )

    async def _moot(self) -> list[int]:
        return await self._ours.close_moot(await self._writing.branches(_PREFIX))

    async def _file(self, head: str | None) -> _File:
        base, mode = await self._text(self._step.commit)
        if head is None:
            return _File(self._step.commit, mode, base, base)
        present, mode = await self._text(head)
        return _File(head, mode, base, present)

    async def _text(self, commit: str) -> tuple[str | None, str]:
        name, github = self._connection.full_name, self._found.github
        tree = await github.tree(name, commit)
        entry = next((each for each in tree.entries if each.path == self._item.path), None)
        if entry is None:
            return None, "100644"
        if entry.mode not in ("100644", "100755"):
            raise NotWritten(f"{self._item.path} is a link, which is not written")
        if entry.size > LARGEST:
            raise NotWritten(f"{self._item.path} has {entry.size} bytes, more than {LARGEST}")
        try:
            return (await github.blob(name, entry.blob, LARGEST)).decode(), entry.mode
        except UnicodeDecodeError:
            raise NotWritten(f"{self._item.path} is not UTF-8") from None

    def _written(self, file: _File) -> str:
        if self._item.new:
            if file.base is not None:
                raise NotWritten(f"{self._item.path} is there already, and was never synced: sync first")
            return new_definition(self._item.path, self._mcp, self._config)
        if file.present is None:
            raise NotWritten(f"{self._item.path} is not there any more: sync first")
        return rendered(self._item.path, self._item.entry, file.present, self._mcp, self._config)

    async def _commit(self, file: _File, written: str) -> str:
        usual = f"Bring {self._mcp.slug} in step with the platform: version {self._mcp.version}"
        return await self._writing.commit(
            CommitOrder(
                parent=file.parent,
                path=self._item.path,
                text=written,
                mode=file.mode,
                message=self._request.message or usual,
            )
        )

    async def _pull_request(self, base: str | None, written: str) -> tuple[PullRequest, bool]:
        usual = f"{self._mcp.slug}: version {self._mcp.version} of the platform"
        title, body = self._request.title or usual, self._body(base or "", written)
        known = await self._writing.open_pull_request(self._branch, self._connection.branch)
        if known is None:
            pull = await self._writing.create_pull_request(self._branch, self._connection.branch, title, body)
            return pull, False
        pull, text = known
        title = self._request.title or pull.title
        if (pull.title, text.replace("\r\n", "\n")) != (title, body):
            await self._writing.describe_pull_request(pull.number, title, body)
        return pull, True

    def _body(self, base: str, written: str) -> str:
        path = self._item.path
        lines = difflib.unified_diff(
            base.splitlines(), written.splitlines(), f"a/{path}", f"b/{path}", lineterm=""
        )
        difference = fenced("\n".join(lines), "diff", _LONGEST_DIFFERENCE)
        return (
            f"{self._ours.marker}\nThe MCP `{self._mcp.slug}` is at version {self._mcp.version} (revision"
            f" {self._mcp.revision}) on the platform. Merging this takes it to"
            f" `{self._connection.branch}`.\n\n{difference}\n"
        )


def _item(definition: Definition) -> PushItem:
    return PushItem(mcp_id=definition.mcp_id, path=definition.path, entry=definition.entry)
