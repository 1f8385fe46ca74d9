"""Questions to the gateways: which tools do the servers of an MCP offer at this moment."""

import asyncio
import time
from typing import Final
from uuid import UUID, uuid4

from redis.asyncio import Redis

from mcp_platform.contracts.policies import Offer
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from storage.cache.connection import AWAY
from storage.cache.messages import publish

_KEPT: Final = 60
"""Seconds for which an answer is kept."""
_LOOKED: Final = 0.05
"""Seconds between two looks for it."""
_PREFIX: Final = "mcp-platform.offer."


class Definitions:
    """Asks all gateways, and takes the first answer. Only gateways have connections to servers."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def ask(self, mcp_id: UUID, timeout: float) -> Offer:
        """Give what an MCP's servers offer now.

        Raises:
            Unavailable: No gateway has answered in time, or the cache is away.
        """
        question = uuid4().hex
        deadline = time.monotonic() + timeout
        await publish(self._cache, Channel.POLICIES, {"mcp_id": str(mcp_id), "ask": question})
        while time.monotonic() < deadline:
            try:
                answer = await self._cache.get(_PREFIX + question)
            except AWAY as error:
                raise Unavailable("The cache cannot be reached", part="cache") from error
            if answer is not None:
                return Offer.model_validate_json(answer)
            await asyncio.sleep(_LOOKED)
        raise Unavailable(
            "No gateway has told in time which tools the MCP has", part="gateway", retry_after=5
        )

    async def answer(self, question: str, offer: Offer) -> None:
        """Answer a question, unless another gateway has.

        Raises:
            Unavailable: The cache is away.
        """
        try:
            await self._cache.set(_PREFIX + question, offer.model_dump_json(), ex=_KEPT, nx=True)
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
