"""Sessions whose clients leave, or whose runner ends, just as their servers are started or ended."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from mcp_platform.duplex import SessionGone
from runner.child import ServerProcess, start_server
from runner.endpoint import CLIENT_INFO
from runner.sessions import Bounds, SessionEnded, Sessions
from tests.runner.conftest import SERVERS, Start, until
from tests.runner.test_runner_sessions import begin, one_server
from tests.waiting import PATIENCE


async def test_a_stubborn_server_is_ended_though_its_client_does_not_wait_for_that(start: Start) -> None:
    runner = await (await start("stubborn", options=("--grace", "2"))).ready()
    async with aiohttp.ClientSession() as http:
        session, _ = await begin(http, runner, "sampling")
        ending = asyncio.create_task(session.end())

        async def is_ending() -> bool:
            return (await session.post({"id": 1, "method": "tools/list"}))[0] == 404

        await until(is_ending)
        ending.cancel()
        with suppress(asyncio.CancelledError):
            await ending
    await until(lambda: one_server(runner))


async def test_a_server_is_killed_when_whoever_ends_it_is_cancelled() -> None:
    speaks = asyncio.Event()
    server = await start_server([sys.executable, SERVERS, "stubborn"], None, lambda _: speaks.set())
    await server.write(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
    await asyncio.wait_for(speaks.wait(), PATIENCE)  # until then SIGTERM alone would end it
    ending = asyncio.create_task(server.end(60.0))
    await asyncio.sleep(0)
    ending.cancel()
    with suppress(asyncio.CancelledError):
        await ending
    assert await asyncio.wait_for(asyncio.shield(server.exited), PATIENCE) < 0


_LATE = """
import os, signal, sys, time

def end(*_):
    time.sleep(0.3)
    os._exit(0)

signal.signal(signal.SIGTERM, end)
exec(open(sys.argv.pop(1)).read())
"""


class _Held:
    """Starts servers, and holds each back when it has been started."""

    def __init__(self, *command: str) -> None:
        self._command = [sys.executable, *(command or (SERVERS, "legacy"))]
        self.server: ServerProcess | None = None
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()

    async def start(self, receive: Callable[[bytes], None], mark: str) -> ServerProcess:
        self.server = await start_server(self._command, None, receive, mark)
        self.started.set()
        await self.go_on.wait()
        return self.server

    async def ended(self) -> int:
        """Wait until the server has ended; its status."""
        assert self.server is not None
        return await asyncio.wait_for(asyncio.shield(self.server.exited), PATIENCE)


@asynccontextmanager
async def _holding(*command: str, grace: float = 0.5) -> AsyncIterator[tuple[_Held, Sessions]]:
    held = _Held(*command)
    sessions = Sessions(held.start, Bounds(grace=grace), CLIENT_INFO)
    try:
        yield held, sessions
    finally:
        await sessions.close()
        if held.server is not None:
            await held.server.end(0.0)


async def test_a_session_that_is_ended_while_its_server_starts_is_not_opened() -> None:
    async with _holding() as (held, sessions):
        number = sessions.new_id()
        upgrading = asyncio.create_task(sessions.upgrade(number))
        await asyncio.wait_for(held.started.wait(), PATIENCE)
        await sessions.end(number)
        held.go_on.set()
        with pytest.raises(SessionEnded):
            await upgrading
        await held.ended()
        with pytest.raises(SessionEnded):
            sessions.find(number)


async def test_a_session_whose_server_starts_while_the_runner_ends_is_not_opened() -> None:
    async with _holding() as (held, sessions):
        opening = asyncio.create_task(sessions.open({"capabilities": {"sampling": {}}}))
        await asyncio.wait_for(held.started.wait(), PATIENCE)
        await sessions.close()
        held.go_on.set()
        with pytest.raises(SessionGone):
            await opening
        await held.ended()
        with pytest.raises(SessionGone):
            await sessions.open({"capabilities": {"sampling": {}}})


async def test_a_server_keeps_the_time_that_it_has_to_end_though_its_client_does_not_wait() -> None:
    async with _holding("-c", _LATE, SERVERS, "legacy", grace=PATIENCE) as (held, sessions):
        held.go_on.set()
        session = await sessions.open({"capabilities": {"sampling": {}}})
        ending = asyncio.create_task(sessions.end(session.id))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await sessions.close()
        assert await held.ended() == 0
