"""A bare Git repository, made and read by the `git` program."""

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Mona Lisa",
    "GIT_AUTHOR_EMAIL": "mona@example.com",
    "GIT_COMMITTER_NAME": "Mona Lisa",
    "GIT_COMMITTER_EMAIL": "mona@example.com",
    "LC_ALL": "C",
}


class GitFailed(Exception):
    """`git` says no."""


@dataclass(frozen=True)
class Entry:
    """One entry of a tree."""

    mode: str
    type: str
    sha: str
    size: int | None
    path: str


class Git:
    """One repository in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, *arguments: str, given: bytes = b"") -> bytes:
        """Run one command, and give what it writes."""
        process = await asyncio.create_subprocess_exec(
            "git",
            "--git-dir",
            str(self.folder),
            *arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=_ENVIRONMENT,
        )
        output, errors = await process.communicate(given)
        if process.returncode:
            raise GitFailed(errors.decode(errors="replace"))
        return output

    async def words(self, *arguments: str) -> str:
        """Run one command, and give the text it writes."""
        return (await self.run(*arguments)).decode().strip()

    async def begin(self) -> None:
        """Make it, empty."""
        self.folder.mkdir(parents=True)
        await self.run("init", "--quiet", "--bare", "--initial-branch=main")

    async def resolve(self, name: str, kind: str = "commit") -> str | None:
        """Give the id of what a branch or an id names; None where there is none of this kind."""
        try:
            return await self.words("rev-parse", "--quiet", "--verify", f"{name}^{{{kind}}}")
        except GitFailed:
            return None

    async def branch(self, name: str) -> str | None:
        """Give a branch's commit."""
        return await self.resolve(f"refs/heads/{name}")

    async def branches(self) -> dict[str, str]:
        """Give all branches and their commits."""
        lines = await self.words("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
        return dict(line.rsplit(" ", 1) for line in lines.splitlines())

    async def set_branch(self, name: str, commit: str | None) -> None:
        """Let a branch be at this commit, whatever it was at; None removes it."""
        if commit is None:
            await self.run("update-ref", "-d", f"refs/heads/{name}")
        else:
            await self.run("update-ref", f"refs/heads/{name}", commit)

    async def commit(
        self, files: Mapping[str, str | bytes | None], branch: str, message: str, parent: str | None
    ) -> str:
        """Commit these changes of files, of which None is a removal, however many they are."""
        said = message.encode()
        lines = [f"commit refs/heads/{branch}", "committer Mona Lisa <mona@example.com> now"]
        stream = "\n".join(lines).encode() + b"\ndata %d\n%s\n" % (len(said), said)
        if parent:
            stream += f"from {parent}\n".encode()
        parts = [stream]
        for path, content in files.items():
            if content is None:
                parts.append(f"D {path}\n".encode())
                continue
            data = content.encode() if isinstance(content, str) else content
            parts.append(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
        await self.run("fast-import", "--quiet", "--force", "--date-format=now", given=b"".join(parts))
        commit = await self.branch(branch)
        assert commit is not None
        return commit

    async def entries(self, tree: str, *, recursive: bool) -> list[Entry]:
        """List a tree, with its folders."""
        options = ["-r", "-t"] if recursive else []
        output = await self.run("ls-tree", "-z", "-l", *options, tree)
        found = []
        for line in output.decode().split("\0")[:-1]:
            facts, path = line.split("\t", 1)
            mode, kind, sha, size = facts.split()
            found.append(Entry(mode, kind, sha, None if size == "-" else int(size), path))
        return found

    async def changed(self, base: str, head: str) -> list[tuple[str, str, str, str | None]]:
        """List status, path, blob and former path of what changed between two commits."""
        output = await self.run("diff-tree", "-r", "-z", "-M", "--no-abbrev", "--raw", base, head)
        words = output.decode().split("\0")[:-1]
        found: list[tuple[str, str, str, str | None]] = []
        while words:
            facts = words.pop(0).split()
            old = words.pop(0)
            renamed = facts[4].startswith(("R", "C"))
            new = words.pop(0) if renamed else old
            status = {"A": "added", "D": "removed", "M": "modified", "R": "renamed"}[facts[4][0]]
            found.append(
                (status, new, facts[2] if status == "removed" else facts[3], old if renamed else None)
            )
        return found
