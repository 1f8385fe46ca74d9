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
        self.last_id: str | None = None

    async def line(self) -> str:
        """Receive the next line that is not empty."""
        async with asyncio.timeout(PATIENCE):
            while not (line := await anext(self._lines)):
                pass
        return line

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Receive the next event: its name, and what it says."""
        name = ""
        while True:
            field, _, value = (await self.line()).partition(":")
            match field:
                case "id":
                    assert int(value) >= int(self.last_id or 0), "ids never go back"
                    self.last_id = value.strip()
                case "event":
                    name = value.strip()
                case "data":
                    return name, json.loads(value)
                case _:
                    assert field == "", field

    async def until(self, subject: str, *states: str) -> list[dict[str, Any]]:
        """Receive events about a task or a deployment until it is in one of these states; all of them."""
        seen: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE):
            while not seen or seen[-1]["status"] not in states:
                _, data = await self.next()
                if subject in {data.get("task_id"), data.get("deployment_id")}:
                    seen.append(data)
        return seen


@asynccontextmanager
async def open_events(caller: Caller, last_id: str | None = None) -> AsyncIterator[EventStream]:
    """Open a connection to `/events`, and wait until it is connected; close it at the end."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    parameters = {"token": caller.token}
    async with caller.stream("GET", "/events", params=parameters, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        stream = EventStream(response)
        assert await stream.line() == ": connected"
        yield stream
