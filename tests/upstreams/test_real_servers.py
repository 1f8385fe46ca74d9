"""The reference server of the TypeScript SDK, by both of its older transports."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from mcp_platform.wire import Era
from tests.services.npm_servers import everything_server
from tests.upstreams.conftest import ASKABLE, Desk, Recorder, call, session_of, text, until
from tests.waiting import eventually

ERAS = [Era.MODERN, Era.LEGACY]


def free_port() -> int:
    """Find a port that nobody uses."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def everything(transport: str, port: int, log: Path) -> AsyncIterator[str]:
    """Run the server until the block ends; its address."""
    command = everything_server()["command"]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            command, transport, stdout=output, stderr=output, env={**os.environ, "PORT": str(port)}
        )

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(answers)
        yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(params=["streamableHttp", "sse"])
def transport(request: pytest.FixtureRequest) -> str:
    """Name a transport."""
    return str(request.param)


def asked_by(era: Era, channel: Recorder) -> dict[str, Any]:
    """Give what a request of a client carries that may be asked everything."""
    if era is Era.MODERN:
        return {"channel": channel, "capabilities": ASKABLE}
    return {"channel": channel, "session": session_of(channel, **ASKABLE)}


async def test_it_does_for_clients_of_both_eras_what_it_does_for_its_own(
    desk: Desk, tmp_path: Path, transport: str
) -> None:
    port = free_port()
    async with everything(transport, port, tmp_path / "log") as url:
        upstream = desk.open(url)
        for era in ERAS:
            channel = Recorder()
            assert text(await call(upstream, "echo", era, {"message": "hi"})) == "Echo: hi"
            steps = {"duration": 0.2, "steps": 2}
            given = {"channel": channel, "meta": {"progressToken": 7}}
            await call(upstream, "trigger-long-running-operation", era, steps, **given)
            progress = [m["params"]["progress"] for m in channel.told if "progress" in m["params"]]
            assert progress[-1] == 2
            sampled = await call(
                upstream, "trigger-sampling-request", era, {"prompt": "x"}, **asked_by(era, channel)
            )
            assert "sampled" in text(sampled)
            assert [method for method, _ in channel.asked][-1] == "sampling/createMessage"
        await upstream.close()


async def test_a_restart_behind_a_clients_session_goes_unseen(
    desk: Desk, tmp_path: Path, transport: str
) -> None:
    port = free_port()
    session, channel = session_of(**ASKABLE), Recorder()
    arguments = {"prompt": "x"}
    async with everything(transport, port, tmp_path / "log") as url:
        upstream = desk.open(url)
        given = {"channel": channel, "session": session}
        await call(upstream, "trigger-sampling-request", Era.LEGACY, arguments, **given)
    async with everything(transport, port, tmp_path / "log"):
        result = await call(upstream, "trigger-sampling-request", Era.LEGACY, arguments, **given)
        assert "sampled" in text(result)
        assert text(await call(upstream, "echo", Era.MODERN, {"message": "hi"})) == "Echo: hi"
        await upstream.close()


async def test_a_client_that_listens_is_asked_for_its_roots(
    desk: Desk, tmp_path: Path, transport: str
) -> None:
    """It asks for roots on its standalone stream, by itself."""
    async with everything(transport, free_port(), tmp_path / "log") as url:
        upstream, channel = desk.open(url), Recorder()
        session = session_of(channel, **ASKABLE)
        listener = asyncio.create_task(upstream.listen(session))

        async def roots() -> str:
            given: dict[str, Any] = {"channel": channel, "session": session}
            return text(await call(upstream, "get-roots-list", Era.LEGACY, **given))

        await until(lambda: session.id in getattr(upstream._leg, "_own", {}))
        assert "file:///tmp" in await roots()
        assert {method for method, _ in channel.asked} == {"roots/list"}
        channel.answers["roots/list"] = {"roots": [{"uri": "file:///other", "name": "other"}]}
        await upstream.tell(session, {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})

        await eventually(roots, lambda found: "file:///other" in found)
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await upstream.close()


async def test_modern_clients_that_call_at_once_are_each_asked_for_their_own_roots(
    desk: Desk, tmp_path: Path, transport: str
) -> None:
    """It asks outside of the calls' own streams, and remembers the roots of a session."""
    async with everything(transport, free_port(), tmp_path / "log") as url:
        upstream = desk.open(url)

        async def roots(number: int) -> str:
            own = {"roots": [{"uri": f"file:///{number}", "name": str(number)}]}
            channel = Recorder(**{"roots/list": own})
            given: dict[str, Any] = {"channel": channel, "capabilities": {"roots": {}}}
            return text(await call(upstream, "get-roots-list", Era.MODERN, **given))

        found = await asyncio.gather(*(roots(number) for number in range(6)))
        assert all(f"file:///{number}" in each for number, each in enumerate(found))
        await upstream.close()
