"""Upstreams by themselves, and clients that take down what they are told and asked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from gateway.requests import ClientSession
from gateway.upstreams.http import Http, Limits
from gateway.upstreams.upstream import Target, Upstream
from mcp_platform.contracts.deployments import Driver, UpstreamAddress
from mcp_platform.wire import (
    CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    METHOD_NOT_FOUND,
    MODERN_VERSION,
    VERSION_KEY,
    Era,
    RpcError,
)
from tests.upstreams.older import Older, older
from tests.waiting import PATIENCE, eventually, in_one_task

LIMITS = Limits(connect_timeout=15.0, call_timeout=30.0, max_response_bytes=1_000_000)
ASKABLE: dict[str, Any] = {"sampling": {}, "elicitation": {}, "roots": {}}
INFO = {"name": "tester", "version": "1"}
ANSWERS: dict[str, dict[str, Any]] = {
    "sampling/createMessage": {
        "role": "assistant",
        "content": {"type": "text", "text": "sampled"},
        "model": "m",
        "stopReason": "endTurn",
    },
    "elicitation/create": {"action": "accept", "content": {"username": "ann", "email": "a@b", "name": "Ann"}},
    "roots/list": {"roots": [{"uri": "file:///tmp", "name": "tmp"}]},
}


class Recorder:
    """A client: it notes what it is told, and answers what it is asked."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.capabilities: dict[str, Any] = dict(ASKABLE)
        self.client_info: dict[str, Any] = INFO
        self.told: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, Any] | None]] = []
        self.answers = ANSWERS | answers
        self.news = asyncio.Event()

    async def notify(self, message: dict[str, Any]) -> None:
        """Note it."""
        self.told.append(message)
        self.news.set()

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Answer as it was told to."""
        self.asked.append((method, params))
        if method not in self.answers:
            raise RpcError(METHOD_NOT_FOUND, f"this client does not offer {method}")
        return self.answers[method]

    def methods(self) -> list[str]:
        """List what it was told."""
        return [message["method"] for message in self.told]

    async def hears(self, method: str, within: float = PATIENCE) -> dict[str, Any]:
        """Wait until it was told something of this kind, and give it."""
        async with asyncio.timeout(within):
            while method not in self.methods():
                self.news.clear()
                await self.news.wait()
        return next(message for message in self.told if message["method"] == method)


def session_of(channel: Recorder | None = None, **capabilities: Any) -> ClientSession:
    """Give a session of an older client, which declared this."""
    return ClientSession(uuid4().hex, None, "x", "2025-11-25", capabilities, INFO, channel)


def modern(params: dict[str, Any] | None = None, **capabilities: Any) -> dict[str, Any]:
    """Give a modern client's parameters."""
    own = {VERSION_KEY: MODERN_VERSION, CLIENT_INFO_KEY: INFO, CAPABILITIES_KEY: capabilities}
    params = params or {}
    return {**params, "_meta": {**own, **params.get("_meta", {})}}


class Desk:
    """Opens upstreams, and sees to it that nothing is left of them."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.http = Http()
        self.upstreams: list[Upstream] = []
        self._tasks = tasks

    def open(
        self,
        url: str,
        limits: Limits = LIMITS,
        headers: dict[str, str] | None = None,
        *,
        private: bool = True,
        address: UpstreamAddress | None = None,
    ) -> Upstream:
        """Give an upstream at this address."""

        async def target() -> Target:
            return Target(url, headers or {})

        address = address or UpstreamAddress(replica_id=uuid4(), url=url, driver=Driver.REMOTE)
        upstream = Upstream(address, self.http, target, limits, self.spawn, private=private)
        self.upstreams.append(upstream)
        return upstream

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that nobody waits for."""
        self._tasks.create_task(work)


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """Run a desk; in the end no connection is open, and no task is left."""
    others = asyncio.all_tasks()  # such as those of the session's platform
    async with asyncio.TaskGroup() as tasks:
        desk = Desk(tasks)
        yield desk
        for upstream in desk.upstreams:
            await upstream.close()
    await desk.http.close()
    assert desk.http.open == 0
    assert desk.http.idle == 0
    codes = [getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks() - others]
    assert not [code for code in codes if code is not None and "/gateway/upstreams/" in code.co_filename]


async def until(true: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait until something has become true."""

    async def ask() -> bool:
        return true()

    await eventually(ask, within=within)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Give a desk."""
    async with in_one_task(open_desk()) as desk:
        yield desk


@pytest.fixture
async def server() -> AsyncIterator[Older]:
    """Run a server that shows its sessions."""
    async with older() as server:
        yield server


async def call(
    upstream: Upstream, tool: str, era: Era, arguments: dict[str, Any] | None = None, **given: Any
) -> dict[str, Any]:
    """Call a tool as a client of this era."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments or {}}
    meta = given.pop("meta", None)
    if meta:
        params["_meta"] = meta
    if era is Era.MODERN:
        params = modern(params, **given.pop("capabilities", {}))
    return await upstream.request("tools/call", params, era, given.pop("timeout", 30.0), **given)


def text(result: dict[str, Any]) -> str:
    """Give a result's only text."""
    return str(result["content"][0]["text"])


async def own_call(upstream: Upstream, session: ClientSession, **arguments: Any) -> str:
    """Call a tool within a session."""
    return text(await call(upstream, "who", Era.LEGACY, arguments, session=session, channel=Recorder()))
