"""Clients of `/ws` and `/events`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.platform import Caller, RunningPlatform
from tests.waiting import PATIENCE

FINAL = {"completed", "failed", "cancelled"}


class Socket:
    """One connection to `/ws`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, kind: str, task_id: str) -> None:
        """Subscribe or unsubscribe."""
        await self.connection.send(json.dumps({"type": kind, "task_id": task_id}))

    async def next(self) -> dict[str, Any]:
        """Receive the next message."""
        async with asyncio.timeout(PATIENCE):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def until_final(self, task_id: str) -> list[dict[str, Any]]:
        """Receive a task's states up to the final one."""
        states: list[dict[str, Any]] = []
        while not states or states[-1]["status"] not in FINAL:
            message = await self.next()
            assert (message["type"], message["task_id"]) == ("task_update", task_id), message
            states.append(message)
        return states


@asynccontextmanager
async def open_socket(platform: RunningPlatform, token: str) -> AsyncIterator[Socket]:
    """Open a connection to `/ws`; close it at the end."""
    async with connect(f"{platform.socket_url}?token={token}", proxy=None, compression=None) as connection:
        yield Socket(connection)


class EventStream:
    """One connection to `/events`."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def line(self) -> str:
        """Receive the next line that is not empty."""
        async with asyncio.timeout(PATIENCE):
            while not (line := await anext(self._lines)):
                pass
        return line

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Receive the next event: its name, and what it says."""
        while not (line := await self.line()).startswith("event: "):
            assert line.startswith(":"), line
        data = await self.line()
        return line.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@asynccontextmanager
async def open_events(caller: Caller) -> AsyncIterator[EventStream]:
    """Open a connection to `/events`, and wait until it is connected; close it at the end."""
    async with caller.stream("GET", "/events", params={"token": caller.token}) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        stream = EventStream(response)
        assert await stream.line() == ": connected"
        yield stream
