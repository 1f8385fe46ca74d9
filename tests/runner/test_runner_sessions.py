"""Clients of the older protocol that need a server of their own get one, and nothing of it remains."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import psutil
import pytest

from tests.runner.conftest import RunningRunner, Start, gone, lives, members, until

LEGACY = "2025-11-25"
_EITHER = {"Accept": "application/json, text/event-stream"}


class Session:
    """A client's session, as raw messages."""

    def __init__(self, http: aiohttp.ClientSession, runner: RunningRunner, number: str | None) -> None:
        self.number = number
        self._http = http
        self._url = runner.url
        self.headers = {**_EITHER, "MCP-Protocol-Version": LEGACY}
        if number is not None:
            self.headers["Mcp-Session-Id"] = number

    async def post(self, message: dict[str, Any]) -> tuple[int, str]:
        """Post one message; status and body."""
        body = {"jsonrpc": "2.0", **message}
        async with self._http.post(self._url, json=body, headers=self.headers) as answer:
            return answer.status, await answer.text()

    async def call(self, tool: str, number: int = 1, **arguments: Any) -> str:
        """Call a tool, and give the whole answer."""
        params = {"name": tool, "arguments": arguments}
        return (await self.post({"id": number, "method": "tools/call", "params": params}))[1]

    async def end(self) -> int:
        """End the session."""
        async with self._http.delete(self._url, headers=self.headers) as answer:
            return answer.status


async def begin(
    http: aiohttp.ClientSession, runner: RunningRunner, *offers: str, **more: Any
) -> tuple[Session, dict[str, Any]]:
    """Open a session; it and the answer."""
    hello = {
        "protocolVersion": LEGACY,
        "capabilities": {name: {} for name in offers},
        "clientInfo": {"name": "test", "version": "1"},
        **more,
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    async with http.post(runner.url, json=message, headers=_EITHER) as answer:
        return Session(http, runner, answer.headers.get("Mcp-Session-Id")), await answer.json()


def servers(runner: RunningRunner) -> list[psutil.Process]:
    """List the servers that the runner has started and that live."""
    children = psutil.Process(runner.process.pid).children()
    return [child for child in children if lives(child)]


async def one_server(runner: RunningRunner) -> bool:
    """Whether only the shared server is left."""
    return len(servers(runner)) == 1


async def test_only_clients_that_may_be_asked_something_have_a_server_of_their_own(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    async with aiohttp.ClientSession() as http:
        one, other = (await begin(http, runner))[0], (await begin(http, runner))[0]
        asked, also = (await begin(http, runner, "sampling"))[0], (await begin(http, runner, "roots"))[0]
        shared, same = await one.call("pid"), await other.call("pid")
        own, another = await asked.call("pid"), await also.call("pid")
    assert shared == same
    assert len({shared, own, another}) == 3
    assert len(servers(runner)) == 3


async def test_a_question_goes_to_the_client_whose_call_it_is_and_its_answer_comes_back(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    async with aiohttp.ClientSession() as http:
        session, _ = await begin(http, runner, "sampling")
        said = await session.call("ask")
        assert '"method":"sampling/createMessage"' in said
        assert (await session.post({"id": "q1", "result": {"role": "user"}}))[0] == 202
        _, heard = await session.post({"id": 2, "method": "fixture/answers"})
        # What was not asked is not passed on.
        await session.post({"id": "q2", "result": {}})
        assert '"result":{"role":"user"}' in heard
        assert "q2" not in (await session.post({"id": 3, "method": "fixture/answers"}))[1]


async def test_a_question_in_a_session_of_several_clients_is_refused_while_several_call(
    start: Start,
) -> None:
    runner = await (await start("legacy")).ready()
    shared = {"_meta": {"mcp-platform/shared": True}}
    async with aiohttp.ClientSession() as http:
        session, _ = await begin(http, runner, "sampling", **shared)
        assert "sampling/createMessage" in await session.call("ask", 1)
        slow = asyncio.create_task(session.call("slow", 2, seconds=600))

        async def refused() -> bool:
            return "sampling/createMessage" not in await session.call("ask", 3)

        await until(refused)
        _, heard = await session.post({"id": 4, "method": "fixture/answers"})
        slow.cancel()
    assert "several clients share this session" in heard


async def test_more_sessions_than_allowed_are_refused_until_one_ends(start: Start) -> None:
    runner = await (await start("legacy", options=("--most-sessions", "1"))).ready()
    async with aiohttp.ClientSession() as http:
        first, _ = await begin(http, runner, "elicitation")
        _, refused = await begin(http, runner, "elicitation")
        assert "1 sessions have a server of their own" in refused["error"]["message"]
        assert await first.end() == 200
        await until(lambda: one_server(runner))
        assert (await first.post({"id": 1, "method": "tools/list"}))[0] == 404
        second, _ = await begin(http, runner, "elicitation")
        assert "result" in await second.call("pid")


async def test_an_idle_session_ends_with_its_server(start: Start) -> None:
    runner = await (await start("legacy", options=("--session-idle", "0.3"))).ready()
    async with aiohttp.ClientSession() as http:
        session, _ = await begin(http, runner, "sampling")
        await until(lambda: one_server(runner))
        assert (await session.post({"id": 1, "method": "tools/list"}))[0] == 404


async def test_the_death_of_a_sessions_server_ends_that_session_alone(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    async with aiohttp.ClientSession() as http:
        session, _ = await begin(http, runner, "sampling")
        other, _ = await begin(http, runner, "sampling")
        status, _ = await session.post({"id": 1, "method": "tools/call", "params": {"name": "die"}})
        assert status == 502

        async def forgotten() -> bool:
            return (await session.post({"id": 2, "method": "tools/list"}))[0] == 404

        await until(forgotten)
        assert "result" in await other.call("pid")
    assert await runner.health() == 200


async def test_a_session_that_another_runner_opened_is_not_known(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    async with aiohttp.ClientSession() as http:
        stranger = Session(http, runner, "0123456789abcdef")
        assert (await stranger.post({"id": 1, "method": "tools/list"}))[0] == 404
        assert await stranger.end() == 404


async def test_what_a_sessions_server_started_ends_with_the_session(start: Start) -> None:
    runner = await (await start("family")).ready()
    group = runner.process.pid
    async with aiohttp.ClientSession() as http:
        session, _ = await begin(http, runner, "sampling")
        await session.call("pid")
        assert len(members(group)) == 5
        await session.end()

        async def only_the_others() -> bool:
            return len(members(group)) == 3

        await until(only_the_others)
        assert "result" in await (await begin(http, runner))[0].call("pid")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_servers_of_sessions_end_with_the_runner(start: Start, number: signal.Signals) -> None:
    runner = await (await start("stubborn")).ready()
    async with aiohttp.ClientSession() as http:
        await begin(http, runner, "sampling")
        await begin(http, runner, "sampling")
    found = servers(runner)
    assert len(found) == 3
    os.kill(runner.process.pid, number)
    await runner.ended()
    await gone(*found)


@pytest.mark.parametrize("offers", [("sampling",), ()], ids=["own", "shared"])
async def test_a_cancelled_call_is_cancelled_at_the_server(start: Start, offers: tuple[str, ...]) -> None:
    runner = await (await start("legacy")).ready()
    async with aiohttp.ClientSession() as http:
        session, _ = await begin(http, runner, *offers)
        call = asyncio.create_task(session.call("slow", 7, seconds=600))

        async def cancelled() -> bool:
            params = {"requestId": 7, "reason": "enough"}
            await session.post({"method": "notifications/cancelled", "params": params})
            return call.done()

        await until(cancelled)
        assert "Request cancelled" in await call
        _, heard = await session.post({"id": 8, "method": "fixture/answers"})
    assert '"reason":"enough"' in heard


async def test_a_server_that_cannot_be_started_again_is_told_to_the_client(start: Start) -> None:
    runner = await (await start("once")).ready()
    async with aiohttp.ClientSession() as http:
        _, answer = await begin(http, runner, "sampling")
        assert "opened no session: the server exited with status 7" in answer["error"]["message"]
        assert "result" in await (await begin(http, runner))[0].call("pid")
    await until(lambda: one_server(runner))
