"""Turns: so many trials of one account go on at once, the builds for them included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from activities.checks.sandboxes import NotTried
from activities.finishing import to_its_end
from mcp_platform.errors import Unavailable

if TYPE_CHECKING:
    from storage.cache.trials import RunningTrials

logger = structlog.get_logger(__name__)

_LONGEST_WAIT: Final = 120.0
"""Seconds that a trial waits until fewer of its owner's go on."""
_ASKED_AGAIN: Final = 0.2
_KEPT_EVERY: Final = 5.0


class Turns:
    """Gives turns.

    Args:
        trials: Which go on.
        most: How many of one account may at once.
    """

    def __init__(self, trials: RunningTrials, most: int) -> None:
        self._trials = trials
        self._most = most

    @asynccontextmanager
    async def taken(self, owner_id: UUID, replica_id: UUID) -> AsyncIterator[None]:
        """Wait until few enough of the owner's trials go on, and count as one while the body runs.

        Raises:
            NotTried: Too many went on for too long.
        """
        keeping: asyncio.Task[None] | None = None
        try:
            await self._begin(owner_id, replica_id)
            keeping = asyncio.create_task(self._keep(owner_id, replica_id))
            yield
        finally:
            if keeping is not None:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
            await to_its_end(self._end(owner_id, replica_id))

    async def _begin(self, owner_id: UUID, replica_id: UUID) -> None:
        deadline = time.monotonic() + _LONGEST_WAIT
        while not await self._trials.begin(owner_id, replica_id, self._most):
            if time.monotonic() > deadline:
                raise NotTried(
                    f"{self._most} of your trials have been going on for {_LONGEST_WAIT:g} s; try again later"
                )
            # Each at times of its own: of two that ask at once none gets the last place.
            await asyncio.sleep(_ASKED_AGAIN + (replica_id.int % 100) / 500)

    async def _keep(self, owner_id: UUID, replica_id: UUID) -> None:
        while True:
            await asyncio.sleep(_KEPT_EVERY)
            try:
                await self._trials.keep(owner_id, replica_id)
            except Unavailable:
                logger.warning("trial_not_kept", replica_id=str(replica_id))  # the next word may be in time

    async def _end(self, owner_id: UUID, replica_id: UUID) -> None:
        try:
            await self._trials.end(owner_id, replica_id)
        except Unavailable:
            logger.warning("trial_not_ended", replica_id=str(replica_id))  # it ends by itself
