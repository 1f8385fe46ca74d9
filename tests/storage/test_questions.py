"""Questions to the gateways."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from redis.asyncio import Redis

from mcp_platform.names import Channel
from storage.cache import Questions, questions
from storage.cache.messages import Message
from tests.waiting import PATIENCE, eventually


async def test_who_ends_while_all_turns_are_taken_has_stopped_listening(
    monkeypatch: pytest.MonkeyPatch, cache: Redis
) -> None:
    taken: list[str] = []
    closed: list[bool] = []

    async def listen(_cache: Redis, _channel: Channel) -> AsyncGenerator[Message, None]:
        try:
            for number in range(questions._AT_ONCE + 1):
                taken.append(str(number))
                yield Message(Channel.QUESTIONS, {"id": str(number), "kind": "time", "body": {}})
        finally:
            # As long as it takes to give the connection back.
            await asyncio.sleep(0.05)
            closed.append(True)

    async def think(_body: dict[str, Any]) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def all_taken() -> bool:
        return len(taken) > questions._AT_ONCE

    monkeypatch.setattr(questions, "listen", listen)
    async with asyncio.timeout(PATIENCE):
        answering = asyncio.create_task(Questions(cache).answer_forever({"time": think}))
        await eventually(all_taken)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    assert closed == [True]
