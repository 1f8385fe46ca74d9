"""A server of Git repositories on loopback: git's own, behind a page that asks for a token."""

import asyncio
import base64
import os
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from tests.services.process import program

_QUIET: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.com",
}


class GitServer:
    """Serves repositories from a folder.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        """Where it listens, once it does."""
        self.token: str | None = None
        """What has to be sent, once there is one."""
        self.page: str | None = None
        """What is answered with 403 instead, once there is something."""
        self.redirect: str | None = None
        """Where every request is sent instead."""
        self.seen: list[str] = []
        """The headers with credentials that were sent."""

    def add(self, name: str, files: dict[str, str]) -> str:
        """Make a repository of one commit; its address."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        self.git(folder, "init", "--quiet", "--initial-branch=main")
        self.commit(name, files)
        return f"{self.url}/{name}"

    def commit(self, name: str, files: dict[str, str]) -> str:
        """Add a commit, and give its id."""
        folder = self.folder / name
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        self.git(folder, "add", "--all")
        self.git(folder, "commit", "--quiet", "--message", "Change")
        return self.git(folder, "rev-parse", "HEAD").strip()

    def git(self, folder: Path, *arguments: str, given: str | None = None) -> str:
        """Run git in a repository, and give what it writes."""
        command = [program("git"), "-C", str(folder), *arguments]
        environment = os.environ | _QUIET
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, input=given, env=environment, timeout=30
        )
        return done.stdout

    async def answer(self, request: web.Request) -> web.Response:
        """Hand a request to git, if it may be answered."""
        proof = request.headers.get("Authorization", "")
        if proof:
            self.seen.append(proof)
        if self.page is not None:
            return web.Response(status=403, text=self.page)
        if self.redirect:
            raise web.HTTPFound(self.redirect + request.path_qs)
        if self.token is not None:
            wanted = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
            if proof != f"Basic {wanted}":
                return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        # First: who hangs up meanwhile would leave a process that waits for the rest.
        asked = await request.read()
        process = await asyncio.create_subprocess_exec(
            program("git"), "http-backend", stdin=PIPE, stdout=PIPE, env=self._environment(request)
        )
        output, _ = await process.communicate(asked)
        head, _, body = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=body)

    def _environment(self, request: web.Request) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
            **_QUIET,
            # git refuses the repositories of others than who runs it.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }


@asynccontextmanager
async def git_server(folder: Path) -> AsyncIterator[GitServer]:
    """Serve repositories until the end of the context."""
    program("git")
    server = GitServer(folder)
    app = web.Application(client_max_size=16_777_216)
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
