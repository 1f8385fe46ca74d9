"""The HTTP server: who asks, what they may, how often, and what goes wrong on demand."""

import asyncio
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import web

from tests.github.double import apps, hooks, reading, writing
from tests.github.double.calls import Answer, Call, Endpoint, Refusal, not_found
from tests.github.double.repositories import Repository
from tests.waiting import PATIENCE

_ENDPOINTS = [*reading.ENDPOINTS, *hooks.ENDPOINTS, *apps.ENDPOINTS, *writing.ENDPOINTS]
_RIGHTS = {"pull": 1, "push": 2, "admin": 3}
LIMIT = 5000


@dataclass
class Account:
    """Whose token it is: a person's, or an installation of an App."""

    login: str
    token: str
    fine_grained: bool = False
    hooks: bool = True
    """Whether the token may see and change webhooks."""
    scopes: str = "repo"
    """Of a classic token."""
    revoked: bool = False
    expires_at: datetime | None = None
    installation: int | None = None

    @property
    def holds(self) -> bool:
        """Whether the token is good."""
        return not self.revoked and (self.expires_at is None or self.expires_at > datetime.now(UTC))


@dataclass
class Trouble:
    """What goes wrong with the next requests."""

    status: int = 0
    """Zero closes the connection without an answer."""
    times: int | None = None
    """None: with all of them."""
    path: str = ""
    method: str = ""
    after: int = 0
    """How many go well first."""
    message: str = "Server Error"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before an answer that is right."""
    held: asyncio.Event | None = None
    """What the right answer waits for, within bounds."""
    late: bool = False
    """Whether what is asked is done all the same, and only its answer is lost."""
    met: int = 0
    """How many requests met it."""

    def meets(self, method: str, path: str) -> bool:
        """Tell whether this request is one of them, and count it."""
        if (self.method and method != self.method) or not re.search(self.path, path):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            if self.times <= 0:
                return False
            self.times -= 1
        self.met += 1
        return True


class GitHubDouble:
    """GitHub, as far as it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self.repositories: dict[str, Repository] = {}
        self.former: dict[str, str] = {}
        """Names that repositories had before."""
        self.accounts: dict[str, Account] = {}
        self.apps: dict[str, str] = {}
        """Public keys of Apps, by their ids."""
        self.installations: dict[int, dict[str, str]] = {}
        """Rights of installations, by full name of the repository."""
        self.suspended: set[int] = set()
        """Installations that their account has suspended."""
        self.requests: list[tuple[str, str, int]] = []
        """Method, path with query, and status of all that was asked."""
        self.troubles: list[Trouble] = []
        self.remaining = LIMIT
        self.reset = int(time.time()) + 3600

    @property
    def api_url(self) -> str:
        """Where its API is, as that of an Enterprise server."""
        return f"{self.address}/api/v3"

    async def repository(
        self, full_name: str, files: Mapping[str, str | bytes] | None = None, *, private: bool = True
    ) -> Repository:
        """Make a repository; with files, they are its first commit."""
        owner, name = full_name.split("/")
        folder = self.folder / f"{uuid4().hex}.git"
        made = Repository(owner, name, folder, self.address, private)
        await made.git.begin()
        self.repositories[full_name.lower()] = made
        if files is not None:
            await made.commit(files, message="First")
        return made

    def token(
        self, login: str, rights: Mapping[str, str] | None = None, *, fine_grained: bool = False, **more: Any
    ) -> str:
        """Issue a token to somebody who has these rights, by repository: `pull`, `push` or `admin`."""
        value = f"{'github_pat_' if fine_grained else 'ghp_'}{uuid4().hex}{uuid4().hex[:8]}"
        self.accounts[value] = Account(login, value, fine_grained, **more)
        for full_name, right in (rights or {}).items():
            self.repositories[full_name.lower()].rights[login] = right
        return value

    def revoke(self, token: str) -> None:
        """Let a token hold no more."""
        self.accounts[token].revoked = True

    def rename(self, repository: Repository, name: str) -> None:
        """Give a repository another name; the one before leads there."""
        old = repository.full_name.lower()
        self.former[old] = self.repositories.pop(old).full_name.lower()
        repository.name = name
        self.repositories[repository.full_name.lower()] = repository
        self.former[old] = repository.full_name.lower()

    def misbehave(self, **trouble: Any) -> Trouble:
        """Let requests go wrong; see `Trouble`."""
        made = Trouble(**trouble)
        self.troubles.append(made)
        return made

    def behave(self) -> None:
        """Let all go well again."""
        self.troubles.clear()
        self.remaining = LIMIT
        self.reset = int(time.time()) + 3600

    def use_up(self, seconds: int = 3600) -> None:
        """Let the rate limit be used up, for so many seconds."""
        self.remaining = 0
        self.reset = int(time.time()) + seconds

    def secondary_limit(self, seconds: int | None = 60, **trouble: Any) -> Trouble:
        """Let requests meet a secondary limit."""
        headers = {"Retry-After": str(seconds)} if seconds is not None else {}
        text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        return self.misbehave(status=403, message=text, headers=headers, **trouble)

    def asked(self, method: str, path: str) -> list[int]:
        """Give the statuses of the requests whose path matches."""
        return [found for verb, where, found in self.requests if verb == method and re.search(path, where)]

    async def deliver(
        self, repository: Repository, event: str, payload: dict[str, Any], delivery: str | None = None
    ) -> list[int]:
        """Post an event to the repository's webhooks, signed as GitHub signs; what they answer."""
        body = json.dumps(payload).encode()
        statuses = []
        async with aiohttp.ClientSession() as session:
            for hook in repository.hooks.values():
                if event not in hook["events"] and event != "ping":
                    continue
                digest = hmac.new(hook["config"]["secret"].encode(), body, hashlib.sha256).hexdigest()
                headers = {
                    "Content-Type": "application/json",
                    "X-GitHub-Event": event,
                    "X-GitHub-Delivery": delivery or str(uuid4()),
                    "X-GitHub-Hook-ID": str(hook["id"]),
                    "X-Hub-Signature-256": f"sha256={digest}",
                }
                async with session.post(hook["config"]["url"], data=body, headers=headers) as answer:
                    statuses.append(answer.status)
        return statuses

    def right_of(self, account: Account | None, repository: Repository) -> str | None:
        """Give what somebody may do in a repository; None is nothing."""
        if account is not None and account.installation is not None:
            right = self.installations.get(account.installation, {}).get(repository.full_name)
        else:
            right = repository.rights.get(account.login) if account is not None else None
        return right or (None if repository.private else "pull")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["GitHubDouble"]:
        """Answer on a port of its own."""
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/api/v3/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            self.address = f"http://127.0.0.1:{port}"
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix("/api/v3")
        met = [trouble for trouble in self.troubles if trouble.meets(request.method, path)]
        for trouble in met:
            await asyncio.sleep(trouble.delay)
            if trouble.held is not None:
                await asyncio.wait_for(trouble.held.wait(), PATIENCE)
        wrong = next((each for each in met if not each.delay and each.held is None), None)
        if wrong is None or wrong.late:
            try:
                answer = await self._handled(request, path)
            except Refusal as refusal:
                answer = refusal.answer()
            if wrong is None:
                return self._written(request, answer)
        if wrong.status == 0:
            self.requests.append((request.method, request.path_qs, 0))
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        refused = Refusal(wrong.status, wrong.message, headers=wrong.headers)
        return self._written(request, refused.answer())

    async def _handled(self, request: web.Request, path: str) -> Answer:
        account = self._account(request)
        if self.remaining <= 0 and self.reset > time.time():
            raise Refusal(403, f"API rate limit exceeded for user ID {1 if account else 0}.")
        for endpoint in _ENDPOINTS:
            found = endpoint.matches(request.method, path)
            if found is None:
                continue
            if isinstance(account, str) != endpoint.app:
                raise Refusal(401, "A JSON web token could not be decoded")
            body = await request.json() if request.can_read_body else {}
            whose = None if isinstance(account, str) else account
            call = Call(self, request, found, body, whose, app=account if isinstance(account, str) else None)
            self._permit(call, endpoint)
            return await endpoint.handler(call)
        raise not_found()

    def _account(self, request: web.Request) -> Account | str | None:
        """Give whose token it is, or the id of the App that proves itself."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if not value:
            return None
        if value.count(".") == 2:
            return apps.proven(self.apps, value)
        account = self.accounts.get(value)
        if account is None or not account.holds or scheme.lower() not in {"token", "bearer"}:
            raise Refusal(401, "Bad credentials")
        if account.installation in self.suspended:
            raise apps.suspended()
        return account

    def _permit(self, call: Call, endpoint: Endpoint) -> None:
        """Find the repository, and let only those at it who may."""
        if endpoint.right is None:
            return
        repository = self._repository(call)
        right = self.right_of(call.account, repository)
        if right is None:
            raise not_found()
        call.repository = repository
        call.right = right
        if _RIGHTS[right] < _RIGHTS[endpoint.right] or (
            endpoint.hooks and call.account is not None and not call.account.hooks
        ):
            if call.account is not None and (call.account.fine_grained or call.account.installation):
                kind = "integration" if call.account.installation else "personal access token"
                raise Refusal(403, f"Resource not accessible by {kind}")
            # Classic tokens: what they may not see is not there.
            raise not_found() if endpoint.hooks else Refusal(403, "Must have push access to repository")

    def _repository(self, call: Call) -> Repository:
        if "id" in call.words:
            numbers = {each.number: each for each in self.repositories.values()}
            found = numbers.get(int(call.words["id"]))
        else:
            full_name = f"{call.words['owner']}/{call.words['repo']}".lower()
            found = self.repositories.get(full_name)
            if found is None and full_name in self.former:
                moved = self.repositories[self.former[full_name]]
                if self.right_of(call.account, moved) is None:
                    raise not_found()
                rest = call.request.rel_url.raw_path.split("/", 6)[6:]
                where = "/".join([f"{self.api_url}/repositories/{moved.number}", *rest])
                raise Refusal(301, "Moved Permanently", headers={"Location": where})
        if found is None:
            raise not_found()
        return found

    def _written(self, request: web.Request, answer: Answer) -> web.Response:
        headers = dict(answer.headers)
        status, body = answer.status, b""
        if answer.body is not None:
            body = json.dumps(answer.body).encode()
            if request.method == "GET" and status == 200:
                headers["ETag"] = f'W/"{hashlib.sha256(body).hexdigest()}"'
                if request.headers.get("If-None-Match") == headers["ETag"]:
                    status, body = 304, b""
        if status != 304 and self.remaining > 0:
            self.remaining -= 1
        elif self.reset <= time.time():
            self.remaining, self.reset = LIMIT, int(time.time()) + 3600
        headers |= {
            "X-RateLimit-Limit": str(LIMIT),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
            "X-RateLimit-Used": str(LIMIT - self.remaining),
            "X-RateLimit-Resource": "core",
            "X-GitHub-Request-Id": uuid4().hex.upper(),
            "X-GitHub-Media-Type": "github.v3; format=json",
        }
        account = self.accounts.get(request.headers.get("Authorization", "").partition(" ")[2])
        if account is not None and not account.fine_grained and account.installation is None:
            headers["X-OAuth-Scopes"] = account.scopes
        self.requests.append((request.method, request.path_qs, status))
        kind = {} if status in {204, 304} else {"content_type": "application/json", "charset": "utf-8"}
        return web.Response(status=status, body=body or None, headers=headers, **kind)  # type: ignore[arg-type]

    def expire_installations(self) -> None:
        """Let the tokens that installations have now expire."""
        for account in self.accounts.values():
            if account.installation is not None:
                account.expires_at = datetime.now(UTC)

    def expire(self, token: str, seconds: float = 0.0) -> None:
        """Let a token expire in so many seconds."""
        self.accounts[token].expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
