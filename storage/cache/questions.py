"""Questions to the gateways: only they have connections to servers, and know what those offer."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final
from uuid import uuid4

import structlog
from redis.asyncio import Redis

from mcp_platform.errors import NotFound, Unavailable
from mcp_platform.names import Channel
from storage.cache.connection import AWAY
from storage.cache.messages import listen, publish

log = structlog.get_logger(__name__)

_KEPT: Final = 30
"""Seconds for which an answer is kept."""
_LOOKED: Final = 0.02
"""Seconds between two looks for it."""
_PREFIX: Final = "mcp-platform.answer."
_AT_ONCE: Final = 32
"""Questions that one gateway works on."""

Asked = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers one kind of question."""


class Questions:
    """Asks all gateways, and takes the first answer."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def ask(self, kind: str, body: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Give the first answer.

        Raises:
            NotFound: What the question is about does not exist.
            Unavailable: No gateway has answered in time, or the cache is away.
        """
        number = uuid4().hex
        deadline = time.monotonic() + timeout
        await publish(self._cache, Channel.QUESTIONS, {"id": number, "kind": kind, "body": body})
        while time.monotonic() < deadline:
            try:
                text = await self._cache.get(_PREFIX + number)
            except AWAY as error:
                raise Unavailable("The cache cannot be reached", part="cache") from error
            if text is not None:
                return _answer(json.loads(text))
            await asyncio.sleep(_LOOKED)
        raise Unavailable("No gateway has answered in time", part="gateway", retry_after=5)

    async def answer_forever(self, kinds: Mapping[str, Asked]) -> None:
        """Answer questions of these kinds until cancelled."""
        gate = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks, aclosing(listen(self._cache, Channel.QUESTIONS)) as messages:
            async for message in messages:
                asked = kinds.get(str(message.data.get("kind")))
                if asked is not None:
                    await gate.acquire()
                    work = tasks.create_task(self._answer(asked, message.data))
                    work.add_done_callback(lambda _: gate.release())

    async def _answer(self, asked: Asked, question: dict[str, Any]) -> None:
        try:
            answer = {"result": await asked(question["body"])}
        except NotFound as error:
            answer = {"missing": {"type": error.fields["resource_type"], "id": error.fields["resource_id"]}}
        except Exception:
            log.exception("question_not_answered", kind=question.get("kind"))
            return
        try:
            await self._cache.set(_PREFIX + str(question.get("id")), json.dumps(answer), ex=_KEPT, nx=True)
        except AWAY as error:
            log.warning("answer_not_given", error=str(error))


def _answer(told: dict[str, Any]) -> dict[str, Any]:
    missing = told.get("missing")
    if missing is not None:
        raise NotFound(missing["type"], missing["id"])
    result: dict[str, Any] = told["result"]
    return result
