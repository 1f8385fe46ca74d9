"""Thousands of WebSocket clients in one process: a frame parser and nothing else.

`python -m benchmarks.audience <host> <port> <token> <sockets> <task> …` prints a line when every one was
told its task's present state, and another with what arrived once every one was told the last.
"""

import asyncio
import base64
import json
import os
import statistics
import sys
import time
from typing import cast

import uvloop

_AT_ONCE = 50
_TEXT, _PING = 0x1, 0x9
_MASK = bytes(4)


class Guest(asyncio.Protocol):
    """One client; it subscribes to one task."""

    def __init__(self, host: str, token: str, task_id: str, hall: "Hall") -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._request = (
            f"GET /ws?token={token} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()
        self._subscription = json.dumps({"type": "subscribe", "task_id": task_id}).encode()
        self._hall = hall
        self._open = False
        self._unread = b""
        self.seated: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the socket."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody should be lost."""
        self._hall.lost += 1
        if not self.seated.done():
            self.seated.set_exception(error or ConnectionError("refused"))

    def data_received(self, data: bytes) -> None:
        """Read whole frames; those of a server are not masked."""
        self._unread += data
        if not self._open:
            head, found, rest = self._unread.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head:
                raise RuntimeError(head.decode())
            self._open, self._unread = True, rest
            self._send(_TEXT, self._subscription)
        while len(self._unread) >= 2:
            length, start = self._unread[1], 2
            if length == 126:
                length, start = int.from_bytes(self._unread[2:4]), 4
            if len(self._unread) < start + length:
                return
            code, payload = self._unread[0] & 0xF, self._unread[start : start + length]
            self._unread = self._unread[start + length :]
            if code == _PING:
                self._send(0xA, payload)
            elif code == _TEXT:
                self._hall.hear(payload)
                if not self.seated.done():
                    self.seated.set_result(None)

    def _send(self, code: int, payload: bytes) -> None:
        self._transport.write(bytes([0x80 | code, 0x80 | len(payload)]) + _MASK + payload)


class Hall:
    """All of them, and what they heard."""

    def __init__(self, guests: int) -> None:
        self._guests = guests
        self._delays: list[float] = []
        self._ended = 0
        self.lost = 0
        self.over = asyncio.Event()

    def hear(self, payload: bytes) -> None:
        """Note how old a state is: its message is the moment of the change."""
        update = json.loads(payload)
        if update["type"] != "task_update":
            raise RuntimeError(f"not an update: {update}")
        if update["status"] == "completed":
            self._ended += 1
            if self._ended == self._guests:
                self.over.set()
        elif update["message"][:1].isdigit():
            self._delays.append((time.time() - float(update["message"])) * 1000)

    def figures(self) -> dict[str, float]:
        """Summarise."""
        cuts = statistics.quantiles(self._delays, n=100)
        return {
            "arrived": len(self._delays),
            "ended": self._ended,
            "lost": self.lost,
            "p50": cuts[49],
            "p99": cuts[98],
            "most": max(self._delays),
        }


async def main(host: str, port: int, token: str, count: int, tasks: list[str]) -> None:
    """Take seats, listen to the end, and tell."""
    hall = Hall(count)
    gate = asyncio.Semaphore(_AT_ONCE)
    guests: list[Guest] = []

    async def join(number: int) -> None:
        async with gate:
            guest = Guest(host, token, tasks[number % len(tasks)], hall)
            guests.append(guest)
            await asyncio.get_running_loop().create_connection(lambda: guest, host, port)
            await guest.seated

    await asyncio.gather(*(join(number) for number in range(count)))
    _say({"seated": count})
    await hall.over.wait()
    _say(hall.figures())


def _say(line: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:]))
