"""Getting the files of Git repositories with the `git` program."""

import asyncio
import base64
import os
import re
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from activities.building import BuildFailed
from mcp_platform.addresses import refusal
from mcp_platform.contracts.images import GitSource
from mcp_platform.variables import Mask

_LARGEST_TREE: Final = 268_435_456
_MOST_FILES: Final = 50_000
_MOST_MEMORY: Final = 1_073_741_824
"""Bytes of addresses that git may use: a few kilobytes can describe a tree of a hundred million paths."""
_PATIENCE: Final = 120.0
"""Seconds that getting the files may take."""
_LOOKS_EVERY: Final = 0.5
_SHOWN: Final = 500
_LIMITED: Final = (
    "import os, resource, sys\n"
    "for name, most in (('RLIMIT_AS', sys.argv[1]), ('RLIMIT_FSIZE', sys.argv[2])):\n"
    "    kind = getattr(resource, name)\n"
    "    hard = resource.getrlimit(kind)[1]\n"
    "    least = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)\n"
    "    resource.setrlimit(kind, (least, least))\n"
    "os.execvp(sys.argv[3], sys.argv[3:])\n"
)
"""Becomes another program that, like all that it starts, has no more than this."""
_TOO_MUCH: Final = re.compile(r"out of memory|cannot allocate memory|file too large", re.IGNORECASE)
_KILLED: Final = frozenset({-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGXFSZ})


class GitCheckouts:
    """Gets one commit, over HTTP only, without submodules, hooks or anything that is configured here.

    Args:
        private: Whether repositories may be at loopback or private addresses; None where that is not
            looked at, since whoever names a repository may have the platform build from it anyway.
    """

    def __init__(self, private: bool | None = None) -> None:
        self._private = private

    async def fetch(self, source: GitSource, token: str | None, target: Path) -> str:
        """Put the files, and nothing of Git's own, into an empty folder; give the commit.

        Raises:
            BuildFailed: They cannot be had; the message says why.
        """
        pinned = {} if self._private is None else await _pinned(source.url, private=self._private)
        git = _Git(source, token, target, pinned)
        try:
            async with asyncio.timeout(_PATIENCE):
                await git.run("init", "--quiet", "--template=")
                await git.run(
                    "fetch",
                    "--quiet",
                    "--depth=1",
                    "--no-tags",
                    "--no-recurse-submodules",
                    source.url,
                    source.ref,
                )
                await git.run("-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD")
                commit = await git.run("rev-parse", "HEAD")
        except TimeoutError:
            raise BuildFailed(f"{source.url} was not fetched within {_PATIENCE:g} s") from None
        await asyncio.to_thread(shutil.rmtree, target / ".git")
        return commit.strip()


class _Git:
    """Runs `git` in one folder.

    Args:
        source: The repository.
        token: What proves that it may be read.
        folder: Where its files go.
        settings: What git is told besides.
    """

    def __init__(
        self, source: GitSource, token: str | None, folder: Path, settings: Mapping[str, str]
    ) -> None:
        self._source = source
        self._folder = folder
        self._mask = Mask([token] if token else [])
        self._environment = _environment(source, token, folder, settings)

    async def run(self, *arguments: str) -> str:
        """Run one command, and give what it wrote.

        Raises:
            BuildFailed: It failed, or the repository is too large.
        """
        git = shutil.which("git")
        if git is None:
            raise BuildFailed("the worker has no git program; an administrator can install it")
        limits = (str(_MOST_MEMORY), str(_LARGEST_TREE))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LIMITED, *limits, git, *arguments),
            cwd=self._folder,
            env=self._environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        try:
            output, errors = await self._ended(process)
        finally:
            # What it started, such as git-remote-https, ends with it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
        if process.returncode:
            raise BuildFailed(self._reason(process.returncode, errors.decode(errors="replace")))
        return output.decode()

    async def _ended(self, process: Process) -> tuple[bytes, bytes]:
        ending = asyncio.create_task(process.communicate())
        try:
            while not ending.done():
                await asyncio.wait({ending}, timeout=_LOOKS_EVERY)
                await asyncio.to_thread(_check_size, self._folder, self._source.url)
            return ending.result()
        finally:
            ending.cancel()

    def _reason(self, status: int | None, errors: str) -> str:
        # What the server says is left out: it may be any page of a network that only we can reach.
        said = [line for line in errors.splitlines() if not line.startswith(("hint:", "remote:"))]
        if status in _KILLED or any(_TOO_MUCH.search(line) for line in said):
            return (
                f"the repository {self._source.url} is too large to build from: git needed more than"
                f" {_MOST_MEMORY // 1_048_576} MiB of memory, or a file of {_LARGEST_TREE // 1_048_576} MiB"
            )
        text = self._mask.text(" ".join(said))[:_SHOWN] or "git failed"
        return f"the repository {self._source.url} at {self._source.ref} cannot be fetched: {text}"


async def _pinned(url: str, *, private: bool) -> dict[str, str]:
    """Have git connect to addresses that the rules allow, and follow nobody elsewhere.

    Raises:
        BuildFailed: The name has no such address.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BuildFailed(f"the name {host} cannot be resolved: {error}") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    reasons = {address: refusal(address, private=private) for address in addresses}
    allowed = [address for address, reason in reasons.items() if reason is None]
    if not allowed:
        told = "; ".join(f"{address} {reason}" for address, reason in reasons.items())
        raise BuildFailed(f"the platform does not connect to {host}: {told}")
    # A name may resolve to something else a moment later, and a redirect may lead anywhere.
    pins = ",".join(f"[{address}]" if ":" in address else address for address in allowed)
    return {"http.curloptResolve": f"{host}:{port}:{pins}", "http.followRedirects": "false"}


def _environment(
    source: GitSource, token: str | None, folder: Path, more: Mapping[str, str]
) -> dict[str, str]:
    """Give git nothing of ours but where to find programs, proxies and certificates."""
    settings = {
        "core.hooksPath": os.devnull,
        "core.fsmonitor": "false",
        "core.symlinks": "true",
        "submodule.recurse": "false",
        # Each thread takes addresses, of which there is a limit.
        "pack.threads": "1",
        "protocol.file.allow": "never",
        **more,
    }
    if token is not None:
        parts = urlsplit(source.url)
        proof = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        # By the environment: the arguments of a process can be read by every user of the machine.
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = f"Authorization: Basic {proof}"
        # Or the header would go wherever the server sends us.
        settings["http.followRedirects"] = "false"
    passed = {name: value for name, value in os.environ.items() if name in _PASSED}
    return passed | {
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "LC_ALL": "C",
        **_as_environment(settings),
    }


_PASSED: Final = frozenset(
    {"PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "http_proxy", "https_proxy", "no_proxy"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
)


def _as_environment(settings: Mapping[str, str]) -> dict[str, str]:
    pairs = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        pairs[f"GIT_CONFIG_KEY_{number}"] = name
        pairs[f"GIT_CONFIG_VALUE_{number}"] = value
    return pairs


def _check_size(folder: Path, url: str) -> None:
    size = count = 0
    for parent, _folders, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(parent, name)).st_size
            count += 1
    if size > _LARGEST_TREE or count > _MOST_FILES:
        raise BuildFailed(
            f"the repository {url} is too large to build from: more than"
            f" {_LARGEST_TREE // 1_048_576} MiB or {_MOST_FILES} files"
        )
