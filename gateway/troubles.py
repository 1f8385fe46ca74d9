"""Replicas that failed a call, told to whoever watches them."""

import time
from typing import Final
from uuid import UUID

from gateway.arrivals import Tell
from gateway.upstreams.legs import Spawn
from mcp_platform.names import Channel

_PAUSE: Final = 1.0
"""Seconds between two messages about one replica."""
_MOST: Final = 1000


class Troubles:
    """Tells of each replica at most once a second, without keeping the call."""

    def __init__(self, tell: Tell, spawn: Spawn) -> None:
        self._tell = tell
        self._spawn = spawn
        self._told: dict[UUID, float] = {}

    def note(self, replica_id: UUID, kind: str) -> None:
        """Note that a call to this replica failed."""
        now = time.monotonic()
        if now < self._told.get(replica_id, 0.0) + _PAUSE:
            return
        if len(self._told) >= _MOST:
            self._told = {known: at for known, at in self._told.items() if at + _PAUSE > now}
        self._told[replica_id] = now
        self._spawn(self._tell(Channel.TROUBLE, {"replica_id": str(replica_id), "kind": kind}))
