"""How parts fare that not every process talks to, as the others report it every few seconds."""

from typing import Final

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from mcp_platform.contracts.parts import PartState
from storage.cache.connection import AWAY

log = structlog.get_logger(__name__)

_KEPT: Final = 15
"""Seconds for which a report holds; afterwards nothing is known."""


class PartStates:
    """The last report on each part. Losing them does no harm, so none raises."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def report(self, part: str, state: PartState) -> None:
        """Keep what was seen."""
        try:
            await self._cache.set(_key(part), state.model_dump_json(), ex=_KEPT)
        except AWAY as error:
            log.warning("part_state_not_kept", part=part, error=str(error))

    async def read(self, part: str) -> PartState | None:
        """Give what was last seen; None where nobody has looked lately."""
        try:
            kept = await self._cache.get(_key(part))
            return PartState.model_validate_json(kept) if kept else None
        except AWAY as error:
            log.warning("part_state_not_read", part=part, error=str(error))
        except ValidationError:
            log.warning("part_state_not_understood", part=part)
        return None


def _key(part: str) -> str:
    return f"mcp-platform.part.{part}"
