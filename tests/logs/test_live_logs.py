"""Logs that are followed over event streams and WebSockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api import live_logs
from api.live_logs import LiveLog
from mcp_platform.errors import Unavailable
from tests.logs.books import line, lines
from tests.logs.conftest import Written
from tests.platform import Caller, RunningPlatform
from tests.tasks.sockets import EventStream, Socket
from tests.tasks.test_credentials import SHORT, short_token
from tests.waiting import PATIENCE


class LogStream(EventStream):
    """One connection to a log's event stream."""

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Receive the next event: its name, and what it says."""
        name = ""
        while True:
            field, _, value = (await self.line()).partition(":")
            match field:
                case "id":
                    self.last_id = value.strip()
                case "event":
                    name = value.strip()
                case "data":
                    return name, json.loads(value)

    async def texts(self, count: int) -> list[str]:
        """Receive so many lines, and no more."""
        seen: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while len(seen) < count:
                name, data = await self.next()
                assert name == "logs", (name, data)
                seen += [each["text"] for each in data["lines"]]
        assert len(seen) == count
        return seen


@asynccontextmanager
async def open_stream(
    deployed: Written, caller: Caller | None = None, last_id: str | None = None, **asked: Any
) -> AsyncIterator[LogStream]:
    """Follow the log by events; close the connection at the end."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    client = caller or deployed.caller
    asked["token"] = client.token
    async with client.stream("GET", f"{deployed.path}/stream", params=asked, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        stream = LogStream(response)
        assert await stream.line() == ": connected"
        yield stream


@asynccontextmanager
async def open_log_socket(platform: RunningPlatform, deployed: Written, query: str) -> AsyncIterator[Socket]:
    """Follow the log over a WebSocket; close it at the end."""
    address = platform.url.replace("http", "ws", 1)
    async with connect(f"{address}{deployed.path}/ws?{query}", proxy=None, compression=None) as connection:
        yield Socket(connection)


async def test_what_was_written_comes_first_and_then_what_is_written(deployed: Written) -> None:
    await deployed.write(lines(0, 10))
    async with open_stream(deployed, limit=3) as stream:
        assert await stream.texts(3) == ["line 7", "line 8", "line 9"]
        await deployed.write(lines(10, 12))
        await deployed.write(lines(12, 13), ordinal=1)
        assert sorted(await stream.texts(3)) == ["line 10", "line 11", "line 12"]


async def test_filters_hold_for_what_is_written_too(deployed: Written) -> None:
    async with open_stream(deployed, level="error", replica=1, search="disk") as stream:
        await deployed.write([line(0, "ERROR disk"), line(1, "INFO disk")])
        await deployed.write([line(2, "INFO disk"), line(3, "ERROR net"), line(4, "ERROR Disk full")], 1)
        assert await stream.texts(1) == ["ERROR Disk full"]


async def test_who_comes_back_with_the_last_id_gets_every_line_once(deployed: Written) -> None:
    async with open_stream(deployed, limit=0) as stream:
        await deployed.write(lines(0, 100))
        assert len(await stream.texts(100)) == 100
    await deployed.write(lines(100, 5_000))
    async with open_stream(deployed, last_id=stream.last_id, limit=50) as again:
        assert await again.texts(4_900) == [f"line {number}" for number in range(100, 5_000)]
        await deployed.write(lines(5_000, 5_001))
        assert await again.texts(1) == ["line 5000"]


async def test_nothing_is_lost_at_five_thousand_lines_a_second(deployed: Written) -> None:
    count = 15_000

    async def write() -> None:
        for first in range(0, count, 100):
            await deployed.write(lines(first, first + 100))
            await asyncio.sleep(0.02)

    async with open_stream(deployed, limit=0) as stream:
        writer = asyncio.create_task(write())
        assert await stream.texts(count) == [f"line {number}" for number in range(count)]
        await writer


async def test_a_socket_follows_and_goes_on_where_it_was(
    platform: RunningPlatform, deployed: Written
) -> None:
    token = deployed.caller.token
    await deployed.write(lines(0, 3))
    async with open_log_socket(platform, deployed, f"token={token}&limit=2") as socket:
        first = await socket.next()
        assert (first["type"], first["deployment_id"]) == ("logs", str(deployed.id))
        assert [each["text"] for each in first["lines"]] == ["line 1", "line 2"]
        await deployed.write(lines(3, 4))
        position = (await socket.next())["position"]
    await deployed.write(lines(4, 5))
    async with open_log_socket(platform, deployed, f"token={token}&after={position}") as socket:
        assert [each["text"] for each in (await socket.next())["lines"]] == ["line 4"]


async def test_a_socket_without_a_credential_is_not_opened(
    platform: RunningPlatform, deployed: Written
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with open_log_socket(platform, deployed, "token=none"):
            pass
    assert refused.value.response.status_code == 401


async def test_streams_end_with_their_credential_and_can_carry_on_with_a_newer_one(
    platform: RunningPlatform, deployed: Written
) -> None:
    short = await short_token(platform, deployed.caller, SHORT)
    ending = platform.caller()
    ending.headers["Authorization"] = f"Bearer {short}"
    async with (
        open_stream(deployed, ending) as stream,
        open_log_socket(platform, deployed, f"token={short}") as forgetful,
        open_log_socket(platform, deployed, f"token={short}") as renewed,
    ):
        await renewed.connection.send("nonsense")
        assert (await renewed.next())["error_code"] == "INVALID_REQUEST"
        order = {"type": "authenticate", "token": "wrong"}
        await renewed.connection.send(json.dumps(order))
        assert (await renewed.next())["error_code"] == "UNAUTHORIZED"
        await renewed.connection.send(json.dumps(order | {"token": deployed.caller.token}))
        assert (await renewed.next())["type"] == "authenticated"
        name, data = await stream.next()
        assert (name, data["error_code"]) == ("error", "UNAUTHORIZED")
        with pytest.raises(ConnectionClosed) as closed:
            await forgetful.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        await deployed.write(lines(0, 1))
        assert (await renewed.next())["type"] == "logs"


async def test_following_ends_when_the_deployment_is_stopped(
    platform: RunningPlatform, deployed: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_logs, "_HEARTBEAT", 0.1)
    query = f"token={deployed.caller.token}"
    async with open_stream(deployed) as stream, open_log_socket(platform, deployed, query) as socket:
        assert await stream.line() == ": still here"
        await deployed.write(lines(0, 1))
        assert await stream.texts(1) == ["line 0"]
        answer = await deployed.caller.delete(f"/api/v1/deployments/{deployed.id}")
        assert answer.status_code == 200
        assert (await stream.next())[0] == "end"
        assert [(await socket.next())["type"] for _ in range(2)] == ["logs", "end"]
        with pytest.raises(ConnectionClosed) as closed:
            await socket.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


async def test_who_listens_while_a_store_is_away_is_told_to_come_back(
    platform: RunningPlatform, deployed: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_self: LiveLog) -> bool:
        raise Unavailable("The database cannot be reached", part="database")

    monkeypatch.setattr(live_logs, "_HEARTBEAT", 0.1)
    monkeypatch.setattr(LiveLog, "_is_over", away)
    async with open_log_socket(platform, deployed, f"token={deployed.caller.token}") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013


async def test_what_was_written_just_before_the_stop_is_told(
    deployed: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_logs, "_HEARTBEAT", 0.1)
    is_over = LiveLog._is_over

    async def late(live: LiveLog) -> bool:
        # Between its last look at the files and this question somebody wrote.
        over = await is_over(live)
        if over:
            monkeypatch.setattr(LiveLog, "_is_over", is_over)
            await deployed.write(lines(1, 2))
        return over

    async with open_stream(deployed) as stream:
        await deployed.write(lines(0, 1))
        assert await stream.texts(1) == ["line 0"]
        monkeypatch.setattr(LiveLog, "_is_over", late)
        assert (await deployed.caller.delete(f"/api/v1/deployments/{deployed.id}")).status_code == 200
        assert await stream.texts(1) == ["line 1"]
        assert (await stream.next())[0] == "end"


async def test_a_listener_that_stops_reading_holds_up_nothing_and_nobody(deployed: Written) -> None:
    text = "x" * 8_000
    async with open_stream(deployed, limit=0) as slow, open_stream(deployed, limit=0) as quick:
        for first in range(0, 2_000, 100):
            await deployed.write([line(number, text) for number in range(first, first + 100)])
            assert len(await quick.texts(100)) == 100
        # 16 MB, more than all buffers on the way: it waited in the files.
        assert len(await slow.texts(2_000)) == 2_000
