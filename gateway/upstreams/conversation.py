"""What a server says in one of its streams: notifications go to the client, and so do its requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from gateway.requests import ClientChannel, Message
from mcp_platform.wire import METHOD_NOT_FOUND, RpcError

_ANSWERED_HERE: Final = "ping"
_PATIENCE: Final = 300.0
"""Seconds that a client, often a person, has for each question."""

Reply = Callable[[Message], Awaitable[None]]
"""Sends the server an answer."""


class Restore(Protocol):
    """Gives notifications their clients' own progress tokens."""

    def __call__(self, message: Message) -> tuple[Message | None, ClientChannel | None]:
        """Give the message as the client wants it, and whose it is where that is known."""
        ...


class Conversation:
    """Takes what a server sends beside its answers, and answers it.

    Args:
        channel: The client; without one, requests are refused.
        reply: Sends the server an answer.
        restore: Gives notifications their clients' own progress tokens.
    """

    def __init__(self, channel: ClientChannel | None, reply: Reply, restore: Restore) -> None:
        self._channel = channel
        self._reply = reply
        self._restore = restore
        self._asked: dict[object, asyncio.Task[None]] = {}
        self._spent = 0.0
        self._asked_at = 0.0

    async def hear(self, message: Message) -> None:
        """Take one message of the server."""
        if "id" in message:
            self._ask(message)
            return
        params = message.get("params")
        if message["method"] == "notifications/cancelled":
            number = params.get("requestId") if isinstance(params, dict) else None
            asked = self._asked.get(number) if isinstance(number, int | str) else None
            if asked is not None:
                asked.cancel()  # the server does not wait for this answer any more
            return
        restored, owner = self._restore(message)
        channel = owner or self._channel
        if restored is not None and channel is not None:
            await channel.notify(restored)

    def spent(self) -> float:
        """Give the seconds for which a client was asked: while it thinks, the server's time stands still."""
        return self._spent + (time.monotonic() - self._asked_at if self._asked else 0.0)

    def end(self) -> None:
        """Drop the questions that have not been answered."""
        for task in self._asked.values():
            task.cancel()

    def _ask(self, message: Message) -> None:
        number = message["id"]
        if not isinstance(number, int | str) or number in self._asked:
            return
        if not self._asked:
            self._asked_at = time.monotonic()
        task = self._asked[number] = asyncio.create_task(self._answer(message))
        task.add_done_callback(lambda _: self._answered(number))

    def _answered(self, number: int | str) -> None:
        del self._asked[number]
        if not self._asked:
            self._spent += time.monotonic() - self._asked_at

    async def _answer(self, message: Message) -> None:
        answer: Message = {"jsonrpc": "2.0", "id": message["id"]}
        try:
            answer["result"] = await self._result(message["method"], message.get("params"))
        except RpcError as error:
            answer["error"] = error.wire()
        await self._reply(answer)

    async def _result(self, method: str, params: Any) -> dict[str, Any]:
        if method == _ANSWERED_HERE:
            return {}
        if self._channel is None:
            raise RpcError(METHOD_NOT_FOUND, f"this client does not offer {method}")
        return await self._channel.ask(method, params if isinstance(params, dict) else None, _PATIENCE)
